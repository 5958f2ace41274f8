"""The driver of container engines: one class, Docker and Podman."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from serai.runtime.engine import container
from serai.runtime.engine.client import Engine, EngineProblem, socket_of
from serai.runtime.engine.images import EngineImages, EngineLibrary
from serai.runtime.engine.words import describe, install
from serai.runtime.guest import threshold, tree
from serai.runtime.links import TunnelLink
from serai.runtime.messages import Birth
from serai.runtime.plans import check_id, check_plan, limits_of, refuse_memory
from serai.runtime.pool import Pool
from serai.runtime.port import (
    Files,
    Library,
    Mount,
    NotInstalled,
    RuntimeProblem,
    SandboxHandle,
    SandboxPlan,
)
from serai.runtime.roots.policy import Policy
from serai.runtime.storage import Storage
from serai.runtime.unavailable import NoFiles

_GONE = 404
_READY_SECONDS, _EVERY_SECONDS = 30.0, 0.01
_BY_ENGINE = ("memory", "cpu", "pids")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a container; a handle's ``state``, and ``run.json`` beside the sandbox.

    ``started`` is the engine's time of its start, which tells runs of one container apart.
    """

    container: str
    started: str
    digest: str


class EngineRuntime:
    """Runs sandboxes as containers.

    A sandbox keeps one container for all its runs, whose files are its files. What changes
    between runs (its environment) is in the run directory, which is new for each.

    Args:
        engine: ``docker`` or ``podman``; also the driver's name.
        data_dir: for sockets and the interpreter tree, on a file system that the engine sees.
        entry, max_processes: see EmbeddedRuntime.
        pool, egress, policy: not used: files, network and images are the engine's.
        socket: the engine's Unix socket; found as its own clients find it when not given.
    """

    def __init__(
        self,
        engine: str,
        data_dir: Path,
        *,
        entry: str = "serai.sandboxd.main",
        max_processes: int = 4096,
        pool: Pool | None = None,
        egress: Path | None = None,
        policy: Policy | None = None,
        socket: str | None = None,
    ) -> None:
        self.name = engine
        self.isolation = "not started"
        self.level = "none"
        self._storage = Storage(data_dir)
        self.files: Files = EngineFiles(engine, self.destroy)
        self.library: Library = EngineLibrary(engine, lambda: self._images)
        self._entry = entry
        self._max_processes = max_processes
        self._socket = socket
        self._engine: Engine | None = None
        self._tree = ""
        self._profile = ""
        self._images: EngineImages | None = None
        self._remapped = False
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> None:
        """Reach the engine and have the interpreter tree ready.

        Raises:
            RuntimeProblem: it cannot be reached; names how to get it.
        """
        try:
            self._engine = Engine(self.name, self._socket or socket_of(self.name, os.environ))
            version = await self._engine.get("/version")
            info = await self._engine.get("/info")
            self._images = EngineImages(self._engine)
            await self._images.refresh()
        except EngineProblem as problem:
            await self.close()
            raise NotInstalled(str(problem), install(self.name)) from problem
        try:
            await asyncio.to_thread(self._prepare)
        except OSError as error:
            await self.close()
            raise RuntimeProblem(f"{self._storage.root}: {error}") from error
        options = " ".join(info.get("SecurityOptions") or ())
        self._remapped = "name=userns" in options
        self.level = "container"
        self.isolation = describe(self.name, version, options)

    def _prepare(self) -> None:
        self._storage.prepare()
        folder = self._storage.root / "guest"
        folder.mkdir(exist_ok=True, mode=0o755)
        self._tree = str(tree.build(folder, self._entry))
        self._profile = container.filter_text()
        if self.name == "podman":
            file = folder / "seccomp.json"
            file.write_text(self._profile)
            self._profile = str(file)

    async def close(self) -> None:
        """Let go of the engine; containers keep running."""
        if self._engine is not None:
            await self._engine.close()

    def images(self) -> list[str]:
        """Images that the engine has; others are pulled when asked for."""
        return self._images.references() if self._images is not None else []

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        """See Runtime.create."""
        check_plan(plan)
        refuse_memory(plan, self.name)
        if plan.mounts:
            raise RuntimeProblem(f"the runtime {self.name} has no volumes and drives")
        async with self._turn(plan.id):
            digest = hashlib.sha256(msgspec.json.encode(plan, order="sorted")).hexdigest()[:32]
            found = await self._find(plan.id)
            if found is not None and found["State"]["Running"]:
                run = self._read_run(plan.id)
                if run is not None and run.digest == digest and _is_same(found, run):
                    handle = self._handle(plan.id, run)
                    await self.resume(handle)
                    return handle
            try:
                run = await self._run(plan, digest, found)
            except BaseException:
                await asyncio.shield(self._undo(plan.id, is_new=found is None))
                raise
            return self._handle(plan.id, run)

    async def successor(self, handle: SandboxHandle) -> str:
        """See Runtime.successor."""
        return Path(self._tree).name

    async def _run(self, plan: SandboxPlan, digest: str, found: dict[str, Any] | None) -> Run:
        engine = self._there()
        image = ""
        if found is not None:
            await self._halt(found)
        elif self._images is not None:
            image = await self._images.require(plan.image)
        birth = self._birth(plan, digest)
        await asyncio.to_thread(self._storage.directory(plan.id).mkdir, parents=True, exist_ok=True)
        folder = await asyncio.to_thread(self._prepare_run, birth)
        identity = found["Id"] if found is not None else await self._make(image, birth, folder)
        await engine.post(f"/containers/{identity}/start")
        await self._wait(folder, birth, identity)
        state = (await engine.get(f"/containers/{identity}/json"))["State"]
        run = Run(container=identity, started=state["StartedAt"], digest=digest)
        await asyncio.to_thread(self._run_file(plan.id).write_bytes, msgspec.json.encode(run))
        return run

    def _prepare_run(self, birth: Birth) -> Path:
        self._storage.remove_sockets(birth.id)
        folder = threshold.prepare(
            birth, entry=self._entry, owner=None, inherited=False, by_cgroup=_BY_ENGINE
        )
        if self._remapped:  # root inside is a user whom we do not know
            folder.chmod(0o777)
            (folder / threshold.CONFIG).chmod(0o644)
        return folder

    async def _make(self, image: str, birth: Birth, folder: Path) -> str:
        body = container.body(
            image=image,
            hostname=birth.hostname,
            limits=birth.limits,
            tree=self._tree,
            run=str(folder),
            profile=self._profile,
            by_option=self.name == "podman",
            labels={container.DATA_LABEL: self._storage.key, container.ID_LABEL: birth.id},
        )
        made = await self._there().post("/containers/create", body, name=self._name(birth.id))
        return str(made["Id"])

    async def _wait(self, folder: Path, birth: Birth, identity: str) -> None:
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while not await asyncio.to_thread(threshold.are_made, folder, birth):
            state = (await self._there().get(f"/containers/{identity}/json"))["State"]
            if not state["Running"]:
                raise RuntimeProblem(
                    f"{self.name}: the sandbox's first process ended with {state['ExitCode']}"
                    f"{': ' + state['Error'] if state.get('Error') else ''}"
                )
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeProblem(f"the sandbox did not answer in {_READY_SECONDS:.0f} s")
            await asyncio.sleep(_EVERY_SECONDS)

    async def alive(self, handle: SandboxHandle) -> bool:
        """Whether this very run of the container still goes on."""
        run = self._run_of(handle)
        found = await self._inspect(run.container)
        return found is not None and bool(found["State"]["Running"]) and _is_same(found, run)

    async def suspend(self, handle: SandboxHandle) -> None:
        """See Runtime.suspend: the engine pauses the container."""
        if not await self.alive(handle):
            raise RuntimeProblem(f"sandbox {handle.id} has ended")
        if not await self.suspended(handle):
            await self._there().post(f"/containers/{self._run_of(handle).container}/pause")

    async def resume(self, handle: SandboxHandle) -> None:
        """See Runtime.resume."""
        if await self.suspended(handle):
            await self._there().post(f"/containers/{self._run_of(handle).container}/unpause")

    async def suspended(self, handle: SandboxHandle) -> bool:
        """See Runtime.suspended."""
        found = await self._inspect(self._run_of(handle).container)
        return found is not None and bool(found["State"].get("Paused"))

    async def attach(self, handle: SandboxHandle) -> None:
        """Nothing: containers of ours have no network."""

    async def mount(self, handle: SandboxHandle, mount: Mount) -> None:
        """Refused: an engine mounts nothing in a container that runs."""
        raise RuntimeProblem(f"drives cannot be mounted in sandboxes of the runtime {self.name}")

    async def unmount(self, handle: SandboxHandle, path: str) -> None:
        """Nothing is ever mounted."""

    async def tunnel(self, handle: SandboxHandle, link: TunnelLink | None, *, anew: bool) -> None:
        """Refused: containers of ours have no network."""
        raise RuntimeProblem(f"sandboxes of the runtime {self.name} have no network for a tunnel")

    async def stop(self, handle: SandboxHandle) -> None:
        """Kill the container's first process, and with it every other; its files stay."""
        check_id(handle.id)
        run = self._run_of(handle)
        async with self._turn(handle.id):
            found = await self._inspect(run.container)
            if found is not None and found["State"]["Running"] and not _is_same(found, run):
                return
            if found is not None:
                await self._halt(found)
            await asyncio.to_thread(self._storage.remove_sockets, handle.id)

    async def _halt(self, found: dict[str, Any]) -> None:
        identity, state = found["Id"], found["State"]
        if state.get("Paused"):
            await self._there().post(f"/containers/{identity}/unpause")
        if state["Running"]:
            await self._there().post(f"/containers/{identity}/stop", t="0")

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """See Runtime.destroy."""
        check_id(sandbox_id)
        if handle is not None:
            self._run_of(handle)
        async with self._turn(sandbox_id):
            await self._remove(sandbox_id)

    async def _remove(self, sandbox_id: str) -> None:
        found = await self._find(sandbox_id)
        if found is not None:
            await self._halt(found)
            await self._there().delete(f"/containers/{found['Id']}", force="true", v="true")
        await asyncio.to_thread(self._storage.remove_sockets, sandbox_id)
        await asyncio.to_thread(self._storage.remove, sandbox_id)

    async def _undo(self, sandbox_id: str, *, is_new: bool) -> None:
        if is_new:
            await self._remove(sandbox_id)
            return
        found = await self._find(sandbox_id)
        if found is not None:
            await self._halt(found)
        await asyncio.to_thread(self._storage.remove_sockets, sandbox_id)

    async def leftovers(self) -> list[str]:
        """Ids with a container, a directory or a socket here."""
        wanted = f'{{"label":["{container.DATA_LABEL}={self._storage.key}"]}}'
        listed = await self._there().get("/containers/json", all="true", filters=wanted)
        found = {each["Labels"][container.ID_LABEL] for each in listed}
        return sorted(found | self._storage.known() | self._storage.known_sockets())

    # Names and files

    def _there(self) -> Engine:
        if self._engine is None:
            raise RuntimeProblem(f"the runtime {self.name} was not started: call start() first")
        return self._engine

    def _name(self, sandbox_id: str) -> str:
        return f"serai-{self._storage.key}-{sandbox_id}"

    async def _find(self, sandbox_id: str) -> dict[str, Any] | None:
        return await self._inspect(self._name(sandbox_id))

    async def _inspect(self, container_name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._there().get(f"/containers/{container_name}/json")
        except EngineProblem as problem:
            if problem.status == _GONE:
                return None
            raise
        return found

    def _birth(self, plan: SandboxPlan, digest: str) -> Birth:
        api_socket, port_socket = self._storage.sockets(plan.id)
        environment = {**container.ENVIRONMENT, "HOSTNAME": plan.hostname, **plan.environment}
        return Birth(
            request=0,
            digest=digest,
            id=plan.id,
            hostname=plan.hostname,
            directory=str(self._storage.directory(plan.id)),
            api_socket=api_socket,
            port_socket=port_socket,
            limits=limits_of(plan, self._max_processes),
            environment=environment,
            home=environment["HOME"],
            workdir="/blaxel",
            masks={},
        )

    def _run_file(self, sandbox_id: str) -> Path:
        return self._storage.directory(sandbox_id) / "run.json"

    def _read_run(self, sandbox_id: str) -> Run | None:
        try:
            return msgspec.json.decode(self._run_file(sandbox_id).read_bytes(), type=Run)
        except (OSError, msgspec.DecodeError):
            return None

    def _handle(self, sandbox_id: str, run: Run) -> SandboxHandle:
        api_socket, port_socket = self._storage.sockets(sandbox_id)
        return SandboxHandle(
            id=sandbox_id,
            api_socket=api_socket,
            port_socket=port_socket,
            state=msgspec.json.encode(run).decode(),
            driver=self.name,
            level=self.level,
        )

    def _run_of(self, handle: SandboxHandle) -> Run:
        try:
            return msgspec.json.decode(handle.state, type=Run)
        except msgspec.DecodeError as error:
            raise RuntimeProblem(
                f"the handle of sandbox {handle.id} is not of this runtime"
            ) from error

    @contextlib.asynccontextmanager
    async def _turn(self, sandbox_id: str) -> AsyncIterator[None]:
        """One operation at a time on one sandbox."""
        lock = self._turns.get(sandbox_id) or asyncio.Lock()
        self._turns[sandbox_id] = lock
        async with lock:
            yield


def _is_same(found: dict[str, Any], run: Run) -> bool:
    return (found["Id"], found["State"]["StartedAt"]) == (run.container, run.started)


class EngineFiles(NoFiles):
    """Keeps no files beside the containers; these can be ended."""

    def __init__(self, engine: str, destroy: Callable[[str, None], Awaitable[None]]) -> None:
        super().__init__(
            f"the files of sandboxes of the runtime {engine} cannot be saved or copied"
        )
        self._destroy = destroy

    async def discard(self, sandbox_id: str) -> None:
        """See Files.discard."""
        await self._destroy(sandbox_id, None)
