"""Runs a recorded stage or pipeline once more and says whether it gives the same bytes."""
