"""Query parameters of lists and the page envelope."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from serai.kernel.errors import BadRequest
from serai.wire.common import PageMeta, Wire

Item = TypeVar("Item")

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
Q_MIN = 2
Q_MAX = 256
SORTS = {
    "createdAt:desc": ("created_at", True),
    "createdAt:asc": ("created_at", False),
    "name:asc": ("name", False),
    "name:desc": ("name", True),
    "metadata.name:asc": ("name", False),
    "metadata.name:desc": ("name", True),
}


class PageOf(Wire, Generic[Item]):
    """A page of a list, as the description of an operation names it: ``PageOf[Agent]``."""

    data: list[Item]
    meta: PageMeta


def page_of(shape: Any) -> Any:
    """``PageOf[shape]`` for a shape known only when the program runs."""
    generic: Any = PageOf
    return generic[shape]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked of a list.

    ``column`` and ``descending`` are the order, ``from_end`` asks for the last page, ``statuses``
    and ``external_id`` filter.
    """

    limit: int | None
    column: str
    descending: bool
    cursor: str | None
    q: str | None
    from_end: bool
    statuses: frozenset[str] | None
    external_id: str | None
    show_terminated: bool

    def fingerprint(self, scope: str) -> str:
        """What a cursor is bound to: everything but the cursor and the limit."""
        statuses = sorted(self.statuses) if self.statuses is not None else None
        parts = [scope, self.column, self.descending, self.q, self.from_end, statuses]
        return repr([*parts, self.external_id, self.show_terminated])


def parse_page_query(params: Any, statuses: Sequence[str]) -> PageQuery:
    """Read the parameters of a list; ``statuses`` are those a status filter may name.

    Raises:
        BadRequest: naming the parameter and what it accepts.
    """
    sort = params.get("sort") or "createdAt:desc"
    if sort not in SORTS:
        raise BadRequest(f"sort {sort[:60]!r} is not one of {', '.join(SORTS)}.")
    column, descending = SORTS[sort]
    anchor = params.get("anchor") or "start"
    if anchor not in {"start", "end"}:
        raise BadRequest(f"anchor {anchor[:60]!r} is not one of start, end.")
    q = (params.get("q") or "").strip() or None
    if q is not None and len(q) < Q_MIN:
        raise BadRequest(f"q {q!r} is too short: search for {Q_MIN} characters or more.")
    if q is not None and len(q) > Q_MAX:
        raise BadRequest(f"q has {len(q)} characters: search for {Q_MAX} or fewer.")
    return PageQuery(
        limit=_limit(params.get("limit")),
        column=column,
        descending=descending,
        cursor=params.get("cursor") or None,
        q=q.lower() if q else None,
        from_end=anchor == "end",
        statuses=_statuses(params.get("status"), statuses),
        external_id=params.get("externalId") or None,
        show_terminated=(params.get("showTerminated") or "").lower() in {"true", "1"},
    )


def _limit(text: str | None) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= LIMIT_MAX:
        return int(text)
    raise BadRequest(f"limit {text[:20]!r} is not a whole number from 1 to {LIMIT_MAX}.")


def _statuses(text: str | None, known: Sequence[str]) -> frozenset[str] | None:
    if not text:
        return None
    wanted = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    unknown = wanted - set(known)
    if unknown:
        raise BadRequest(
            f"status {', '.join(sorted(unknown))[:80]!r} is unknown; use {', '.join(known)}."
        )
    return wanted


def join_array(items: Sequence[bytes]) -> bytes:
    """A JSON array of documents that are JSON already."""
    return b"[" + b",".join(items) + b"]"


def join_page(items: Sequence[bytes], next_cursor: str | None, total: int) -> bytes:
    """The page envelope around documents that are JSON already."""
    meta = {"hasMore": next_cursor is not None, "nextCursor": next_cursor or "", "total": total}
    return b'{"data":' + join_array(items) + b',"meta":' + msgspec.json.encode(meta) + b"}"
