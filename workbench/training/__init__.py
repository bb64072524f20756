"""For plugins: shared parts of training: Trainer settings, optimizers, checkpoints, loss monitoring."""
