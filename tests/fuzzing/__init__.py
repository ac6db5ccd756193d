"""Seeded damage to valid files of every kind that punctum reads, and what may come of it."""
