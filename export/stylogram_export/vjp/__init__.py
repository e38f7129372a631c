"""Gradient rules, one file each; `stylogram_export.rules` says what such a file has."""
