"""Events of a run: reported by stages, kept in journals, delivered to the trackers by a watcher."""
