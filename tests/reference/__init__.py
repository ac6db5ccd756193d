"""Slow, obvious oracles in NumPy and SciPy. They import nothing from punctum."""
