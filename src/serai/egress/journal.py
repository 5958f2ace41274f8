"""What is remembered of one sandbox's traffic: counters, and the last refusals."""

from collections import deque

from serai.egress.setup import Refusal, Report
from serai.kernel.clock import now, rfc3339

KEPT = 100
FIREWALL = "firewall_blocked"
"""A rule of the sandbox."""
ADDRESS = "address_refused"
"""Not an address of the internet, nor one that the administrator opened."""
UNKNOWN_NAME = "name_unknown"
"""There are rules about names, and nothing tells which name this is for."""
PROXY_ONLY = "proxy_required"
TOO_MANY = "too_many_connections"


class Journal:
    """Counts of one sandbox."""

    def __init__(self) -> None:
        self.allowed = self.blocked = self.connections = 0
        self.sent = self.received = 0
        self._refusals: deque[Refusal] = deque(maxlen=KEPT)

    def refuse(self, host: str, port: int, reason: str, method: str = "", path: str = "") -> None:
        """Count and remember something that was not let out."""
        self.blocked += 1
        self._refusals.appendleft(
            Refusal(
                at=rfc3339(now()),
                host=host[:255],
                port=port,
                reason=reason,
                method=method[:20],
                path=path.partition("?")[0][:500],
            )
        )

    def report(self) -> Report:
        """All of it."""
        return Report(
            allowed=self.allowed,
            blocked=self.blocked,
            connections=self.connections,
            sent_bytes=self.sent,
            received_bytes=self.received,
            refusals=tuple(self._refusals),
        )
