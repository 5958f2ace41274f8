"""Rewrite the conformance table and ``docs/reference/parity.md`` from a running server.

``make parity`` runs it: with the clients of ``make clients`` installed, their columns are read
again; else they stay as they are.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from contract.client_calls import calls_of
from contract.specs import METHODS, REPOSITORY, Json, Route
from platform_server import Server
from serai.api.versions import RELEASES
from serai.cli.conformance import CLIENTS, Served, as_markdown, render, served

TABLE = REPOSITORY / "src" / "serai" / "cli" / "operations.tsv"
PAGE = REPOSITORY / "docs" / "reference" / "parity.md"


def from_document(document: Json) -> Iterator[Served]:
    """The management operations of our document, without their clients."""
    for path, item in document["paths"].items():
        if not path.startswith("/v0/"):
            continue
        for method in METHODS:
            if method in item:
                shown = item[method]
                pages = shown.get("x-serai-paged-since", "")
                name = shown["operationId"]
                yield Served(name, method.upper(), path, min(RELEASES), pages, ())


def with_clients(operations: list[Served]) -> list[Served]:
    """The operations with their clients: as installed, or as in the table so far."""
    installed = {name: calls_of(name, REPOSITORY) for name in CLIENTS}
    before = {one.operation: one.clients for one in served()} if TABLE.exists() else {}

    def clients(one: Served) -> tuple[str, ...]:
        route = Route.of(one.method, one.path)
        known = before.get(one.operation, ())
        return tuple(
            name
            for name, calls in installed.items()
            if (name in known if calls is None else route in calls)
        )

    return [msgspec.structs.replace(one, clients=clients(one)) for one in operations]


def main() -> None:
    """Start a server, read its description, write both files."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data").start()
        try:
            document = httpx.get(f"{server.url}/v0/openapi.json", trust_env=False).json()
        finally:
            server.stop()
    found = with_clients(sorted(from_document(document), key=lambda one: (one.path, one.method)))
    TABLE.write_text("".join(render(one) + "\n" for one in found))
    PAGE.write_text(as_markdown(found) + "\n")


if __name__ == "__main__":
    main()
