"""``workbench compare``: what differs between two runs, revisions or experiments, and whether the results do."""
