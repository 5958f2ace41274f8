"""Sandboxes run by an OCI runtime: runc, crun, or runsc (gVisor)."""
