"""The kinds of plugins, one module per kind: each base class asks its author for one domain method."""
