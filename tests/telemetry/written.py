"""Lines for tests, and what a store has of them."""

from typing import Any

from sqlalchemy import Connection

from serai.kernel.lines import LogLine
from serai.telemetry.lines import query
from serai.telemetry.lines.query import Page, Wanted
from serai.telemetry.lines.store import LineStore

START = 1_790_000_000_000_000_000
SECOND = 1_000_000_000


def line(text: str, at: int = 0, **more: Any) -> LogLine:
    """A line of the agent ``a`` in the workspace ``w``, some nanoseconds after ``START``."""
    about = {"workspace": "w", "resource_type": "agent", "resource": "a", "source": "run"} | more
    return LogLine(at_ns=START + at, text=text, **about)


def everything(**more: Any) -> Wanted:
    """A question about all times."""
    return Wanted(**({"first": 0, "last": 1 << 62} | more))


async def page(
    store: LineStore,
    *,
    key: tuple[str, str, str] = ("w", "agent", "a"),
    limit: int = 1000,
    offset: int = 0,
    **more: Any,
) -> Page:
    """The first lines of a resource."""
    wanted = everything(**more)

    def read(conn: Connection) -> Page:
        found = query.find_streams(conn, key[0], key[1], [key[2]])
        if key[2] not in found:
            return Page(lines=[], total=0, more=False)
        return query.page(conn, found[key[2]], key, wanted, limit, offset)

    return await store.search(read)


async def texts(store: LineStore, **more: Any) -> list[str]:
    """The texts of a resource's lines, the oldest first."""
    found = await page(store, newest_first=False, **more)
    return [each.text for each in found.lines]
