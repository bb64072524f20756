"""Reads and writes a workspace's files: params.yaml, dvc.yaml, plugins-lock.json and dvc.lock."""
