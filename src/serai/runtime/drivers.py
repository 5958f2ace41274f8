"""All drivers as one runtime: new sandboxes by the chosen one, others by the one that made them."""

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from serai.runtime.bubblewrap.runtime import BubblewrapRuntime
from serai.runtime.disks import Disks
from serai.runtime.embedded import EmbeddedRuntime
from serai.runtime.links import TunnelLink
from serai.runtime.oci.program import PROGRAMS
from serai.runtime.oci.runtime import OciRuntime
from serai.runtime.plans import check_id
from serai.runtime.pool import Pool
from serai.runtime.port import (
    Files,
    Library,
    Mount,
    Runtime,
    RuntimeProblem,
    SandboxHandle,
    SandboxPlan,
)
from serai.runtime.roots.policy import Policy
from serai.runtime.routed_files import RoutedFiles
from serai.runtime.storage import Storage
from serai.runtime.unavailable import UnavailableRuntime

log = structlog.get_logger("serai")

AUTO, DEFAULT = "auto", "embedded"


class Make(Protocol):
    """Makes a driver; arguments as of EmbeddedRuntime."""

    def __call__(
        self,
        data_dir: Path,
        *,
        pool: Pool | None = None,
        egress: Path | None = None,
        policy: Policy | None = None,
    ) -> Runtime:
        """The driver, not started."""


def _engine(
    engine: str,
    data_dir: Path,
    *,
    pool: Pool | None = None,
    egress: Path | None = None,
    policy: Policy | None = None,
) -> Runtime:
    from serai.runtime.engine.runtime import EngineRuntime  # brings aiohttp: not at each start

    return EngineRuntime(engine, data_dir, pool=pool, egress=egress, policy=policy)


DRIVERS: Mapping[str, Make] = {
    "embedded": EmbeddedRuntime,
    **{program: partial(OciRuntime, program) for program in PROGRAMS},
    "bwrap": BubblewrapRuntime,
    "docker": partial(_engine, "docker"),
    "podman": partial(_engine, "podman"),
}
"""Every driver by name, in the order in which they are told to people."""


