"""The command line and the commands that are one module each."""
