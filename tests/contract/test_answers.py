"""Real answers against the contract's own schemas: required fields, enums and types.

The parity test compares descriptions; this one looks at what is really sent, for one resource of
each kind.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.fuzzing_seeds import DOMAIN, NAME, SEEDS, plant
from contract.specs import Json, contract
from platform_server import KEY, Server

jsonschema_rs = pytest.importorskip(
    "jsonschema_rs", reason="jsonschema_rs comes with schemathesis: make test installs it"
)
VERSION = "2026-04-28"
"""The version that the contract's document describes."""

PLANTED = [path for path in SEEDS if path.count("/") == 0 or path.startswith("integrations")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An admin's client of a server with one resource of each kind."""
    server = Server(tmp_path_factory.mktemp("answers") / "data").start()
    with server.client_for(KEY, **{"Blaxel-Version": VERSION}) as one:
        assert plant(one) == []
        yield one
    server.stop()


def flaws(specs: Path, shown: Json, answer: httpx.Response) -> list[str]:
    """How a 200 answer breaks the contract's schema for it."""
    content = shown["responses"]["200"].get("content", {})
    if not content:
        return []
    schema = contract(specs) | content["application/json"]["schema"]
    schema = {key: schema[key] for key in schema if key not in {"paths", "info", "servers"}}
    validator = jsonschema_rs.validator_for(schema)
    return [
        f"{answer.request.method} {answer.request.url.path} at {list(error.instance_path)}: "
        f"{error.message[:200]}"
        for error in validator.iter_errors(answer.json())
    ]


def filled(path: str) -> str:
    name = DOMAIN if path.startswith("/customdomains") else NAME
    return "/v0" + re.sub(r"{\w+}", lambda _: name, path)


def test_reads(client: httpx.Client, specs: Path) -> None:
    found: list[str] = []
    answered = 0
    for path, item in contract(specs)["paths"].items():
        if "get" not in item or "/models" in path[7:]:
            continue
        answer = client.get(filled(path))
        assert answer.status_code in {200, 403, 404, 409, 502}, f"{path}: {answer.text}"
        if answer.status_code == 200:
            answered += 1
            found += flaws(specs, item["get"], answer)
    assert not found, "\n".join(found)
    assert answered > 50


@pytest.mark.parametrize("path", PLANTED)
def test_writes(client: httpx.Client, specs: Path, path: str) -> None:
    name = f"written.{DOMAIN}" if path == "customdomains" else "written"
    of_list, of_one = operations(specs, path)
    body: dict[str, Any] = {"metadata": {"name": name}, "spec": SEEDS[path]}
    made = client.post(f"/v0/{path}", json=body)
    assert made.status_code == 200, made.text
    found = flaws(specs, of_list["post"], made)
    assert made.json()["metadata"]["name"] == name
    if "put" in of_one:
        replaced = client.put(f"/v0/{path}/{name}", json=made.json())
        assert replaced.status_code == 200, replaced.text
        found += flaws(specs, of_one["put"], replaced)
    gone = client.delete(f"/v0/{path}/{name}")
    assert gone.status_code == 200, gone.text
    found += flaws(specs, of_one["delete"], gone)
    assert not found, "\n".join(found)


def operations(specs: Path, path: str) -> tuple[Json, Json]:
    """The contract's path items of a kind's list and of one of it."""
    paths = contract(specs)["paths"]
    one = next(key for key in paths if re.fullmatch(f"/{path}/{{\\w+}}", key))
    return paths[f"/{path}"], paths[one]
