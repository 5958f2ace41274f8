"""Plain HTTP on a port that speaks HTTPS: who may, who is sent over, who is refused."""

from collections.abc import AsyncIterator

import pytest

from serai.gateway.insecure import InsecureProtocol, insecure_protocol
from serai.gateway.limits import Limits

from .model_calls import CHAT, body
from .world import Client, World

PAGE = {"Upgrade-Insecure-Requests": "1"}


@pytest.fixture
async def world(tmp_path, limits: Limits) -> AsyncIterator[World]:  # type: ignore[no-untyped-def]
    world = World(tmp_path, limits)
    await world.start()
    world.server.config.http_protocol_class = insecure_protocol(world.gateway)
    yield world
    await world.stop()


@pytest.fixture
def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client is on another machine: this one has no second address to come from."""
    monkeypatch.setattr(InsecureProtocol, "_is_local", lambda self: False)


async def test_programs_of_this_machine_may(world: World, client: Client) -> None:
    assert (await client.ask("/v0/x", method="POST", body=b"x")).status == 200
    assert (await client.ask("/main/sandboxes/box/health")).status == 200


async def test_who_opens_a_page_is_sent_over(world: World, client: Client) -> None:
    sent = await client.ask("/login?next=%2F", headers=PAGE, host="localhost:8443")
    assert (sent.status, sent.headers["location"]) == (307, "https://localhost:8443/login?next=%2F")
    assert sent.headers["vary"] == "Upgrade-Insecure-Requests"
    odd = await (await world.client()).ask("/login", headers=PAGE, host="a/b@c")
    assert "location" not in odd.headers


@pytest.mark.usefixtures("from_elsewhere")
async def test_others_are_refused_or_sent_over(world: World) -> None:
    world.add_model("gpt", "http://127.0.0.1:9")
    for target, content in (
        ("/v0/x", b"x"),
        (CHAT, body()),
        ("/main/sandboxes/box/process", b"{}"),
    ):
        client = await world.client()
        refused = await client.ask(target, method="POST", body=content)
        assert (refused.status, refused.headers["x-blaxel-error-code"]) == (403, "HTTPS_REQUIRED")
        assert await client.ended() == b""
    sent = await (await world.client()).ask("/v0/workspaces")
    assert (sent.status, sent.headers["location"]) == (307, "https://gateway.test/v0/workspaces")
    assert world.api.requests == world.model.requests == []
