"""`serai conformance`: which operations this release serves, and which clients call them."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import click
import msgspec

from serai.api.versions import RELEASES

CLIENTS = {
    "python-0.4.3": "Python SDK 0.4.3",
    "python-0.4.24": "Python SDK 0.4.24",
    "typescript-0.2.95": "TypeScript SDK 0.2.95",
    "typescript-0.3.21": "TypeScript SDK 0.3.21",
}
"""Clients whose calls are known, oldest first, by the name they have in the table."""

INTRODUCTION = """\
# Parity with the official clients

Made by `serai conformance --markdown`; a test keeps it in step with what the server serves.

An operation answers in every API version from *Since* on; where *Pages* names a version, its list
is a bare array before it and `{data, meta}` from it on. Operations without clients are our own.
"""


class Served(msgspec.Struct, frozen=True):
    """An operation: the API version it answers from, from which its list is a page (empty: never
    one), and who calls it."""

    operation: str
    method: str
    path: str
    since: str
    pages: str
    clients: tuple[str, ...]

    @property
    def area(self) -> str:
        """The first segment of its path."""
        return self.path.removeprefix("/v0/").split("/")[0]


def served() -> list[Served]:
    """Every operation of this release, from the table in the package."""
    text = resources.files("serai.cli").joinpath("operations.tsv").read_text("utf-8")
    return [parse(line) for line in text.splitlines() if line]


def parse(line: str) -> Served:
    """A line of the table: six columns between tabs, clients between commas."""
    operation, method, path, since, pages, clients = line.split("\t")
    names = tuple(name for name in clients.split(",") if name)
    return Served(operation, method, path, since, pages, names)


def render(one: Served) -> str:
    """The line that ``parse`` reads."""
    return "\t".join([*msgspec.structs.astuple(one)[:5], ",".join(one.clients)])


def counts(operations: Sequence[Served]) -> dict[str, int]:
    """Operations in all, and how many of them each client calls."""
    called = {name: sum(name in one.clients for one in operations) for name in CLIENTS}
    return {"operations": len(operations)} | called


@click.command("conformance")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--markdown", "form", flag_value="markdown", help="Print docs/reference/parity.md.")
@click.option("--table", "form", flag_value="table", default="table", help="Print text (default).")
def conformance_command(form: str) -> None:
    """Print which API operations, versions and clients this release supports."""
    operations = served()
    click.echo({"json": as_json, "markdown": as_markdown}.get(form, as_table)(operations))


def as_json(operations: Sequence[Served]) -> str:
    """One object: versions, clients, counts and operations."""
    shown: dict[str, Any] = {
        "versions": sorted(RELEASES),
        "clients": CLIENTS,
        "counts": counts(operations),
        "operations": msgspec.to_builtins(operations),
    }
    return json.dumps(shown, indent=2)


def as_table(operations: Sequence[Served]) -> str:
    """Aligned text; the clients of an operation are the letters that the head explains."""
    letters = dict(zip(CLIENTS, "abcdefgh", strict=False))
    total = counts(operations)
    head = [f"{total['operations']} operations, API versions {', '.join(sorted(RELEASES))}"]
    head += [f"  {letters[name]}  {total[name]:3}  {title}" for name, title in CLIENTS.items()]
    width = max((len(one.operation) for one in operations), default=0)
    lines = [
        f"{one.operation:{width}}  {one.since}  {one.pages or '-':10}  {_marks(one, letters)}  "
        f"{one.method:6} {one.path}"
        for one in operations
    ]
    names = f"{'operation':{width}}  {'since':10}  {'pages':10}  {'used':{len(CLIENTS)}}  path"
    return "\n".join([*head, "", names, *lines])


def _marks(one: Served, letters: dict[str, str]) -> str:
    return "".join(letter if name in one.clients else "." for name, letter in letters.items())


def as_markdown(operations: Sequence[Served]) -> str:
    """The page ``docs/reference/parity.md``."""
    total = counts(operations)
    parts = [INTRODUCTION, "| | operations |", "|---|---|"]
    parts.append(f"| Served | {total['operations']} |")
    parts += [f"| Called by {title} | {total[name]} |" for name, title in CLIENTS.items()]
    for area in sorted({one.area for one in operations}):
        parts += ["", f"## {area}", "", _row("Operation", "", "Since", "Pages", "Clients")]
        parts.append("|---|---|---|---|---|")
        parts += [_markdown_row(one) for one in operations if one.area == area]
    return "\n".join(parts)


def _markdown_row(one: Served) -> str:
    call = f"`{one.method} {one.path}`"
    return _row(one.operation, call, one.since, one.pages, ", ".join(one.clients))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")
