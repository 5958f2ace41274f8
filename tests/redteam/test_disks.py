"""Bombs of files: the disk of one sandbox ends, and the neighbours still write."""

from collections.abc import Iterator

import httpx
import pytest

from platform_server import KEY, Server

from .attacker import Attacker

DISK_MB = 64
FILL = "dd if=/dev/zero of=/blaxel/bomb bs=1M count=1000 conv=fsync"
MANY = (
    "python3 -c \"import os; os.makedirs('/blaxel/many', exist_ok=True)\n"
    "for n in range(2_000_000): os.close(os.open(f'/blaxel/many/{n:0200}', os.O_CREAT))\""
)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server whose sandboxes have small disks."""
    folder = tmp_path_factory.mktemp("limited")
    server = Server(folder / "data", SERAI_SANDBOX_DISK_MB=str(DISK_MB)).start()
    with server.client_for(KEY) as api:
        if "no limit on what sandboxes write" in api.get("/health").json()["isolation"]:
            pytest.skip(
                "NOT TESTED: disks have no limit here: apt-get install btrfs-progs, as root"
            )
        api.timeout = httpx.Timeout(120)
        yield api
    server.stop()


@pytest.fixture
def pair(limited: httpx.Client) -> Iterator[tuple[Attacker, Attacker]]:
    """Somebody hostile, and a neighbour on the same disk."""
    made = Attacker(limited, "evil"), Attacker(limited, "good")
    yield made
    for one in made:
        one.delete()


@pytest.mark.parametrize("bomb", [FILL, MANY], ids=["bytes", "files"])
def test_a_bomb_of(pair: tuple[Attacker, Attacker], bomb: str) -> None:
    evil, good = pair
    done = evil.run(f"timeout 60 {bomb}", 90)
    assert done["exitCode"] not in (0, 124), done["logs"]
    assert good.run("dd if=/dev/zero of=/blaxel/mine bs=1M count=16 conv=fsync")["exitCode"] == 0
    assert evil.run("rm -rf /blaxel/bomb /blaxel/many; sync", 90)["exitCode"] == 0
    again = evil.run("dd if=/dev/zero of=/blaxel/again bs=1M count=16 conv=fsync")
    assert again["exitCode"] == 0, again["logs"]
    assert evil.is_well()


def test_everywhere_counts_together(pair: tuple[Attacker, Attacker]) -> None:
    evil, _ = pair
    places = ("/tmp", "/usr/local", "/root", "/var/tmp", "/home/user", "/blaxel")
    sizes = [
        evil.run(
            f"dd if=/dev/zero of={place}/bomb bs=1M count={DISK_MB} conv=fsync; "
            f"stat -c %s {place}/bomb"
        )["stdout"]
        for place in places
    ]
    written = sum(int(text.strip().splitlines()[-1]) for text in sizes if text.strip())
    assert written <= DISK_MB << 20


def test_holes_take_nothing_of_others(pair: tuple[Attacker, Attacker]) -> None:
    evil, good = pair
    holes = "for n in $(seq 1000); do truncate -s 8T /blaxel/hole-$n; done"
    assert evil.run(holes)["exitCode"] == 0
    assert good.run("dd if=/dev/zero of=/blaxel/mine bs=1M count=16 conv=fsync")["exitCode"] == 0
    assert evil.is_well()
