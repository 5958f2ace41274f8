"""A server whose builds reach the package registries of this machine, for all of these tests.

They install real packages: `make test-builds` runs them.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from oci_images import RegistryServer, registry
from platform_server import Server
from serai.egress.addresses import is_public


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry") / "files") as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, store: RegistryServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("builds") / "data"
    folder.mkdir()
    # As an operator does whose mirror of a registry is not on the internet.
    nets = ", ".join(f'"{address}"' for address in sorted(private_registries()))
    (folder / "network.toml").write_text(f"[egress]\nallow = [{nets}]\n")
    environ = {"SERAI_IMAGE_REGISTRIES": f"http://{store.host}", "SERAI_BUILD_SLOTS": "3"}
    running = Server(folder, **environ).start()
    yield running
    running.stop()


def private_registries() -> set[str]:
    """Addresses, that are not the internet's, of where pip and npm get packages from."""
    found = set()
    for host in registry_hosts():
        try:
            places = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
        except OSError:
            pytest.skip(f"NOT TESTED: {host} cannot be looked up")
        found |= {str(place[4][0]) for place in places}
    return {each for each in found if not is_public(ip_address(each))}


def registry_hosts() -> set[str]:
    from pip._internal.models.index import PyPI

    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("NOT TESTED: needs npm")
    asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, check=True)
    hosts = {urlsplit(url).hostname for url in (PyPI.simple_url, asked.stdout.decode().strip())}
    return {host for host in (*hosts, PyPI.file_storage_domain) if host}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder
