"""The driver of OCI runtimes: one class, three programs."""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serai.runtime.guest.line import TOKEN_BYTES
from serai.runtime.guest.runtime import ProgramRuntime
from serai.runtime.messages import Birth, Trace
from serai.runtime.oci import groups, proof
from serai.runtime.oci.checkpoints import LiveFiles
from serai.runtime.oci.doors import Door, Doors
from serai.runtime.oci.program import PROGRAMS, find, version_of
from serai.runtime.oci.proof import Trials
from serai.runtime.pool import Pool
from serai.runtime.port import NotInstalled, SandboxHandle, SandboxPlan
from serai.runtime.roots.policy import Choice, Policy
from serai.runtime.traces import is_running, read_trace, trace_of


class OciRuntime(ProgramRuntime):
    """Starts sandboxes with ``runc``, ``crun`` or ``runsc``.

    Args:
        program: which of them; also the driver's name.
        data_dir, entry, max_processes, pool, egress, policy: see EmbeddedRuntime.
    """

    starter = "serai.runtime.oci.starting"

    def __init__(
        self,
        program: str,
        data_dir: Path,
        *,
        entry: str = "serai.sandboxd.main",
        max_processes: int = 4096,
        pool: Pool | None = None,
        egress: Path | None = None,
        policy: Policy | None = None,
    ) -> None:
        super().__init__(
            data_dir,
            entry=entry,
            max_processes=max_processes,
            pool=pool,
            egress=egress,
            policy=policy,
        )
        self.name = program
        self._by_line = not PROGRAMS[program].passes_sockets
        self._doors = Doors()
        self._live: LiveFiles | None = None
        if self._by_line:
            self.files = self._live = LiveFiles(
                self._storage,
                self._send,
                self._turn,
                self._stop,
                self.library,
                self._doors,
            )

    async def start(self) -> None:
        """See Runtime.start."""
        await super().start()
        if self._live is None:
            return
        self.level = "gvisor"
        await self._live.release_all()
        setup = self._setup
        assert setup is not None
        self._live.version = await asyncio.to_thread(version_of, setup.program)
        self._live.trees = Path(setup.tree).parent
        await proof.prove(self._live, self._storage.root, setup, self._trials())
        kept = self._live.describe()
        self.isolation = f"gVisor, a kernel of its own for each sandbox; {self.isolation}; {kept}"

    def _trials(self) -> Trials:
        """How a sandbox is started, and removed, that runs no code but ours."""
        masks: Mapping[str, str] = self._masks.current if self._masks else {}

        async def start(plan: SandboxPlan) -> None:
            await self._create(plan, trial=masks)

        async def end(sandbox_id: str) -> None:
            await self.destroy(sandbox_id, None)

        return Trials(start=start, end=end)

    def _check_memory(self, plan: SandboxPlan) -> None:
        if self._live is None:
            super()._check_memory(plan)
        elif plan.memory_from:
            self._live.checkpoint_of(plan)

    def _birth(self, plan: SandboxPlan, masks: Mapping[str, str], choice: Choice) -> Birth:
        birth = super()._birth(plan, masks, choice)
        if self._live is None or not plan.memory_from:
            return birth
        memory, record = self._live.checkpoint_of(plan)
        tree = str(self._live.trees / record.tree)
        return msgspec.structs.replace(birth, memory=memory, tree=tree, token=record.token)

    async def _create(
        self, plan: SandboxPlan, trial: Mapping[str, str] | None = None
    ) -> SandboxHandle:
        handle = await super()._create(plan, trial)
        if plan.memory_from:
            await asyncio.to_thread(self._storage.forget_memory, plan.id)
        return handle

    async def close(self) -> None:
        """See EmbeddedRuntime.close."""
        self._doors.close_all()
        await super().close()

    async def _bear(self, birth: Birth) -> Trace:
        if not self._by_line:
            return await super()._bear(birth)
        current = read_trace(Path(birth.directory))
        runs = current is not None and is_running(current)
        token = current.token if current and runs else birth.token or new_token()
        door = self._open_door(birth.id, token)
        try:
            trace = await super()._bear(msgspec.structs.replace(birth, token=token))
            await door.wait_ready(ended=lambda: not is_running(trace))
        except BaseException:
            self._doors.close(birth.id)
            raise
        return trace

    def _open_door(self, sandbox_id: str, token: str) -> Door:
        owner = self._setup.uid_base if self._setup else None
        return self._doors.open(sandbox_id, self._storage.sockets(sandbox_id), token, owner)

    async def alive(self, handle: SandboxHandle) -> bool:
        """See Runtime.alive. One that an earlier process of ours started can be reached again."""
        is_alive = await super().alive(handle)
        token = trace_of(handle).token  # of an earlier release there is none, nor a line
        if is_alive and token and self._doors.find(handle.id) is None:
            self._open_door(handle.id, token)
        return is_alive

    async def resume(self, handle: SandboxHandle) -> None:
        """See Runtime.resume."""
        await self.alive(handle)
        await super().resume(handle)

    async def stop(self, handle: SandboxHandle) -> None:
        """See Runtime.stop."""
        await super().stop(handle)
        current = read_trace(self._storage.directory(handle.id))
        if current is None or not is_running(current):
            self._doors.close(handle.id)

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """See Runtime.destroy."""
        await super().destroy(sandbox_id, handle)
        self._doors.close(sandbox_id)

    def _program(self) -> str:
        path = find(self.name)
        if path is None:
            package = PROGRAMS[self.name].package
            raise NotInstalled(f"{self.name} is not installed", f"apt install {package}")
        return path

    def _remove_groups(self, sandbox_id: str, trace: Trace | None) -> None:
        """Also what the program made and keeps for a run; the run itself has ended."""
        super()._remove_groups(sandbox_id, trace)
        made = [Path(group) for group in (trace.cgroups if trace else ())]
        groups.remove_empty_parents(made)
        groups.forget_run(self._storage.root / "oci" / self.name, sandbox_id)


def new_token() -> str:
    """By which a sandbox will make itself known."""
    return secrets.token_hex(TOKEN_BYTES // 2)
