"""Dockerfiles, by a builder of containers that is installed here: Podman, Buildah, or Docker.

Podman and Buildah keep their files in the data directory, apart from those of the machine. Their
steps run in the engine's containers, with the engine's network: see docs/how-to/deploy.md.
"""

import asyncio
import contextlib
import hashlib
import os
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from serai.build.failures import BuildFailed
from serai.build.instructions import SANDBOX_API, check_dockerfile
from serai.build.ports import Job
from serai.build.ready import extract
from serai.build.repack import TOP
from serai.build.sources import Project
from serai.runtime.making import MadeImage
from serai.runtime.trees import delete_tree

PROGRAMS = ("podman", "buildah", "docker")
FILES = ("Dockerfile", "Containerfile")
_STUB = "#!/bin/sh\n# Serai brings the API of sandboxes by itself.\nexec sleep 2147483647\n"
_CACHE_HOURS = 168
_GRACE_SECONDS = 5.0
_RUN_ROOT_MAX = 50


class DockerfileBuilder:
    """See Builder.

    Args:
        root: directory of what Podman and Buildah keep.
        mode: ``engine``; ``offline`` for steps without a network; ``off`` for no such builds.
        registries: hosts that images may come from; ``*`` for all, ``http://`` before those
            without TLS.
        find: looks a program up.
    """

    name = "Dockerfile"

    def __init__(
        self,
        root: Path,
        mode: str,
        registries: Sequence[str],
        find: Callable[[str], str | None] = shutil.which,
    ) -> None:
        self._root = root
        self._mode = mode
        self._registries = registries
        self._find = find

    def handles(self, project: Project) -> bool:
        """Whether there is one at the top."""
        return any(name in project.names for name in FILES)

    async def build(self, job: Job) -> MadeImage:
        """See Builder.build."""
        if self._mode == "off":
            raise BuildFailed(
                "this installation builds no Dockerfiles (the setting dockerfile_builds); Python "
                "and Node.js projects are built without one"
            )
        program = next((name for name in PROGRAMS if self._find(name)), None)
        if program is None:
            raise BuildFailed(
                "this project has a Dockerfile, and nothing here can build it: install Podman "
                "(Debian and Ubuntu: apt-get install podman), Buildah or Docker on the machine "
                "that runs Serai; Python and Node.js projects are built without one"
            )
        text = self._text(job.project)
        check_dockerfile(text, job.project.arguments, self._registries)
        job.say(f"Building the {self._file(job.project)} with {program}")
        folder = job.project.work
        await asyncio.to_thread(extract, job.project.archive, folder / "context")
        layout = folder / "image.tar"
        tag = f"localhost/serai/{job.id}:build"
        engine = _ENGINES[program](self._root, self._configuration(job, folder))
        try:
            options = self._options(job, text, folder, engine)
            await self._run(engine.build(options, tag), engine, job)
            await self._run(engine.save(tag, layout), engine, job)
        finally:
            await asyncio.shield(self._tidy(engine, tag, job))
        return await job.making.take_in(
            job.reference, layout, job.say, as_command=not job.starts_itself
        )

    def close(self) -> None:
        """Leave nothing outside of the data directory."""
        outside = run_root(self._root)
        if not outside.is_relative_to(self._root) and outside.is_dir():
            delete_tree(outside)
            with contextlib.suppress(OSError):
                outside.rmdir()

    def _file(self, project: Project) -> str:
        return next(name for name in FILES if name in project.names)

    def _text(self, project: Project) -> str:
        return (project.read(self._file(project)) or b"").decode(errors="replace")

    def _options(self, job: Job, text: str, folder: Path, engine: "_Engine") -> list[str]:
        context = folder / "context" / TOP
        words = ["--file", str(context / self._file(job.project))]
        for name, value in job.project.arguments.items():
            words += ["--build-arg", f"{name}={value}"]  # never in the engine's own environment
        for image in sorted(set(SANDBOX_API.findall(text))):
            stub = folder / "sandbox-api"
            stub.mkdir(exist_ok=True)
            (stub / "sandbox-api").write_text(_STUB)
            (stub / "sandbox-api").chmod(0o755)
            words += ["--build-context", f"{image}={stub}"]
        if self._mode == "offline":
            words += ["--network", "none"]
        words += engine.limits(job.limits.memory_mb)
        return [*words, str(context)]

    def _configuration(self, job: Job, folder: Path) -> dict[str, str]:
        """Variables that keep an engine within our directories."""
        registries = folder / "registries.conf"
        plain = [each.removeprefix("http://") for each in self._registries if "://" in each]
        entries = [f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in plain]
        head = 'unqualified-search-registries = ["docker.io"]\n'
        registries.write_text(head + "".join(entries))
        containers = folder / "containers.conf"
        engine = '[engine]\nevents_logger = "none"\ncgroup_manager = "cgroupfs"\n'
        containers.write_text(engine + self._container_runtime())
        values = {
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "HOME": str(folder),
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
            "TMPDIR": str(folder),
        }
        if job.project.logins:
            logins = folder / "config.json"
            logins.write_text(_only_logins(job.project.logins))
            logins.chmod(0o600)
            values |= {"REGISTRY_AUTH_FILE": str(logins), "DOCKER_CONFIG": str(folder)}
        return values

    def _container_runtime(self) -> str:
        """crun refuses control groups of both versions at once, which runc can work with."""
        is_unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        return 'runtime = "runc"\n' if not is_unified and self._find("runc") else ""

    async def _run(self, command: list[str], engine: "_Engine", job: Job) -> None:
        lines: list[str] = []
        code = -1
        async for line in _output(command, engine.environment):
            if isinstance(line, int):
                code = line
            else:
                lines = [*lines[-5:], line]
                job.say(line)
        if code != 0:
            raise BuildFailed(
                f"{engine.program} ended with {code}: {' / '.join(lines[-3:])[-800:]}"
            )

    async def _tidy(self, engine: "_Engine", tag: str, job: Job) -> None:
        """Leave nothing but layers for the next build, and no old ones of these."""
        for command in engine.tidy(tag):
            with contextlib.suppress(OSError):
                async for _ in _output(command, engine.environment):
                    pass


