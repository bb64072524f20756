"""What the plugins on TRL's trainers share: configuration, settings, training, and a quicker head on a CPU.

A library: it offers no plugin. Importing this package imports nothing; of its modules, ``config`` and ``rows`` are as light.
"""
