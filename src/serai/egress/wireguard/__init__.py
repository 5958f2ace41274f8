"""WireGuard with one peer: no sockets, and no clock but the one it is told."""
