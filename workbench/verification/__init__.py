"""``workbench verify``: checks that all bytes match their recorded hashes, and moves damaged files away."""
