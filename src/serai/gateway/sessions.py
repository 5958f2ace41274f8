"""Which instance knows an MCP session: its id, as clients see it, says so.

What a server calls ``abc`` is ``abc~{instance}`` outside, so that every process of the platform,
also after a restart, finds the instance, or knows that it is gone.
"""

import re

from serai.gateway.upstream import Answer, Headers

HEADER = b"mcp-session-id"
_OUTSIDE = re.compile(rb"(.*)~([a-z0-9]{12})", re.DOTALL)


def split(value: bytes) -> tuple[bytes, str]:
    """A server's own id of a session, and its instance; empty when the id names none."""
    found = _OUTSIDE.fullmatch(value)
    return (found[1], found[2].decode("ascii")) if found is not None else (value, "")


def inwards(lines: list[bytes]) -> None:
    """Give a request's session the server's own id; ``lines`` are as of ``Copied``."""
    for at in range(0, len(lines), 4):
        if lines[at].lower() == HEADER:
            lines[at + 2] = split(lines[at + 2])[0]


def outwards(answer: Answer, instance_id: str) -> Answer:
    """Give an answer's session the id that names its instance."""
    mark = b"~" + instance_id.encode("ascii")
    headers: Headers = [
        (name, value + mark if name == HEADER else value) for name, value in answer.headers
    ]
    return Answer(answer.status, headers, dict(headers), answer.length, answer.empty)
