"""An egress process, servers for it to reach, and namespaces to reach them from."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import certifi
import pytest

from egress.room import Room
from egress.wireguard_peer import WireguardPeer
from egress.world import World
from serai.egress.forgery import load_authority
from serai.egress.service import EgressService
from serai.egress.setup import HostRule, Setup

MakeRoom = Callable[..., Room]
HOSTS = {
    "secure.test": "https",
    "other.test": "https",
    "*.wide.test": "https",
    "wrong.example": "https",
    "plain.test": "http",
    "grpc.test": "grpc",
    "h2c.test": "h2c",
    "two.test": "h2",
    "first.test": "first",
    "sink.test": "sink",
    "peer.test": "",
}
"""Names and which of the world's servers they lead to; to any port of loopback if to none."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    world.start()
    yield world
    world.stop()


@pytest.fixture
async def egress(world: World, tmp_path: Path) -> AsyncIterator[EgressService]:
    """A running service that knows the world's names."""
    certificate, key = load_authority(tmp_path)
    hosts = tuple(
        HostRule(name=name, address="127.0.0.1", port=world.ports.get(kind, 0))
        for name, kind in HOSTS.items()
        if kind in world.ports or not kind
    )

    def setup() -> Setup:
        return Setup(certificate=certificate, key=key, roots=world.roots, hosts=hosts)

    service = EgressService(tmp_path, setup)
    await service.start()
    yield service
    await service.close()
    log = (tmp_path / "egress.log").read_text()
    assert "Traceback" not in log, log[-5000:]


@pytest.fixture
def authority(egress: EgressService, world: World, tmp_path: Path) -> Path:
    """What clients inside trust: the web's authorities, the world's, and the egress process's."""
    path = tmp_path / "trusted.pem"
    path.write_text(Path(certifi.where()).read_text() + world.roots + egress.authority)
    return path


@pytest.fixture
def make_room(egress: EgressService, authority: Path) -> Iterator[MakeRoom]:
    if shutil.which("nsenter") is None or shutil.which("curl") is None:
        pytest.skip("needs nsenter and curl")
    rooms: list[Room] = []

    def make(name: str, *, attached: bool = True) -> Room:
        room = Room(name, egress.socket, authority)
        rooms.append(room)
        if attached:
            room.attach()
        return room

    yield make
    for room in rooms:
        room.close()


@pytest.fixture(scope="session")
def peer() -> Iterator[WireguardPeer]:
    peer = WireguardPeer()
    yield peer
    peer.close()


@pytest.fixture
def room(make_room: MakeRoom) -> Room:
    return make_room("room")
