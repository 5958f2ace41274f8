"""Sandboxes as containers of Docker or Podman, through the engine's API on its Unix socket."""
