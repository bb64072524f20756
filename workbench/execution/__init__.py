"""A stage's process: started, guarded and ended, with its outputs committed completely or not at all."""
