"""What transactions changed, told after they were committed, in this process only."""

from typing import Any

from sqlalchemy import Connection

_KEY = "serai_changes"


def note(conn: Connection, change: Any) -> None:
    """Say that this transaction changes something; nothing is told if it fails."""
    conn.info.setdefault(_KEY, []).append(change)


def take(conn: Connection) -> list[Any]:
    """What was noted since the last call."""
    found: list[Any] = conn.info.pop(_KEY, [])
    return found
