"""For plugins: what trainings share: the Trainer's settings, optimizers, checkpoints, watching the loss."""
