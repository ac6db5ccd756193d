"""punctum: numeric coordinates from images, and how far to trust each one."""

__version__ = "0.1.0"
