"""Whatever comes in to any operation: an answer in the documented envelope, and life goes on."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.sandboxd.description import OPERATIONS, Operation

from .client import Answer, Sandbox

HARMLESS = [
    one
    for one in OPERATIONS
    if one.path not in {"/process/{identifier}/logs/stream", "/terminal", "/mcp"}
    and not one.path.startswith(("/watch", "/terminal"))
]
BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 5_000,
    json.dumps(
        dict.fromkeys(
            ("command", "config", "content", "files", "parts", "callback", "codeEdit", "query"), 7
        )
    ).encode(),
    json.dumps({"command": "\0", "codeEdit": "\0", "source": "\0", "destination": "\0"}).encode(),
    json.dumps({"command": "true", "env": {"A=B": "x"}, "timeout": 1e99}).encode(),
    json.dumps({"command": "true", "workingDir": "/" + "x" * 5_000}).encode(),
    json.dumps({"command": "true", "waitForPorts": [-1, 70_000, 1 << 70]}).encode(),
    json.dumps({"permissions": "99z", "content": "x"}).encode(),
    json.dumps({"callback": "ftp://\\r\\n/"}).encode(),
]
WORDS = [
    "",
    "%00",
    "%2e%2e",
    "..%2F..%2Fetc",
    "x" * 4_096,
    "-1",
    "9" * 20,
    "%FF",
    "~",
]
ODD = st.one_of(st.sampled_from(WORDS), st.text("ab/.%~ \t?#&=+é0", max_size=12))


def address(one: Operation, word: str) -> str:
    """The operation's address with this in every place."""
    safe = re.sub(r"[^a-zA-Z0-9%.~+-]", lambda found: f"%{ord(found[0]) & 255:02X}", word)
    query = "&".join(f"{name}={safe}" for name in one.query)
    return re.sub(r"{\w+}", lambda _: safe, one.path) + (f"?{query}" if query else "")


def is_in_order(answer: Answer) -> None:
    if answer.status < 400:
        return
    if answer.headers["Content-Type"].startswith("text/plain"):
        assert (answer.status, answer.body) == (404, b"404 page not found")
        return
    said = answer.json["error"]
    assert said
    assert not said.startswith("internal error"), said


@pytest.mark.parametrize("one", HARMLESS, ids=lambda one: f"{one.method} {one.path}")
def test_odd_bodies(sandbox: Sandbox, one: Operation) -> None:
    where = address(one, "odd").replace("/tree/odd", f"/tree{sandbox.workdir}/odd")
    for body in BODIES if one.method in {"POST", "PUT"} else BODIES[:2]:
        is_in_order(sandbox.call(one.method, where, body))
    assert sandbox.call("GET", "/health").json["status"] == "ok"


@settings(max_examples=15)
@given(word=ODD)
@pytest.mark.parametrize(
    "one",
    [one for one in HARMLESS if one.method == "GET" and ("{" in one.path or one.query)],
    ids=lambda one: one.path,
)
def test_odd_names_and_parameters(sandbox: Sandbox, one: Operation, word: str) -> None:
    is_in_order(sandbox.call(one.method, address(one, word)))


def test_every_read_may_be_asked_about_by_head(sandbox: Sandbox) -> None:
    for one in HARMLESS:
        if one.method == "GET":
            answer = sandbox.call("HEAD", address(one, "1"))
            assert (answer.status, answer.body) == (200, b""), one.path
