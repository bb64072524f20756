"""Runs a recorded stage or pipeline again and reports whether it produces the same bytes."""