class Drivers:
    """Chooses a driver and keeps every sandbox with the one that made it.

    Args:
        data_dir: shared by all of them.
        wanted: name of a driver, or ``auto``: the embedded one.
        pool, egress, policy: see EmbeddedRuntime.
        drivers: how to make each.
    """

    def __init__(
        self,
        data_dir: Path,
        wanted: str = AUTO,
        *,
        pool: Pool | None = None,
        egress: Path | None = None,
        policy: Policy | None = None,
        drivers: Mapping[str, Make] = DRIVERS,
    ) -> None:
        self._data_dir = data_dir
        self._pool = pool
        self._egress = egress
        self._policy = policy
        self._drivers = drivers
        self._is_chosen = wanted != AUTO
        self._primary = self._make(wanted if self._is_chosen else DEFAULT)
        with_files = self._primary if isinstance(self._primary, EmbeddedRuntime) else None
        self.disks = with_files.disks if with_files else Disks(Storage(data_dir, pool))
        self.files: Files = RoutedFiles(
            self._driver_of, self._primary.files, claim=self._claim, forget=self._unmark
        )
        self._known: dict[str, Runtime] = {self._primary.name: self._primary}
        self._problems: dict[str, RuntimeProblem] = {}
        self._starting = asyncio.Lock()

    @property
    def library(self) -> Library:
        """See Runtime.library, for new sandboxes."""
        return self._primary.library

    @property
    def name(self) -> str:
        """The driver of new sandboxes."""
        return self._primary.name

    @property
    def isolation(self) -> str:
        """See Runtime.isolation, of new sandboxes."""
        return self._primary.isolation

    @property
    def level(self) -> str:
        """See Runtime.level, of new sandboxes."""
        return self._primary.level

    async def start(self) -> None:
        """Start the driver of new sandboxes.

        Nobody falls back to another one unasked: where the default does not work, there are no
        sandboxes, and every attempt to make one says why.

        Raises:
            RuntimeProblem: the driver that was asked for by name does not work here.
        """
        try:
            await self._primary.start()
        except RuntimeProblem as problem:
            hint = "`serai doctor` says what works here and what to install."
            if self._is_chosen:
                raise RuntimeProblem(f"{problem} Setting runtime={self.name}: {hint}") from problem
            log.warning("sandboxes_unavailable", reason=str(problem))
            self._problems[self._primary.name] = problem
            self._primary = UnavailableRuntime(f"{problem} {hint}")
            self.files = self._primary.files

    async def close(self) -> None:
        """Close every driver that was used."""
        for runtime in self._known.values():
            await runtime.close()

    def images(self) -> list[str]:
        """See Runtime.images."""
        return self._primary.images()

    async def create(self, plan: SandboxPlan) -> SandboxHandle:
        """See Runtime.create. Files of an earlier run are found by the driver that has them."""
        name = await asyncio.to_thread(self._maker_of, plan.id)
        runtime = self._primary if name is None else await self._driver(name)
        if runtime is not self._primary and runtime.name in self._problems:
            raise RuntimeProblem(
                f"sandbox {plan.id} was made by the runtime {runtime.name}, which does not work "
                f"now: {self._problems[runtime.name]}"
            )
        if name is not None or runtime.level == "none":
            return await runtime.create(plan)
        await asyncio.to_thread(self._mark, plan.id, runtime.name)
        try:
            return await runtime.create(plan)
        except BaseException:
            self._unmark(plan.id)
            raise

    async def alive(self, handle: SandboxHandle) -> bool:
        """See Runtime.alive."""
        return await (await self._driver(handle.driver)).alive(handle)

    async def suspend(self, handle: SandboxHandle) -> None:
        """See Runtime.suspend."""
        await (await self._driver(handle.driver)).suspend(handle)

    async def resume(self, handle: SandboxHandle) -> None:
        """See Runtime.resume."""
        await (await self._driver(handle.driver)).resume(handle)

    async def suspended(self, handle: SandboxHandle) -> bool:
        """See Runtime.suspended."""
        return await (await self._driver(handle.driver)).suspended(handle)

    async def attach(self, handle: SandboxHandle) -> None:
        """See Runtime.attach."""
        await (await self._driver(handle.driver)).attach(handle)

    async def mount(self, handle: SandboxHandle, mount: Mount) -> None:
        """See Runtime.mount."""
        await (await self._driver(handle.driver)).mount(handle, mount)

    async def unmount(self, handle: SandboxHandle, path: str) -> None:
        """See Runtime.unmount."""
        await (await self._driver(handle.driver)).unmount(handle, path)

    async def tunnel(self, handle: SandboxHandle, link: TunnelLink | None, *, anew: bool) -> None:
        """See Runtime.tunnel."""
        await (await self._driver(handle.driver)).tunnel(handle, link, anew=anew)

    async def stop(self, handle: SandboxHandle) -> None:
        """See Runtime.stop."""
        await (await self._driver(handle.driver)).stop(handle)

    async def destroy(self, sandbox_id: str, handle: SandboxHandle | None) -> None:
        """See Runtime.destroy."""
        kept = await asyncio.to_thread(self._maker_of, sandbox_id)
        name = handle.driver if handle is not None else kept or self._primary.name
        await (await self._driver(name)).destroy(sandbox_id, handle)
        self._unmark(sandbox_id)

    async def successor(self, handle: SandboxHandle) -> str:
        """See Runtime.successor."""
        return await (await self._driver(handle.driver)).successor(handle)

    async def leftovers(self) -> list[str]:
        """See Runtime.leftovers, of every driver that still has a sandbox."""
        marked = await asyncio.to_thread(self._marked)
        found = {*marked, *await self._primary.leftovers()}
        for name in set(marked.values()) - {self._primary.name}:
            found.update(await (await self._driver(name)).leftovers())
        return sorted(found)

    async def _driver(self, name: str) -> Runtime:
        """The driver of that name, started; if that failed, as far as it goes."""
        if name == self._primary.name or name not in self._drivers:
            return self._primary
        async with self._starting:
            if name not in self._known:
                runtime = self._known[name] = self._make(name)
                try:
                    await runtime.start()
                except RuntimeProblem as problem:
                    log.warning("runtime_unavailable", runtime=name, reason=str(problem))
                    self._problems[name] = problem
        return self._known[name]

    def _make(self, name: str) -> Runtime:
        return self._drivers[name](
            self._data_dir, pool=self._pool, egress=self._egress, policy=self._policy
        )

    def _marker(self, sandbox_id: str) -> Path:
        """A file with the name of the driver that has the sandbox's files."""
        check_id(sandbox_id)
        return self._data_dir / "drivers" / sandbox_id

    def _mark(self, sandbox_id: str, driver: str) -> None:
        marker = self._marker(sandbox_id)
        marker.parent.mkdir(mode=0o700, exist_ok=True)
        marker.write_text(driver)

    def _claim(self, sandbox_id: str) -> None:
        self._mark(sandbox_id, self._primary.name)

    def _unmark(self, sandbox_id: str) -> None:
        self._marker(sandbox_id).unlink(missing_ok=True)

    async def _driver_of(self, sandbox_id: str) -> Runtime:
        name = await asyncio.to_thread(self._maker_of, sandbox_id)
        return await self._driver(name or self._primary.name)

    def _maker_of(self, sandbox_id: str) -> str | None:
        """The driver that has this sandbox's files; the default one for those without marker."""
        with contextlib.suppress(FileNotFoundError):
            return self._marker(sandbox_id).read_text()
        return DEFAULT if (self._data_dir / "sandboxes" / sandbox_id).is_dir() else None

    def _marked(self) -> dict[str, str]:
        folder = self._data_dir / "drivers"
        paths = folder.iterdir() if folder.is_dir() else ()
        return {path.name: path.read_text() for path in paths}
