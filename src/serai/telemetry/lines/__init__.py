"""Lines of logs: taken from whoever has them, kept in one store, and shown."""
