"""Builds the images of recipes: Debian's packages by mmdebstrap, everything else by steps.

Nothing of a build runs as the host's root: where we are root it gets users of its own, like a
sandbox, and elsewhere it is us (steps) or our subordinate users (mmdebstrap).
"""

import asyncio
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

from serai.kernel.background import surely
from serai.kernel.clock import now, rfc3339
from serai.runtime import processes
from serai.runtime.roots import oci
from serai.runtime.roots.basis import basis
from serai.runtime.roots.jail import APT_SETTINGS, CERTIFICATES, PROVIDED, Job
from serai.runtime.roots.oci import Tell
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.recipes import Recipe, Recipes
from serai.runtime.roots.records import Image, Layer
from serai.runtime.roots.store import Store, digest_of
from serai.runtime.roots.unpack import Unpacker

_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "npm_config_registry",
    "pip_index_url",
    "goproxy",
    "gosumdb",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_SECONDS = 3600
_KEPT_LINES = 30
_EPOCH = "1700000000"


class Builder:
    """Builds into ``store``; ``mirror`` is a Debian mirror, the usual one when empty."""

    def __init__(self, store: Store, recipes: Recipes, mirror: str = "") -> None:
        self._store = store
        self._recipes = recipes
        self._mirror = mirror

    async def build(self, recipe: Recipe, tell: Tell, *, anew: bool = False) -> Image:
        """Build one image; layers that were built before are used again unless ``anew``.

        Raises:
            ImageProblem: naming the step, with the end of what it printed.
        """
        layers: list[str] = []
        chain = self._recipes.chain(recipe)
        with self._store.making():
            lowest = await asyncio.to_thread(basis, self._store)
            for number, each in enumerate(chain, 1):
                part = f"part {number} of {len(chain)}, {each.name}"
                layer = None if anew else self._known(each)
                if layer is None:
                    layer = await self._layer(each, [lowest, *layers], _prefixed(tell, part))
                    self._know(each, layer)
                layers.append(layer)
            image = Image(
                digest="",
                layers=tuple(layers),
                config=self._recipes.config(recipe),
                source=f"recipe {recipe.name}",
                made_at=rfc3339(now()),
                recipe=self._recipes.version(recipe),
            )
            digest = digest_of((image.layers, image.config))
            return msgspec.structs.replace(image, digest=digest)

    def _known(self, recipe: Recipe) -> str | None:
        path = self._store.building / self._recipes.version(recipe)
        layer = path.read_text() if path.exists() else ""
        return layer if layer and self._store.has_layer(layer) else None

    def _know(self, recipe: Recipe, layer: str) -> None:
        path = self._store.building / self._recipes.version(recipe)
        draft = path.with_suffix(".new")
        draft.write_text(layer)
        draft.replace(path)

    async def _layer(self, recipe: Recipe, below: list[str], tell: Tell) -> str:
        if not recipe.parent:
            return await self._debian(recipe, tell)
        with self._store.draft() as folder:
            upper = _prepare(folder, len(below), self._store.owner)
            files = self._recipes.files(recipe)
            if files is not None:
                await asyncio.to_thread(_copy, files, upper, self._store.owner)
            layers = tuple(self._store.path(each) for each in reversed(below))
            steps = recipe.commands()
            for number, (step, network) in enumerate(steps, 1):
                said = _prefixed(tell, f"step {number} of {len(steps)}")
                job = Job(
                    command=("/bin/sh", "-euc", step),
                    environment=_step_environment(self._recipes.config(recipe).environment),
                    uid_base=self._store.owner,
                    directory=str(folder),
                    layers=layers,
                    network=network,
                    resolv=_read("/etc/resolv.conf"),
                    certificates=next(filter(None, map(_read, _CERTIFICATES)), ""),
                )
                await self._run(job, said, f"{recipe.name}, step {number}")
            return await surely(asyncio.to_thread(self._take, upper))

    def _take(self, upper: Path) -> str:
        for name in PROVIDED:
            if not (upper / name).parent.is_symlink():
                (upper / name).unlink(missing_ok=True)
        layer = measure(upper, self._store.owner)
        self._store.add_layer(layer, upper)
        return layer.id

    async def _run(self, job: Job, tell: Tell, what: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *processes.python_command("from serai.runtime.roots.jail import main;main()"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=processes.PLAIN_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        lines: list[str] = []
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                process.stdin.write(msgspec.json.encode(job))
                process.stdin.write_eof()
                await _follow(process.stdout, lines, tell)
                code = await process.wait()
        except TimeoutError as error:
            raise ImageProblem(
                f"{what} took longer than {_LONGEST_SECONDS // 60} minutes"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            raise ImageProblem(f"{what} ended with {code}:\n" + "\n".join(lines))

    async def _debian(self, recipe: Recipe, tell: Tell) -> str:
        """A Debian system of packages, as mmdebstrap makes it.

        Its temporary directory lies outside of the data directory, where other users than root
        may not look.
        """
        program = _mmdebstrap(as_root=self._store.owner is not None)
        with tempfile.TemporaryDirectory(
            prefix="serai-build-", dir="/var/tmp", ignore_cleanup_errors=True
        ) as place:
            if self._store.owner is not None:
                os.chown(place, self._store.owner, self._store.owner)
            else:
                os.chmod(place, 0o1777)  # noqa: S103  # mmdebstrap's users are not us
            command = [program, f"--variant={recipe.variant}", "--format=tar"]
            command += [f"--mode={'unshare' if self._store.owner is None else 'root'}"]
            command += [f"--include={','.join(recipe.packages)}", recipe.suite, "-"]
            command += [self._mirror] if self._mirror else []
            tell("downloading and installing Debian's packages")
            with tempfile.TemporaryFile() as said:
                return await self._bootstrap(command, place, said)

    async def _bootstrap(self, command: list[str], place: str, said: IO[bytes]) -> str:
        process = self._start(command, place, said)
        task = asyncio.ensure_future(asyncio.to_thread(self._unpack, process, said))
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise ImageProblem(
                f"mmdebstrap took longer than {_LONGEST_SECONDS // 60} min"
            ) from error
        finally:
            if not task.done():
                process.kill()
                await asyncio.wait({task})

    def _start(self, command: list[str], place: str, said: IO[bytes]) -> "subprocess.Popen[bytes]":
        """mmdebstrap with users of its own, or as it does that by itself where we are not root."""
        environment, given = _outside_environment(place), b""
        owner = self._store.owner
        if owner is not None:
            job = Job(command=tuple(command), environment=environment, uid_base=owner)
            command = processes.python_command("from serai.runtime.roots.jail import main;main()")
            environment, given = processes.PLAIN_ENVIRONMENT, msgspec.json.encode(job)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.close()
        return process

    def _unpack(self, process: "subprocess.Popen[bytes]", said: IO[bytes]) -> str:
        """Make a layer of the tar file that mmdebstrap prints."""
        assert process.stdout is not None
        with self._store.draft() as folder, process.stdout as printed:
            tree = folder / "fs"
            tree.mkdir(mode=0o755)
            unpacker, hashing = Unpacker(tree, self._store.owner), oci.Hashing(printed)
            problem = None
            try:
                unpacker.run(hashing)
                digest = hashing.digest()
            except ImageProblem as found:
                problem = found
                printed.close()
            code = process.wait()
            if code != 0:
                raise ImageProblem(f"mmdebstrap ended with {code}:\n{_tail(said)}") from problem
            if problem is not None:
                raise problem
            layer = Layer(id=digest, size=unpacker.size, entries=unpacker.entries)
            self._store.add_layer(layer, tree)
            return layer.id


def _prefixed(tell: Tell, prefix: str) -> Tell:
    return lambda text: tell(f"{prefix}: {text}")


def _mmdebstrap(*, as_root: bool) -> str:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageProblem(
            "building an image needs the program mmdebstrap; install it (on Debian and Ubuntu: "
            "apt-get install mmdebstrap debian-archive-keyring" + (")" if as_root else " uidmap)")
        )
    if not as_root and shutil.which("newuidmap") is None:
        raise ImageProblem(
            "building an image without root needs newuidmap and a range for this user in "
            "/etc/subuid and /etc/subgid (on Debian and Ubuntu: apt-get install uidmap)"
        )
    return program


def _outside_environment(place: str) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.lower() in _PASSED_ON}
    return {
        **passed,
        "PATH": _PATH,
        "HOME": "/nonexistent",
        "TMPDIR": place,
        "LANG": "C.UTF-8",
        "SOURCE_DATE_EPOCH": _EPOCH,
        "DEBIAN_FRONTEND": "noninteractive",
    }


def _step_environment(own: Mapping[str, str]) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.lower() in _PASSED_ON}
    names = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
    trusted = dict.fromkeys((*names, "npm_config_cafile", "CURL_CA_BUNDLE"), CERTIFICATES)
    return {
        **passed,
        "PATH": _PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "APT_CONFIG": APT_SETTINGS,
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "npm_config_update_notifier": "false",
        "npm_config_fund": "false",
        "npm_config_audit": "false",
        "npm_config_cache": "/tmp/npm-cache",  # noqa: S108
        "CI": "true",
        **own,
        **trusted,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _prepare(folder: Path, layers: int, owner: int | None) -> Path:
    """The directories of an overlay; answers where its changes go."""
    from serai.runtime import rootfs

    upper = folder / "layers" / rootfs.ROOT / "upper"
    for each in (upper, upper.with_name("work"), folder / "lower", folder / rootfs.ROOT):
        each.mkdir(parents=True)
    for number in range(layers):
        (folder / rootfs.image_mount(number)).mkdir()
    upper.chmod(0o755)
    rootfs.Owner(owner).give(str(upper))
    return upper


def _copy(files: Path, upper: Path, owner: int | None) -> None:
    for source in sorted(files.rglob("*")):
        target = upper / source.relative_to(files)
        if source.is_dir():
            target.mkdir(exist_ok=True)
            target.chmod(0o755)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
        if owner is not None:
            os.chown(target, owner, owner)


async def _follow(stream: asyncio.StreamReader, lines: list[str], tell: Tell) -> None:
    """Pass on what a step prints; keep the end of it."""
    rest = b""
    while data := await stream.read(65536):
        *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            if text := line.decode(errors="replace").strip():
                lines.append(text[:500])
                del lines[:-_KEPT_LINES]
                tell(text[:200])
        rest = rest[-4096:]


def _tail(said: IO[bytes]) -> str:
    said.seek(0)
    text = said.read().decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-_KEPT_LINES:])


def measure(tree: Path, owner: int | None) -> Layer:
    """The id and size of a layer made of files: a digest over everything in it, by users inside.

    A file with several names counts once.
    """
    first = owner or 0
    whole, size, entries = hashlib.sha256(), 0, 0
    counted: set[int] = set()
    for folder, directories, files in os.walk(tree):
        directories.sort()
        for name in sorted((*directories, *files)):
            path = Path(folder, name)
            found = path.lstat()
            entries += 1
            target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
            line = (
                str(path.relative_to(tree)),
                found.st_mode,
                found.st_uid - first,
                found.st_gid - first,
                target,
            )
            whole.update(repr(line).encode(errors="surrogateescape"))
            if stat.S_ISREG(found.st_mode):
                size += found.st_size if found.st_ino not in counted else 0
                counted |= {found.st_ino} if found.st_nlink > 1 else set()
                whole.update(bytes.fromhex(oci.file_digest(path)))
    return Layer(id=whole.hexdigest(), size=size, entries=entries)
