"""What would run now, why, and what it will cost: the parts of ``workbench plan`` and ``workbench why``."""
