"""Sandboxes: from what a client wants to what runs, and back after a crash."""