class _Engine:
    """The words of Podman; Buildah's and Docker's differ."""

    program = "podman"

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self._root = root

    @property
    def _words(self) -> list[str]:
        folder = self._root / "engine"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = run_root(self._root)
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = ["--root", str(folder / "storage"), "--runroot", str(run)]
        return [
            self.program,
            *words,
            *(["--tmpdir", str(folder / "tmp")] if self._is_podman else []),
        ]

    @property
    def _is_podman(self) -> bool:
        return self.program == "podman"

    def build(self, options: list[str], tag: str) -> list[str]:
        """The command that builds."""
        cached = ["--layers", "--format", "oci", "--tag", tag]
        return [*self._words, "build", *cached, *options]

    def limits(self, memory_mb: int) -> list[str]:
        """Options for what a build may use."""
        return ["--memory", f"{memory_mb}m", *_files_limit()]

    def save(self, tag: str, target: Path) -> list[str]:
        """The command that writes the image as an OCI layout in a tar file."""
        return [*self._words, "save", "--format", "oci-archive", "--output", str(target), tag]

    def tidy(self, tag: str) -> list[list[str]]:
        """Commands that remove what is not needed any more."""
        until = f"until={_CACHE_HOURS}h"
        return [
            [*self._words, "untag", tag],
            [*self._words, "image", "prune", "--all", "--force", "--filter", until],
        ]


class _Buildah(_Engine):
    program = "buildah"

    def save(self, tag: str, target: Path) -> list[str]:
        return [*self._words, "push", tag, f"oci-archive:{target}"]

    def tidy(self, tag: str) -> list[list[str]]:
        return [[*self._words, "rmi", tag], [*self._words, "prune", "--force"]]


class _Docker(_Engine):
    """Docker's storage is the daemon's own; BuildKit writes the layout at once."""

    program = "docker"

    def build(self, options: list[str], tag: str) -> list[str]:
        target = Path(self.environment["TMPDIR"]) / "image.tar"
        return ["docker", "buildx", "build", "--progress", "plain", "--provenance=false",
                "--output", f"type=oci,dest={target}", *options]  # fmt: skip

    def limits(self, memory_mb: int) -> list[str]:
        return []

    def save(self, tag: str, target: Path) -> list[str]:
        return ["true"]

    def tidy(self, tag: str) -> list[list[str]]:
        return []


_ENGINES: Mapping[str, type[_Engine]] = {"podman": _Engine, "buildah": _Buildah, "docker": _Docker}


def run_root(root: Path) -> Path:
    """Where an engine keeps what only a run needs: Podman takes no longer paths than this."""
    inside = root / "engine" / "run"
    if len(str(inside)) <= _RUN_ROOT_MAX:
        return inside
    key = hashlib.sha256(str(root).encode()).hexdigest()[:10]
    above = Path("/run") if os.access("/run", os.W_OK) else Path("/tmp")  # noqa: S108
    return above / f"serai-engine-{key}"


def _only_logins(text: str) -> str:
    """Names and passwords of Docker's configuration, without the programs that it may name."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise BuildFailed(".docker/config.json cannot be read") from None
    return msgspec.json.encode({"auths": found.get("auths") or {}}).decode()


def _files_limit() -> list[str]:
    """Engines ask for more open files than some machines allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(most, 65536) if most != resource.RLIM_INFINITY else 65536
    return ["--ulimit", f"nofile={wanted}:{wanted}"]


async def _output(command: list[str], environment: dict[str, str]) -> AsyncIterator[str | int]:
    """The lines of a program, and at last its exit code; it ends with us."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        start_new_session=True,
        limit=1 << 20,
    )
    assert process.stdout is not None
    try:
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip().rpartition("\r")[2]
            if line:
                yield line[:4000]
        yield await process.wait()
    finally:
        if process.returncode is None:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program and all it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
            return
