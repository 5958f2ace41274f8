"""Everything around: data directory, port, clock, Python, registries."""

import asyncio
import ctypes
import platform
import shutil
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from serai.doctor.findings import Finding, Place, finding
from serai.runtime import instances
from serai.runtime.guest import tree
from serai.runtime.port import RuntimeProblem

_GROUP = "Surroundings"
_UNFIT = {"overlay", "nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "vfat"}
_LITTLE_MB, _TOO_LITTLE_MB = 10 * 1024, 1024
_REGISTRIES = ("registry-1.docker.io", "ghcr.io", "quay.io")
_SECONDS = 4.0
_UNSYNCHRONISED = 0x40
_BUILT_IN = 2025
"""No clock that is right shows an earlier year."""


def python(_: Place) -> Iterator[Finding]:
    """The Python that runs this, which is also shown to sandboxes of other drivers."""
    version = platform.python_version()
    problem = "" if sys.version_info >= (3, 11) else f"{version} is older than 3.11"
    yield finding(_GROUP, "Python", problem, version, "run Serai with Python 3.11 or newer")


def interpreter_tree(place: Place) -> Iterator[Finding]:
    """Whether our Python can be taken into sandboxes that cannot be forked."""
    try:
        tree.build(place.scratch, "serai.sandboxd.main")
        problem = ""
    except RuntimeProblem as error:
        problem = str(error)
    fix = "run Serai with a Python that has shared libraries, such as Debian's python3"
    yield finding(_GROUP, "interpreter tree", problem, "built", fix, weaker=True)


def data_directory(place: Place) -> Iterator[Finding]:
    """Its file system, and the room on it."""
    kind = _file_system(place.scratch)
    problem = f"{kind} cannot hold overlays" if kind in _UNFIT else ""
    fix = "serai up --data-dir DIR on ext4, xfs or btrfs"
    yield finding(_GROUP, "data directory", problem, f"{place.data_dir} on {kind}", fix)
    free = shutil.disk_usage(place.scratch).free >> 20
    problem = "" if free >= _LITTLE_MB else f"only {free} MiB are free"
    weaker = free >= _TOO_LITTLE_MB
    fix = "free some, or choose another one with --data-dir"
    yield finding(_GROUP, "disk space", problem, f"{free >> 10} GiB free", fix, weaker=weaker)


def _file_system(path: Path) -> str:
    """The type of the file system that a path is on."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        target = before.split()[4]
        if Path(path).resolve().is_relative_to(target) and len(target) >= len(best):
            best, kind = target, after.split()[0]
    return kind


def orphans(_: Place) -> Iterator[Finding]:
    """Sandboxes of data directories that were deleted."""
    left = [each for each in instances.orphans() if each.sandboxes]
    count = sum(each.sandboxes for each in left)
    where = ", ".join(each.data_dir for each in left[:3])
    problem = f"{count} of data directories that are gone: {where}" if left else ""
    fix = "the next start of any instance ends them"
    works = "no sandbox without a data directory"
    yield finding(_GROUP, "orphans", problem, works, fix, weaker=True)


def port(place: Place) -> Iterator[Finding]:
    """Whether the server could listen."""
    where = f"{place.host} port {place.port}"
    fix = f"serai up --port {place.port + 1}"
    if place.is_running:
        yield finding(_GROUP, "port", "", f"{where}: Serai is running", fix)
        return
    problem = ""
    try:
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((place.host, place.port))
    except OSError as error:
        problem = f"{where}: {error.strerror or error}"
    yield finding(_GROUP, "port", problem, f"{where} is free", fix)


def clock(_: Place) -> Iterator[Finding]:
    """A clock that is wrong breaks tokens, certificates and bills."""
    problem = ""
    if time.gmtime().tm_year < _BUILT_IN:
        problem = f"it shows the year {time.gmtime().tm_year}"
    elif _clock_status() & _UNSYNCHRONISED:
        problem = "the kernel says that nothing keeps it right"
    fix = "timedatectl set-ntp true, or apt install chrony"
    yield finding(_GROUP, "clock", problem, "synchronised", fix, weaker=True)


def _clock_status() -> int:
    """``timex.status`` of adjtimex(2), asked without changing anything."""
    buffer = ctypes.create_string_buffer(256)
    ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    (status,) = struct.unpack_from("i", buffer, 40)
    return int(status)


def registries(_: Place) -> Iterator[Finding]:
    """Which public registries answer: images can be pulled from them."""
    reached = asyncio.run(_reached())
    names = [name for name, problem in reached.items() if not problem]
    problem = "" if names else "none answers: only images made here, or imported, can be used"
    fix = "allow outgoing HTTPS, or import images"
    yield finding(_GROUP, "image registries", problem, ", ".join(names), fix, weaker=True)


async def _reached() -> dict[str, str]:
    timeout = aiohttp.ClientTimeout(_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        problems = await asyncio.gather(*(_ask(session, name) for name in _REGISTRIES))
    return dict(zip(_REGISTRIES, problems, strict=True))


async def _ask(session: aiohttp.ClientSession, name: str) -> str:
    try:
        async with session.get(f"https://{name}/v2/") as answer:
            return "" if answer.status in (200, 401) else f"answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return str(error) or "no answer"
