"""Sandboxes run by bubblewrap, for hosts where only it may make namespaces."""
