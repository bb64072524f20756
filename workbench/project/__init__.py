"""What a workspace's files say: params.yaml, dvc.yaml, plugins-lock.json and dvc.lock."""
