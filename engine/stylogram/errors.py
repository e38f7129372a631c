"""The product's error is the export package's: one class for whoever catches it."""

from stylogram_export.errors import Error, one_of

__all__ = ["Error", "one_of"]
