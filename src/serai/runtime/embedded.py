"""The embedded runtime: sandboxes as namespaces of this machine, without any daemon."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec

from serai.runtime import cgroups, freezer, host, image, instances, network, processes
from serai.runtime.channel import Channel, LauncherGone
from serai.runtime.disks import Disks
from serai.runtime.guest.tree import Successors
from serai.runtime.links import TunnelLink
from serai.runtime.masks import Masks
from serai.runtime.messages import Birth, Errand, Setup, Trace
from serai.runtime.plans import check_id, check_plan, limits_of, refuse_memory
from serai.runtime.pool import Pool
from serai.runtime.port import Files, Mount, RuntimeProblem, SandboxHandle, SandboxPlan
from serai.runtime.roots.library import Library
from serai.runtime.roots.policy import Choice, Policy
from serai.runtime.saving import SavedFiles
from serai.runtime.sleepers import Sleepers
from serai.runtime.storage import Storage
from serai.runtime.traces import is_running, locked_if_there, read_trace, trace_of
from serai.runtime.tunnels import details_of as tunnel_details

_TRIAL = "trial"
_KILL_SECONDS = 10.0
_ATTEMPTS = 3


class EmbeddedRuntime:
    """Starts sandboxes by forking a warm launcher process into namespaces.

    Args:
        data_dir: where sandboxes keep their files; on a file system that can hold overlays.
        entry: dotted module of the sandbox API, with ``preload()`` and
            ``serve(api, port, config)``; imported by the launcher only.
        max_processes: processes and threads one sandbox may have.
        pool: where their files have a limit, and volumes are possible.
        egress: Unix socket of the egress process; without one sandboxes have no network.
        policy: which images there are.
    """

    name: str = "embedded"

    def __init__(
        self,
        data_dir: Path,
        *,
        entry: str = "serai.sandboxd.main",
        max_processes: int = 4096,
        pool: Pool | None = None,
        egress: Path | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.isolation = "not started"
        self.level = "none"
        self._storage = Storage(data_dir, pool)
        self.disks = Disks(self._storage)
        self.sleepers = Sleepers(self._turn)
        self.library = Library(self._storage, policy or Policy())
        self._entry = entry
        self._successors = Successors(self._storage.root / "guest", entry)
        self._max_processes = max_processes
        self._egress = str(egress or "")
        self._setup: Setup | None = None
        self._masks: Masks | None = None
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.files: Files = SavedFiles(
            self._storage, self._send, self._turn, self._stop, self.library
        )

    @property
    def launcher_pid(self) -> int | None:
        """Process id of the launcher, while it runs."""
        return self._channel.pid if self._channel and self._channel.is_open else None

    async def start(self) -> None:
        """Prepare layers, start the launcher and prove with a trial sandbox that all works.

        Raises:
            RuntimeProblem: naming the cause and the setting that would help.
        """
        host.require_platform()
        try:
            setup, masks = await asyncio.to_thread(self._survey)
            self._setup, self._masks = setup, masks
            if not (known := masks.is_complete):
                masks.refresh()
            channel = await self._launcher()
            reach = await self._try_out(masks.current)
        except RuntimeProblem as problem:
            await self.close()
            raise self._explain(problem) from problem
        if known:
            masks.refresh()
        self.level = "namespaces-rootless" if setup.uid_base is None else "namespaces"
        isolation = host.describe(setup.uid_base, channel.facts, setup.hierarchies)
        self.isolation = f"{isolation}; {self.disks.describe()}; {network.describe(reach)}"
        self.disks.start(maps_owners="idmap" in channel.facts)

    async def close(self) -> None:
        """End the launcher; sandboxes keep running."""
        self.sleepers.close()
        await self.files.close()
        await self.disks.close()
        if self._masks is not None:
            await self._masks.close()
        await self.library.close()
        async with self._opening:
            channel, self._channel = self._channel, None
            if channel is not None:
                await channel.close()
        if self._setup is not None:
            await asyncio.to_thread(instances.forget, self._storage.key, self._setup.hierarchies)
            self._storage.leave()

    def images(self) -> list[str]:
        """The image references this host can provide, some after building them first."""
        return self.library.references()

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        """See Runtime.create. A sandbox of the same plan that already runs is handed out again.

        On the host's own files this may, after the very first start, wait for those that it must
        hide to be found.

        Raises:
            UnknownImage: naming the images there are.
            RuntimeProblem: anything else; nothing of the attempt is left.
        """
        check_plan(plan)
        self._check_memory(plan)
        return await self._create(plan)

    def _check_memory(self, plan: SandboxPlan) -> None:
        refuse_memory(plan, self.name)

    async def _create(
        self, plan: SandboxPlan, trial: Mapping[str, str] | None = None
    ) -> SandboxHandle:
        async with self._turn(plan.id):
            is_new = not self._storage.has(plan.id)
            try:
                await self.disks.provide(plan)
                choice = Choice() if trial is not None else await self.library.choose(plan)
                masks = await self._masks_for(choice) if trial is None else trial
                trace = await self._bear(self._birth(plan, masks, choice))
            except BaseException:
                await asyncio.shield(asyncio.to_thread(self._clean_up, plan.id, is_new))
                raise
        return SandboxHandle(
            id=plan.id,
            api_socket=trace.api_socket,
            port_socket=trace.port_socket,
            state=msgspec.json.encode(trace).decode(),
            driver=self.name,
            level=self.level,
        )

    async def _masks_for(self, choice: Choice) -> Mapping[str, str]:
        if self._masks is None:
            raise host.not_started()
        return {} if choice.layers else await self._masks.complete()

    async def alive(self, handle: SandboxHandle) -> bool:
        """Whether the first process of this very run still lives."""
        return is_running(trace_of(handle))

    async def suspend(self, handle: SandboxHandle) -> None:
        """See Runtime.suspend."""
        await self.sleepers.suspend(handle.id, trace_of(handle))

    async def resume(self, handle: SandboxHandle) -> None:
        """See Runtime.resume."""
        await self.sleepers.resume(handle.id, trace_of(handle))

    async def suspended(self, handle: SandboxHandle) -> bool:
        """See Runtime.suspended."""
        return freezer.is_frozen(trace_of(handle))

    async def attach(self, handle: SandboxHandle) -> None:
        """Connect the network of a running sandbox with a new egress process."""
        if self._egress:
            await self._send("network", trace_of(handle), {"id": handle.id, "egress": self._egress})

    async def stop(self, handle: SandboxHandle) -> None:
        """Kill the sandbox's first process, and with it every other; its files stay."""
        check_id(handle.id)
        trace = trace_of(handle)
        async with self._turn(handle.id):
            await asyncio.to_thread(self._stop, handle.id, trace)

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """End the sandbox in every run we know of and remove all there is of it."""
        check_id(sandbox_id)
        trace = trace_of(handle) if handle is not None else None
        async with self._turn(sandbox_id):
            await asyncio.to_thread(self._destroy, sandbox_id, trace)

    async def mount(self, handle: SandboxHandle, mount: Mount) -> None:
        """See Runtime.mount."""
        async with self._turn(handle.id):
            await self.disks.mount(mount, trace_of(handle), self._send)

    async def unmount(self, handle: SandboxHandle, path: str) -> None:
        """See Runtime.unmount."""
        async with self._turn(handle.id):
            await self._send("unmount", trace_of(handle), {"path": path})

    async def tunnel(self, handle: SandboxHandle, link: TunnelLink | None, *, anew: bool) -> None:
        """See Runtime.tunnel."""
        details = tunnel_details(handle, link, self._egress, anew=anew)
        async with self._turn(handle.id):
            await self._send("tunnel", trace_of(handle), details)

    async def successor(self, handle: SandboxHandle) -> str:
        """See Runtime.successor."""
        return await self._successors.ready()

    async def leftovers(self) -> list[str]:
        """Ids with a directory, a socket or a control group here."""
        return await asyncio.to_thread(self._leftovers)

    # The host's side

    def _explain(self, problem: RuntimeProblem) -> RuntimeProblem:
        return host.explain(problem)

    def _survey(self) -> tuple[Setup, Masks]:
        storage = self._storage
        try:
            storage.prepare()
            uid_base = host.choose_user_range(storage.root / "uid-base")
            layers = image.Layers(storage.layers, uid_base, user_xattr=uid_base is None)
            skeleton = layers.skeleton()
            masks = Masks(layers, storage.root / "private.json", as_root=uid_base is not None)
            masks.load()
            self.library.open(uid_base)
            traces = [read_trace(storage.directory(name)) for name in storage.known()]
            used = {layer for trace in traces if trace for layer in (trace.skeleton, *trace.masks)}
            layers.prune({skeleton, *masks.current.values(), *used})
            hierarchies = tuple(cgroups.discover(f"serai-{storage.key}"))
            instances.note(storage.root, storage.key, hierarchies)
        except OSError as error:
            raise RuntimeProblem(f"{storage.root}: {error}") from error
        setup = Setup(
            entry=self._entry,
            hierarchies=hierarchies,
            uid_base=uid_base,
            skeleton=skeleton,
            system=image.system_directories(),
            python_prefix=image.python_prefix(),
            successors=self._successors.prepare(),
        )
        return setup, masks

    async def _launcher(self) -> Channel:
        """The running launcher; a new one if it died."""
        async with self._opening:
            if self._setup is None:
                raise host.not_started()
            if self._channel is None or not self._channel.is_open:
                if self._channel is not None:
                    await self._channel.close()
                self._channel = None
                self._channel = await Channel.open(self._setup, self._storage.root / "launcher.log")
            return self._channel

    async def _try_out(self, masks: Mapping[str, str]) -> str:
        """Start a sandbox, without any code but ours in it: the masks need not be complete.

        Answers what its network can reach.
        """
        plan = SandboxPlan(
            id=_TRIAL, hostname=_TRIAL, image=image.BASE_IMAGE, memory_mb=512, environment={}
        )
        await self.destroy(_TRIAL, None)
        handle = await self._create(plan, trial=masks)
        await self.destroy(_TRIAL, handle)
        return trace_of(handle).network

    def _birth(self, plan: SandboxPlan, masks: Mapping[str, str], choice: Choice) -> Birth:
        api_socket, port_socket = self._storage.sockets(plan.id)
        defaults = choice.environment(plan.hostname)
        return Birth(
            request=0,
            digest=hashlib.sha256(msgspec.json.encode(plan, order="sorted")).hexdigest()[:32],
            id=plan.id,
            hostname=plan.hostname,
            directory=str(self._storage.directory(plan.id)),
            api_socket=api_socket,
            port_socket=port_socket,
            limits=limits_of(plan, self._max_processes),
            environment={
                **defaults,
                **(plan.network.environment if plan.network else {}),
                **plan.environment,
            },
            home=plan.environment.get("HOME", defaults["HOME"]),
            workdir=choice.config.workdir,
            masks=dict(masks),
            root=choice.layers,
            services=choice.services() if plan.services else (),
            mounts=self.disks.placed(plan),
            egress=self._egress,
            authority=plan.network.authority if plan.network else "",
            saved=(
                *(str(self._storage.saved_files(each)) for each in plan.files_from),
                *choice.over,
            ),
        )

    async def _bear(self, birth: Birth) -> Trace:
        """Ask the launcher, and its successor if it dies while asked."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(LauncherGone):
                return await (await self._launcher()).bear(birth)
        return await (await self._launcher()).bear(birth)

    async def _send(self, kind: str, trace: Trace | None, details: dict[str, str]) -> str:
        """Have the launcher run an errand, in or for the sandbox of ``trace``; what it found."""
        errand = Errand(
            request=0,
            kind=kind,
            pid=trace.pid if trace else 0,
            started=trace.started if trace else 0,
            details=details,
        )
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(LauncherGone):
                return await (await self._launcher()).send(errand)
        return await (await self._launcher()).send(errand)

    def _end(self, trace: Trace) -> None:
        if not is_running(trace):
            return
        freezer.thaw(trace)
        if not processes.kill_and_wait(trace.pid, trace.started, _KILL_SECONDS):
            raise RuntimeProblem(
                f"process {trace.pid} of a sandbox did not end within {_KILL_SECONDS:.0f} s of "
                "SIGKILL; it is most likely waiting for a disk"
            )

    def _stop(self, sandbox_id: str, trace: Trace | None = None) -> None:
        """End the run ``trace``, or the current one; remove what only a run needs."""
        with locked_if_there(self._storage.directory(sandbox_id)) as directory:
            current = read_trace(directory)
            if (run := trace or current) is not None:
                self._end(run)
            if current is not None and is_running(current):
                return
            self._remove_groups(sandbox_id, current or trace)
            self._storage.remove_sockets(sandbox_id)
            (directory / "state.json").unlink(missing_ok=True)

    def _destroy(self, sandbox_id: str, trace: Trace | None) -> None:
        if trace is not None:
            self._stop(sandbox_id, trace)
        self._stop(sandbox_id, None)
        self.disks.forget(sandbox_id)
        self._storage.remove(sandbox_id)
        self.library.pins.drop(sandbox_id)

    def _clean_up(self, sandbox_id: str, is_new: bool) -> None:
        """Undo a failed create; files of an earlier run stay."""
        self._stop(sandbox_id, None)
        if is_new:
            self.disks.forget(sandbox_id)
            self._storage.remove(sandbox_id)
            self.library.pins.drop(sandbox_id)

    def _remove_groups(self, sandbox_id: str, trace: Trace | None) -> None:
        parents = [each.parent for each in self._setup.hierarchies] if self._setup else []
        groups = {Path(parent, sandbox_id) for parent in parents}
        groups.update(Path(group) for group in (trace.cgroups if trace else ()))
        cgroups.remove_all(groups)

    def _leftovers(self) -> list[str]:
        found = self._storage.known() | self._storage.known_sockets()
        for hierarchy in self._setup.hierarchies if self._setup else ():
            found.update(cgroups.below(hierarchy))
        return sorted(found)

    @contextlib.asynccontextmanager
    async def _turn(self, sandbox_id: str) -> AsyncIterator[None]:
        """One operation at a time on one sandbox."""
        lock = self._turns.get(sandbox_id) or asyncio.Lock()
        self._turns[sandbox_id] = lock
        async with lock:
            yield
