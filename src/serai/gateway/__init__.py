"""The data plane: routing, authentication and streaming to sandboxes and models."""
