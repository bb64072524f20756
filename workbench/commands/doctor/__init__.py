"""Checks everything that a pipeline depends on and says what is wrong and how to fix it, without importing torch or mlflow."""
