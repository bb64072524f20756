"""A workspace's files: reads and checks params.yaml and dvc.yaml, writes plugins-lock.json, and asks DVC what it keeps."""
