"""Descriptions of plugins and their configuration, for people, programs and editors."""
