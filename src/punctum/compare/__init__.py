"""Many trainings side by side, and what their differences are worth."""
