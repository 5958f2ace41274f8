"""Volumes, the templates they start from, and drives."""
