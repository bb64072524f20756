"""What is recorded of a run, so that it can be made and examined again: where it came from, and its results by their hash."""
