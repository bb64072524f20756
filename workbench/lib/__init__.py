"""Private helpers shared by several packages of the workbench; nothing here decides the bytes of an output."""
