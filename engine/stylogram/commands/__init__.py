"""Subcommands that are no tasks: a module each, which holds a click `command`. The directory is scanned."""
