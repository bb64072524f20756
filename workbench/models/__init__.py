"""For plugins: models as files and in memory: loading, cost, chat formats, scoring, generation, statistics of scores."""
