"""Consumers of results: metrics, the table of predictions, figures and pictures."""
