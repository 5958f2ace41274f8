"""How fast one sandbox, and who answers it, may send what moves nothing.

One process serves the connections of all sandboxes. Bytes that are passed on cost it little, and
wait when somebody is slow. Pings, settings, empty frames and streams that are given up as soon as
they are begun cost as much as a request each, and could keep it busy for ever.
"""

import time

BURST = 256 * 1024
"""Bytes that may come at once."""
RATE = 32 * 1024
"""Bytes a second after that; a ping has 17."""
LONGEST_SECONDS = 1.0


class Pace:
    """A bucket that fills with time. Who takes too much waits; nobody is cut off for it."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._since = time.monotonic()

    def take(self, count: int) -> float:
        """Take so many bytes, or give some back; seconds for which nothing should be read."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._since) * RATE - count, BURST)
        self._since = now
        return min(max(0.0, -self._left / RATE), LONGEST_SECONDS)
