"""Annotations to files, one module per format; `punctum.data.formats` knows them by name."""
