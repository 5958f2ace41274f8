"""Docker and Podman for these tests: their own daemons, with directories and sockets of ours.

Nothing of the machine's own engine is touched, and everything is gone afterwards.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from serai.runtime.engine.client import Engine

FILES = 20000
"""Open files per container; machines may forbid more."""


@contextlib.contextmanager
def podman(folder: Path) -> Iterator[str]:
    """The socket of a Podman API service."""
    program = _need("podman")
    configuration = folder / "containers.conf"
    configuration.write_text(
        "[containers]\n"
        f'default_ulimits = ["nofile={FILES}:{FILES}"]\n'
        "[engine]\n"
        'cgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
        f'tmp_dir = "{folder}/tmp"\n'
    )
    storage = folder / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    environ = {
        "PATH": f"{os.defpath}:/usr/sbin:/sbin",
        "CONTAINERS_CONF": str(configuration),
        "CONTAINERS_STORAGE_CONF": str(storage),
        "HOME": str(folder),
    }
    socket = folder / "podman.sock"
    command = [program, "system", "service", "--time=0", f"unix://{socket}"]
    with _service(command, environ, socket, folder):
        yield str(socket)
    for line in Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
        if (target := line.split()[4]).startswith(f"{folder}/"):
            subprocess.run(["umount", target], check=False)


@contextlib.contextmanager
def docker(folder: Path) -> Iterator[str]:
    """The socket of a Docker daemon, without any network of its own."""
    program = _need("dockerd")
    socket = folder / "docker.sock"
    command = [
        program,
        f"--host=unix://{socket}",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/docker.pid",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        f"--default-ulimit=nofile={FILES}:{FILES}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]
    environ = {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "HOME": str(folder)}
    with _service(command, environ, socket, folder):
        yield str(socket)
    for line in Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
        if (target := line.split()[4]).startswith(f"{folder}/"):
            subprocess.run(["umount", target], check=False)


ENGINES = {"docker": docker, "podman": podman}


async def provide_image(engine: str, socket: str) -> None:
    """Import the files of an image, as ``blaxel/base-image:latest``."""
    archive = Path(os.environ.get("SERAI_TEST_IMAGE", ""))
    if not archive.is_file():
        pytest.skip("SERAI_TEST_IMAGE names no tar archive of an image; see make test-drivers")
    client = Engine(engine, socket)
    try:
        chunks = _chunks(archive)
        repository = {"repo": "blaxel/base-image", "tag": "latest"}
        await client.upload("/images/create", chunks, fromSrc="-", **repository)
    finally:
        await client.close()


async def _chunks(archive: Path) -> AsyncIterator[bytes]:
    with archive.open("rb") as file:
        while part := file.read(1 << 20):
            yield part


def _need(program: str) -> str:
    path = shutil.which(program, path=f"{os.defpath}:/usr/sbin:/sbin")
    if path is None or os.geteuid() != 0:
        pytest.skip(f"needs root and {program} (Debian packages podman and docker.io)")
    return path


@contextlib.contextmanager
def _service(
    command: list[str], environ: dict[str, str], socket: Path, folder: Path
) -> Iterator[None]:
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                last = log.read_text().strip().splitlines()[-1:]
                pytest.skip(f"{command[0]} does not start here: {last}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
