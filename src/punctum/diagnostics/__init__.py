"""Instruments that look inside heatmaps."""
