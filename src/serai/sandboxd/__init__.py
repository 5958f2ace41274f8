"""The HTTP API inside a sandbox; it runs alone there and knows only kernel and wire."""
