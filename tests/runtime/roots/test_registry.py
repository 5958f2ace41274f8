"""Images from a real registry, and from one that fails in every way."""

import asyncio
import base64
import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from oci_images import LOGIN, ImageFiles, RegistryServer, entry, registry, tar
from serai.runtime.roots import registry as client
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.provider import Images
from serai.runtime.roots.reach import Reach
from serai.runtime.roots.records import Image


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """Open to everybody."""
    with registry(tmp_path_factory.mktemp("registry") / "files") as running:
        yield running


def two_layers(**more: Any) -> ImageFiles:
    lower = tar(
        entry("etc/one", b"lower"), entry("etc/two", b"lower"), entry("noise", b"x" * 300_000)
    )
    upper = tar(entry("etc/two", b"upper"), entry("etc/.wh.one"))
    fields: dict[str, Any] = {
        "Env": ["A=1", "PATH=/bin"],
        "WorkingDir": "/srv",
        "User": "1000:1000",
        "Entrypoint": ["/start"],
        "Cmd": ["now"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    }
    return ImageFiles(lower, upper, **(fields | more))


def nothing_is_left(images: Images) -> None:
    assert images.store.names() == {}
    assert images.store.total() == 0
    assert list(images.store.drafts.iterdir()) == []


async def test_an_image_with_its_layers_and_configuration(
    server: RegistryServer, images: Images, told: list[str]
) -> None:
    files = two_layers()
    reference = server.push(files, "team/app", "v1")
    image = await images.maker.pull(reference, told.append)
    assert image.digest == files.digest
    assert images.store.find(reference) == image
    config = image.config
    assert (config.environment, config.workdir, config.user) == (
        {"A": "1", "PATH": "/bin"},
        "/srv",
        "1000:1000",
    )
    assert (config.entrypoint, config.command, config.ports) == (("/start",), ("now",), (53, 80))
    started = images.config(reference)
    assert (started.entrypoint, started.cmd, started.ports) == (("/start",), ("now",), (53, 80))
    assert (started.env, started.workdir, started.user) == (
        {"A": "1", "PATH": "/bin"},
        "/srv",
        "1000:1000",
    )
    lower, upper = (Path(images.store.path(each)) for each in image.layers)
    assert (lower / "etc/two").read_text() == "lower"
    assert (upper / "etc/two").read_text() == "upper"
    assert images.store.size(image) == 300_000 + 15
    assert any("layer 1 of 2: downloaded 100 %" in line for line in told)
    assert list(images.store.parts.iterdir()) == []


async def test_layers_are_shared_and_not_asked_for_again(
    server: RegistryServer, images: Images, told: list[str]
) -> None:
    await images.maker.pull(server.push(two_layers(), "team/a", "v1"), told.append)
    before = images.store.total()
    told.clear()
    image = await images.maker.pull(
        server.push(two_layers(Env=["B=2"]), "team/b", "v1"), told.append
    )
    assert images.store.total() == before
    assert not any("layer" in line for line in told)
    assert image.config.environment == {"B": "2"}


@pytest.mark.parametrize("packed", ["none", "gzip", "zstd"])
async def test_kinds_of_compression(
    server: RegistryServer, images: Images, told: list[str], packed: str
) -> None:
    if packed == "zstd" and shutil.which("zstd") is None:
        pytest.skip("needs the program zstd: apt-get install zstd")
    files = ImageFiles(tar(entry("f", b"content")), packed=packed)
    image = await images.maker.pull(server.push(files, "team/packed", packed), told.append)
    assert (Path(images.store.path(image.layers[0])) / "f").read_bytes() == b"content"


async def test_the_machine_chooses_from_an_index(
    server: RegistryServer, images: Images, told: list[str]
) -> None:
    from serai.runtime.roots.oci import architecture

    files = two_layers()
    index = files.index("s390x", architecture())
    reference = server.push(files, "team/multi", "v1", index)
    assert (await images.maker.pull(reference, told.append)).digest == files.digest
    pinned = f"{server.host}/team/multi@{files.digest}"
    assert (await images.maker.pull(pinned, told.append)).digest == files.digest


async def test_an_image_for_other_machines_says_for_which(
    server: RegistryServer, images: Images, told: list[str]
) -> None:
    files = two_layers(architecture="s390x")
    listed = server.push(files, "team/foreign", "listed", files.index("s390x", "mips"))
    with pytest.raises(
        ImageProblem, match=r"not made for linux/\w+; it is for: linux/mips, linux/s"
    ):
        await images.maker.pull(listed, told.append)
    plain = server.push(files, "team/foreign", "plain")
    with pytest.raises(ImageProblem, match="made for linux/s390x"):
        await images.maker.pull(plain, told.append)
    nothing_is_left(images)


async def test_what_is_not_there(server: RegistryServer, images: Images, told: list[str]) -> None:
    with pytest.raises(ImageProblem, match="has no image"):
        await images.maker.pull(f"{server.host}/team/nothing:v1", told.append)
    with pytest.raises(ImageProblem, match="could not be read"):
        await images.maker.pull("127.0.0.1:1/team/app:v1", told.append)
    with pytest.raises(ImageProblem, match="names no registry"):
        await images.maker.pull("alpine:3", told.append)
    nothing_is_left(images)


async def test_a_private_registry(images: Images, told: list[str], tmp_path: Path) -> None:
    with registry(tmp_path / "private", LOGIN) as server:
        reference = server.push(two_layers(), "team/secret", "v1")
        with pytest.raises(ImageProblem, match=r"refuses .* private or does not exist"):
            await images.maker.pull(reference, told.append)
        folder = tmp_path / ".docker"
        folder.mkdir()
        wrong = base64.b64encode(b"ada:wrong").decode()
        (folder / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": wrong}}}))
        with pytest.raises(ImageProblem, match=r"refuses .* \(401\)"):
            await images.maker.pull(reference, told.append)
        right = base64.b64encode(":".join(LOGIN).encode()).decode()
        own = tmp_path / "data" / "registries.json"
        own.write_text(json.dumps({"auths": {server.host: {"auth": right}}}))
        assert await images.maker.pull(reference, told.append)


class Fault:
    """Stands before a registry and damages what it answers."""

    def __init__(self, behind: RegistryServer) -> None:
        self.behind = behind
        self.asked: list[tuple[str, str | None]] = []
        self.cut_at = 0
        self.cuts = 0
        self.flip = False
        self.delay = 0.0
        self.token = ""
        self.realm = ""
        self.sent_on: dict[str, str] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on; damage blobs."""
        for part, place in self.sent_on.items():
            if part in request.path:
                self.asked.append((request.path, request.headers.get("Authorization")))
                return web.Response(status=307, headers={"Location": place + request.path})
        if request.path == "/token":
            self.asked.append(("token", request.headers.get("Authorization")))
            return web.json_response({"token": self.token})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            place = self.realm or f"http://{request.host}/token"
            realm = f'Bearer realm="{place}",service="s",scope="repository:x:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        wanted = request.headers.get("Range")
        self.asked.append((request.path, wanted))
        passed = {
            key: request.headers[key] for key in ("Accept", "Range") if key in request.headers
        }
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            url = f"http://{self.behind.host}{request.path}"
            async with session.get(url, headers=passed) as found:
                data, status = await found.read(), found.status
                kind = found.headers.get("Content-Type", "")
        await asyncio.sleep(self.delay)
        if "/blobs/" not in request.path or len(data) < 1000:
            return web.Response(body=data, status=status, headers={"Content-Type": kind})
        if self.flip:
            data = data[:-1] + bytes([data[-1] ^ 1])
        answer = web.StreamResponse(status=status, headers={"Content-Length": str(len(data))})
        await answer.prepare(request)
        if self.cuts > 0:
            self.cuts -= 1
            await answer.write(data[: self.cut_at])
            assert request.transport is not None
            request.transport.abort()
            return answer
        await answer.write(data)
        return answer


@pytest.fixture
async def fault(server: RegistryServer) -> Any:
    """A Fault and the host that reaches it."""
    made = Fault(server)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield made, f"127.0.0.1:{port}"
    await runner.cleanup()


def noisy() -> ImageFiles:
    import random

    noise = random.Random(5).randbytes(3_000_000)
    return ImageFiles(tar(entry("noise", noise)))


async def test_a_download_that_breaks_off_goes_on_where_it_was(
    fault: tuple[Fault, str], images: Images, told: list[str]
) -> None:
    proxy, host = fault
    proxy.behind.push(noisy(), "team/cut", "v1")
    proxy.cut_at, proxy.cuts = 2_000_000, 1
    await images.maker.pull(f"{host}/team/cut:v1", told.append)
    ranges = [wanted for path, wanted in proxy.asked if wanted]
    assert len(ranges) == 1
    first = int(ranges[0].removeprefix("bytes=").removesuffix("-"))
    assert 0 < first <= 2_000_000


async def test_a_download_that_never_ends_well_is_told_and_kept_for_later(
    fault: tuple[Fault, str], images: Images, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ATTEMPTS", 2)
    proxy, host = fault
    proxy.behind.push(noisy(), "team/cut", "v2")
    proxy.cut_at, proxy.cuts = 1_000_000, 2
    with pytest.raises(ImageProblem, match="could not be read"):
        await images.maker.pull(f"{host}/team/cut:v2", told.append)
    nothing_is_left(images)
    assert await images.maker.pull(f"{host}/team/cut:v2", told.append)
    assert list(images.store.parts.iterdir()) == []


async def test_damaged_bytes_are_noticed(
    fault: tuple[Fault, str], images: Images, told: list[str]
) -> None:
    proxy, host = fault
    proxy.behind.push(noisy(), "team/flip", "v1")
    proxy.flip = True
    with pytest.raises(
        ImageProblem, match=r"damaged: it should have the digest sha256:\w+, but has"
    ):
        await images.maker.pull(f"{host}/team/flip:v1", told.append)
    nothing_is_left(images)
    assert list(images.store.parts.iterdir()) == []


async def test_tokens_are_fetched_once_and_with_credentials(
    fault: tuple[Fault, str], images: Images, told: list[str], tmp_path: Path
) -> None:
    proxy, host = fault
    proxy.behind.push(noisy(), "team/token", "v1")
    proxy.token = "t0ken"
    (tmp_path / "data" / "registries.json").write_text(
        json.dumps({"auths": {host: {"username": "ada", "password": "pw"}}})
    )
    await images.maker.pull(f"{host}/team/token:v1", told.append)
    tokens = [given for path, given in proxy.asked if path == "token"]
    assert tokens == [f"Basic {base64.b64encode(b'ada:pw').decode()}"]


METADATA = "http://169.254.169.254"


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        (f"{METADATA}/latest/meta-data", "sends on to 169.254.169.254, which is nearer"),
        ("http://[fe80::1]/token", "sends on to fe80::1, which is nearer"),
        ("http://0.0.0.0/token", "is nearer"),
        ("http://[::ffff:169.254.169.254]/token", "is nearer"),
        ("http://127.0.0.1:99999/token", "which is no URL"),
        ("gopher://x/", "names no place to sign in at"),
    ],
)
async def test_a_registry_names_no_place_to_sign_in_at_that_is_nearer_than_itself(
    fault: tuple[Fault, str], images: Images, told: list[str], realm: str, words: str
) -> None:
    proxy, host = fault
    proxy.token, proxy.realm = "t0ken", realm
    with pytest.raises(ImageProblem, match=re.escape(words)):
        await images.maker.pull(f"{host}/team/near:v1", told.append)
    assert not proxy.asked


async def test_the_place_to_sign_in_at_sends_nobody_on(
    fault: tuple[Fault, str], images: Images, told: list[str], tmp_path: Path
) -> None:
    proxy, host = fault
    proxy.token = "t0ken"
    for login in ({"username": "ada", "password": "pw"}, {"identitytoken": "refresh"}):
        (tmp_path / "data" / "registries.json").write_text(json.dumps({"auths": {host: login}}))
        proxy.asked.clear()
        proxy.sent_on = {"/token": f"http://{host}/elsewhere"}
        with pytest.raises(ImageProblem, match="sends on to another place"):
            await images.maker.pull(f"{host}/team/on:v1", told.append)
        assert [path for path, _ in proxy.asked] == ["/token"]


async def test_downloads_are_sent_on_without_credentials_and_not_nearer(
    fault: tuple[Fault, str], images: Images, told: list[str]
) -> None:
    proxy, host = fault
    proxy.behind.push(noisy(), "team/away", "v1")
    proxy.token = "t0ken"
    proxy.sent_on = {"/blobs/": METADATA}
    with pytest.raises(ImageProblem, match=r"sends on to 169\.254\.169\.254"):
        await images.maker.pull(f"{host}/team/away:v1", told.append)
    proxy.sent_on = {"/blobs/": f"http://{proxy.behind.host}"}
    assert await images.maker.pull(f"{host}/team/away:v1", told.append)
    assert ("Bearer t0ken") in {given for path, given in proxy.asked if "/blobs/" in path}
    proxy.sent_on = {"/manifests/": ""}
    with pytest.raises(ImageProblem, match="sends on too often"):
        await images.maker.pull(f"{host}/team/away:v1", told.append)


@pytest.mark.parametrize(
    ("own", "address", "allowed"),
    [
        ("registry.example", "93.184.216.34", True),
        ("registry.example", "10.0.0.5", False),
        ("registry.example", "127.0.0.1", False),
        ("registry.example", "[::1]", False),
        ("registry.example", "[64:ff9b::7f00:1]", False),
        ("registry.example", "[fd00::1]", False),
        ("10.0.0.5:5000", "10.1.2.3", True),
        ("10.0.0.5:5000", "10.0.0.5:9000", True),
        ("10.0.0.5:5000", "127.0.0.1", False),
        ("127.0.0.1:5000", "10.0.0.5", True),
        ("127.0.0.1:5000", "169.254.169.254", False),
    ],
)
async def test_how_near_a_registry_may_send_us(own: str, address: str, allowed: bool) -> None:
    reach = Reach(own)
    with contextlib.nullcontext() if allowed else pytest.raises(ImageProblem, match="is nearer"):
        reach.check(f"http://{address}/x")


async def test_a_name_is_judged_by_what_it_leads_to() -> None:
    with pytest.raises(ImageProblem, match="sends on to localhost"):
        await Reach("registry.example").resolve("localhost", 80, socket.AF_UNSPEC)
    near = Reach("localhost:5000")
    assert await near.resolve("localhost", 5000, socket.AF_UNSPEC)
    near.check("http://127.0.0.1/token")


async def test_a_full_disk_leaves_nothing(
    server: RegistryServer, tmp_path: Path, told: list[str]
) -> None:
    from serai.runtime import host as machine
    from serai.runtime.roots.policy import Policy

    small = tmp_path / "small"
    small.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
    if subprocess.run(["mount", *options], check=False).returncode:
        pytest.skip("needs root, to mount a small file system")
    try:
        owner = machine.choose_user_range(small / "uid-base")
        images = Images(small, owner, Policy(registries=("*",)), {})
        images.store.prepare()
        for size in (1_500_000, 4_000_000):
            big = ImageFiles(tar(entry("zeros", b"\0" * 4_000_000), entry("s", b"\1" * size)))
            reference = server.push(big, "team/big", f"v{size}")
            with pytest.raises(ImageProblem, match="disk is full"):
                await images.maker.pull(reference, told.append)
            nothing_is_left(images)
        noise = server.push(noisy(), "team/big", "noise")
        with pytest.raises(ImageProblem, match="disk is full"):
            await images.maker.pull(noise, told.append)
        nothing_is_left(images)
        assert list(images.store.parts.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


async def test_many_who_ask_get_one_pull(
    fault: tuple[Fault, str], images: Images, told: list[str]
) -> None:
    proxy, host = fault
    proxy.behind.push(noisy(), "team/many", "v1")
    proxy.delay = 0.2
    reference = f"{host}/team/many:v1"
    await asyncio.gather(*(images.ready(reference, 20) for _ in range(10)))
    blobs = [path for path, _ in proxy.asked if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 2
    found = images.store.find(reference)
    assert isinstance(found, Image)


async def test_what_skopeo_copies_is_the_same_image(
    server: RegistryServer, images: Images, told: list[str], tmp_path: Path
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("needs skopeo: apt-get install skopeo")
    files = two_layers()
    reference = server.push(files, "team/skopeo", "v1")
    target = tmp_path / "copy.tar"
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
    subprocess.run([*copy, f"docker://{reference}", f"oci-archive:{target}:app:v1"], check=True)
    pulled = await images.maker.pull(reference, told.append)
    imported = await images.maker.take_in(target, "team/copy:v1", "", told.append)
    assert imported.layers == pulled.layers
    assert imported.config == pulled.config
