"""What happens to a run: told by stages, kept in journals, brought to the trackers by a watcher."""
