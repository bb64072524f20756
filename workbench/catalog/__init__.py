"""Plugins and their configuration, described for people, programs and editors."""
