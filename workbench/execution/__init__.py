"""A stage's process: begun, guarded, ended, and its outputs put in place whole or not at all."""
