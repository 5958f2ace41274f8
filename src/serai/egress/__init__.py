"""What sandboxes may reach outside, and what is added on the way. Knows only kernel."""
