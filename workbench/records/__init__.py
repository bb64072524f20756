"""Records of a run, so that it can be repeated and examined: its provenance, and its results by hash."""
