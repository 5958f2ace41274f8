"""What a probe says, and what it is told."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

State = Literal["works", "degraded", "missing"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report.

    Attributes:
        group: heading it stands under.
        name: what was looked at.
        state: whether it works, works with less, or not at all.
        why: what was seen, for people.
        fix: the command or setting that helps; empty where nothing has to be done.
        required: whether Serai cannot do its work without it.
    """

    group: str
    name: str
    state: State
    why: str
    fix: str = ""
    required: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where Serai would run.

    Attributes:
        data_dir: its data directory, which need not exist.
        scratch: an empty directory on the same file system, removed at the end.
        host, port: where it would listen.
        runtime: the setting of that name.
        own_mounts: whether this process has mounts of its own, see ``serai.runtime.privacy``.
        is_running: whether a server uses the data directory now.
    """

    data_dir: Path
    scratch: Path
    host: str
    port: int
    runtime: str
    own_mounts: bool
    is_running: bool


Probe = Callable[[Place], Iterable[Finding]]


def finding(
    group: str, name: str, problem: str, works: str, fix: str, *, weaker: bool = False
) -> Finding:
    """``works`` when there is no problem, otherwise degraded (``weaker``) or missing."""
    if not problem:
        return Finding(group=group, name=name, state="works", why=works)
    state: State = "degraded" if weaker else "missing"
    return Finding(group=group, name=name, state=state, why=problem, fix=fix)
