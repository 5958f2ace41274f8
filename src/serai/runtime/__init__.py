"""Where sandboxes run: the Runtime port and its drivers. Knows only the kernel."""
