"""Heatmaps, figures and tables of results."""
