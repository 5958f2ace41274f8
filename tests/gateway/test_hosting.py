"""How long requests of workloads may be silent and last, and what they leave behind."""

import asyncio
from random import Random
from typing import Any, cast

import pytest

from serai.gateway.limits import Limits
from serai.hosting.boxes import Box, Boxes
from serai.hosting.deployments import Deployment
from serai.hosting.fleets import Fleet, Pace
from serai.hosting.instances import Instance
from serai.hosting.launches import Launch
from serai.hosting.ports import Workload
from serai.hosting.runs import Run
from serai.kernel.lines import LogLine
from serai.runtime.port import SandboxHandle

from .world import Client, Received, World


@pytest.fixture
def limits() -> Limits:
    return Limits(tick=0.02, hosted_silence=0.4, hosted_total=1.5)


@pytest.fixture
async def instance(world: World) -> Instance:
    """An instance of the agent ``main/agents/echo`` behind the world's port socket."""
    path = str(world.directory / "port.sock")
    handle = SandboxHandle(id="one", api_socket="", port_socket=path, state="")
    boxes = Boxes(cast(Any, None), cast(Any, None))
    label = LogLine(
        at_ns=0, workspace="main", resource_type="agent", resource="echo", source="run", text=""
    )
    run = Run("", "app", "1", label, cast(Any, None), cast(Any, None))
    workload = Workload(
        kind="agent", workspace="main", name="echo", document_id="d", account_id="acc"
    )
    deployment = Deployment(workload, Random(1))
    fleet = Fleet(workload, "rev-1", Launch(image="x"), cast(Any, None), Pace(), lambda *_: None)
    made = Instance(Box(boxes, handle), run, 8080)
    fleet.instances.append(made)
    deployment.active = fleet
    world.gateway.hosted.put(deployment)
    return made


def streaming(pieces: int, pause: float) -> Any:
    async def handler(
        request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(pieces):
            await asyncio.sleep(pause)
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    return handler


async def test_silence_ends_a_request(world: World, client: Client, instance: Instance) -> None:
    async def silent(*_: Any) -> None:
        await asyncio.sleep(30)

    world.app_port.handler = silent
    answer = await client.ask("/main/agents/echo")
    assert (answer.status, answer.headers["x-blaxel-error-code"]) == (504, "UPSTREAM_TIMEOUT")
    assert b"nothing was sent for 0.4 s" in answer.body
    assert instance.in_flight == 0


async def test_every_byte_starts_the_time_anew(
    world: World, client: Client, instance: Instance
) -> None:
    world.app_port.handler = streaming(5, 0.2)
    answer = await client.ask("/main/agents/echo")
    assert (answer.status, answer.body) == (200, b"xxxxx")
    assert instance.in_flight == 0


async def test_no_request_lasts_for_ever(world: World, client: Client, instance: Instance) -> None:
    world.app_port.handler = streaming(1000, 0.1)
    client.send("/main/agents/echo")
    assert (await client.head()).status == 200
    cut = await asyncio.wait_for(client.ended(), 30)
    assert cut
    assert not cut.endswith(b"0\r\n\r\n")
    assert instance.in_flight == 0


async def test_connections_to_workloads_are_used_again(
    world: World, client: Client, instance: Instance
) -> None:
    for _ in range(3):
        assert (await client.ask("/main/agents/echo", method="POST", body=b"{}")).status == 200
    assert world.app_port.connections == 1
    told = world.app_port.requests[-1]
    assert told.headers["x-forwarded-prefix"] == "/main/agents/echo"
    assert "authorization" not in told.headers


async def test_strangers_are_not_let_in(world: World, client: Client, instance: Instance) -> None:
    assert (await client.ask("/main/agents/echo", key=None)).status == 401
    assert (await client.ask("/main/agents/echo", key="other-key")).status == 403
    assert world.app_port.requests == []


def test_the_contracts_limits() -> None:
    limits = Limits()
    assert (limits.hosted_silence, limits.hosted_total) == (100.0, 900.0)
