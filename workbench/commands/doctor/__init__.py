"""Looks at all that a pipeline runs on and says what is wrong and how to mend it, without importing torch or mlflow."""
