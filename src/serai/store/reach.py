"""How far the statements of a request may reach: what the guard of the database compares with.

The reach of a request is its caller. It travels with the request's task, and with what is queued
for the writer. Work of the platform itself (reconcilers, meters, the start) has none; where a
request needs more than its caller's, the code says so by ``unbounded`` and why.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Reach(Protocol):
    """Whose rows a statement may touch; a ``Principal`` is one."""

    @property
    def account_id(self) -> str:
        """The caller's account."""

    @property
    def account_admin(self) -> bool:
        """Whether rows of the account that belong to no workspace of the caller are theirs too."""

    @property
    def workspaces(self) -> Mapping[str, str]:
        """The caller's workspaces."""

    @property
    def subject(self) -> str:
        """The caller's id."""

    @property
    def email(self) -> str:
        """The caller's address, to which invitations go."""


current: ContextVar[Reach | None] = ContextVar("serai_reach", default=None)
"""The reach of what runs now; ``None``: the platform's own work, or what it does for a request on
purpose. The edge sets it for a request."""


@contextmanager
def within(reach: Reach | None) -> Iterator[None]:
    """Let statements touch only what is in reach."""
    before = current.set(reach)
    try:
        yield
    finally:
        current.reset(before)


@contextmanager
def unbounded(reason: str) -> Iterator[None]:
    """Let statements touch any tenant's rows; ``reason`` says why that shows nobody too much."""
    assert reason
    before = current.set(None)
    try:
        yield
    finally:
        current.reset(before)
