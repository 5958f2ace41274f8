"""`serai conformance`: its table is what the server serves and what the clients call."""

import json
import re
import subprocess

import pytest

from contract.client_calls import calls_of
from contract.rewrite import from_document
from contract.specs import REPOSITORY, Json, Route
from platform_server import COMMAND, environment
from serai.cli.conformance import CLIENTS, Served, served

PAGE = REPOSITORY / "docs" / "reference" / "parity.md"
REWRITE = "run: make parity"


def conformance(*options: str) -> str:
    command = [*COMMAND, "conformance", *options]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_the_table_is_what_the_server_serves(ours: Json) -> None:
    bare = {(one.operation, one.method, one.path, one.pages) for one in served()}
    live = {(one.operation, one.method, one.path, one.pages) for one in from_document(ours)}
    assert bare == live, REWRITE


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text() == conformance("--markdown"), REWRITE


def test_json_has_versions_counts_and_operations() -> None:
    shown = json.loads(conformance("--json"))
    assert "2026-09-22" in shown["versions"]
    assert shown["counts"]["operations"] == len(shown["operations"]) == len(served())
    assert shown["counts"]["python-0.4.24"] <= 176


def test_the_table_names_every_client() -> None:
    text = conformance()
    for title in CLIENTS.values():
        assert title in text
    assert re.search(r"^CreateSandbox\s+2026-04-16\s+-\s+abcd\s+POST\s+/v0/sandboxes$", text, re.M)


@pytest.mark.clients
@pytest.mark.parametrize("name", CLIENTS)
def test_the_clients_column_is_what_the_client_calls(name: str) -> None:
    calls = calls_of(name, REPOSITORY)
    if calls is None:
        pytest.skip(f"{name} is not installed: make clients")
    called = {route_of(one) for one in served() if name in one.clients}
    known = {route_of(one) for one in served()}
    assert called == calls & known, REWRITE


def route_of(one: Served) -> Route:
    return Route.of(one.method, one.path)
