"""For plugins: models on disk and in memory: loading, cost, chat formats, scoring, generation, statistics of scores."""
