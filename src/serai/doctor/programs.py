"""Programs of the system that Serai uses where they are there."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from serai.doctor.findings import Finding, Place, finding
from serai.doctor.trials import attempt
from serai.runtime import host
from serai.runtime.oci.program import find

_GROUP = "Programs"
_CRIU_WANTED = (4, 2)
_NODE_WANTED = 18


def packet_filter(_: Place) -> Iterator[Finding]:
    """nftables, in a network namespace of its own; Serai speaks to the kernel without ``nft``."""
    program = find("nft")
    problem = attempt("packet filter", program) if program else "nft, to look at rules, is missing"
    fix = "apt install nftables"
    yield finding(_GROUP, "nftables", problem, "rules were loaded", fix, weaker=True)


def quotas(place: Place) -> Iterator[Finding]:
    """Loop devices and btrfs, which limit the files of sandboxes and volumes."""
    problem = ""
    if not (find("mkfs.btrfs") and find("btrfs")):
        problem = "mkfs.btrfs is not installed"
    elif not host.is_host_root():
        problem = "needs root, for loop devices"
    problem = problem or attempt("quotas", str(place.scratch))
    works = "a subvolume was limited"
    fix = "apt install btrfs-progs, and run Serai as root"
    yield finding(_GROUP, "disk quotas", problem, works, fix, weaker=True)


def checkpoints(_: Place) -> Iterator[Finding]:
    """CRIU, which saves running processes."""
    program = find("criu")
    fix = "install CRIU 4.2 or newer (Debian: from unstable), and run Serai as root"
    if program is None:
        yield finding(_GROUP, "criu", "criu is not installed", "", fix)
        return
    version = _version(program, "--version")
    problem = _first_problem(program, "check")
    if version < _CRIU_WANTED:
        problem = f"{_text(version)} is older than {_text(_CRIU_WANTED)}"
    yield finding(_GROUP, "criu", problem, f"{_text(version)}, its own check passes", fix)


def image_tools(_: Place) -> Iterator[Finding]:
    """What builds root file systems."""
    found = find("mmdebstrap")
    problem = "" if found else "mmdebstrap is not installed: images are made of the host's files"
    yield finding(_GROUP, "mmdebstrap", problem, str(found), "apt install mmdebstrap", weaker=True)


def node(_: Place) -> Iterator[Finding]:
    """Node.js, for the TypeScript clients and sandboxes with the host's files."""
    program = shutil.which("node")
    fix = f"install Node.js {_NODE_WANTED} or newer"
    if program is None:
        yield finding(_GROUP, "node", "not installed", "", fix, weaker=True)
        return
    version = _version(program, "--version")
    problem = "" if version >= (_NODE_WANTED,) else f"{_text(version)} is too old for the clients"
    yield finding(_GROUP, "node", problem, _text(version), fix, weaker=True)


def swap(_: Place) -> Iterator[Finding]:
    """Somewhere to put the memory of sandboxes that stand by."""
    areas = [line.split()[0] for line in Path("/proc/swaps").read_text().splitlines()[1:]]
    zram = os.path.exists("/sys/class/zram-control") or os.path.exists("/dev/zram0")
    problem = "" if areas else "none: what stands by keeps its memory"
    fix = "swapon a file or partition" + (
        ", or zramctl --find --size 4G and swapon it" if zram else ""
    )
    yield finding(_GROUP, "swap", problem, ", ".join(areas), fix, weaker=True)


def _version(program: str, option: str) -> tuple[int, ...]:
    done = subprocess.run([program, option], capture_output=True, text=True, timeout=10)
    found = re.search(r"(\d+)\.(\d+)", done.stdout + done.stderr)
    return tuple(map(int, found.groups())) if found else (0,)


def _first_problem(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    lines = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"ended {done.returncode}")


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
