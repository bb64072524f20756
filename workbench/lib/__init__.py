"""What several packages of the workbench share, private to it: nothing here decides the bytes of an output."""
