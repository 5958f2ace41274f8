"""The driver of OCI runtimes: one class, three programs."""

from pathlib import Path

from serai.runtime.guest.runtime import ProgramRuntime
from serai.runtime.messages import Trace
from serai.runtime.oci import groups
from serai.runtime.oci.program import PROGRAMS, find
from serai.runtime.pool import Pool
from serai.runtime.port import NotInstalled
from serai.runtime.roots.policy import Policy


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

    async def start(self) -> None:
        """See Runtime.start."""
        await super().start()
        if self.name == "runsc":
            self.level = "gvisor"
            self.isolation = f"gVisor, a kernel of its own for each sandbox; {self.isolation}"

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
