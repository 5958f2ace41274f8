"""The public shapes: one module per domain, as msgspec Structs."""
