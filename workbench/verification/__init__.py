"""``workbench verify``: whether the bytes are those that were hashed, and what becomes of the others."""
