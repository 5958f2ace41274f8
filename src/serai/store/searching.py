"""Searching texts in both engines alike: without regard to case, and not for ever."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from sqlite3 import Connection as SqliteConnection
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, Connection, text
from sqlalchemy.exc import OperationalError

from serai.store.reach import unbounded

_STEPS = 20_000
"""Steps of SQLite's machine between two looks at the clock."""


class TookTooLong(Exception):
    """A statement was ended, as it took more time than it may."""


def holds(conn: Connection, column: ColumnElement[Any], wanted: str) -> ColumnElement[bool]:
    """Whether a text has ``wanted`` in it, whatever the case of either.

    Letters have one other case at most: ``ß`` is not ``ss``. No index is used.
    """
    varied = any(not each.isascii() and _cases(each) != each for each in wanted)
    if not varied:
        return column.icontains(wanted, autoescape=True)
    sqlite = conn.dialect.name == "sqlite"
    escape: Callable[[str], str] = _in_glob if sqlite else re.escape
    pattern = "".join(
        f"[{both}]" if (both := _cases(each)) != each else escape(each) for each in wanted
    )
    if sqlite:
        return column.op("GLOB", is_comparison=True)(f"*{pattern}*")
    return column.regexp_match(pattern)


def _cases(letter: str) -> str:
    """A letter in both cases; other characters as they are."""
    both = {letter.lower(), letter.upper()}
    return "".join(sorted(each for each in both if len(each) == 1)) if len(both) > 1 else letter


def _in_glob(character: str) -> str:
    return f"[{character}]" if character in "*?[" else character


@contextmanager
def at_most(conn: Connection, seconds: float) -> Iterator[None]:
    """End the statements in this block when its time is over.

    Raises:
        TookTooLong: it was.
    """
    limit = _sqlite_limit if conn.dialect.name == "sqlite" else _postgresql_limit
    with limit(conn, seconds):
        try:
            yield
        except OperationalError as problem:
            if _is_end(problem):
                raise TookTooLong from problem
            raise


def _is_end(problem: OperationalError) -> bool:
    """SQLite was interrupted, or PostgreSQL's ``statement_timeout`` passed (``query_canceled``)."""
    if getattr(problem.orig, "sqlstate", None) == "57014":
        return True
    return str(problem.orig) == "interrupted"


@contextmanager
def _sqlite_limit(conn: Connection, seconds: float) -> Iterator[None]:
    driver = conn.connection.driver_connection
    assert isinstance(driver, SqliteConnection)
    end = monotonic() + seconds
    driver.set_progress_handler(lambda: monotonic() > end, _STEPS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _postgresql_limit(conn: Connection, seconds: float) -> Iterator[None]:
    with unbounded("a setting of the transaction touches no rows"):
        conn.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
    yield
