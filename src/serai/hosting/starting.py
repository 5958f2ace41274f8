"""Starting one instance, and telling why it does not serve.

Every step is a row first: what a crash leaves is found by it and ended.
"""

import asyncio
import time
from typing import NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection

from serai.hosting import records
from serai.hosting.boxes import Box, Boxes, BoxFailed, BoxPlan, Entry
from serai.hosting.bridging import BRIDGED, bridged
from serai.hosting.instances import Instance
from serai.hosting.launches import Launch, command_of, environment_of, port_of
from serai.hosting.ports import Images, Offers, Surroundings, Usage, Volumes, Workload
from serai.hosting.problems import StartFailed
from serai.hosting.records import InstanceRow
from serai.hosting.runs import Run
from serai.hosting.trials import Trial
from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import token
from serai.kernel.lines import LogLine
from serai.runtime.port import (
    ImageConfig,
    ImageNotReady,
    RuntimeProblem,
    SandboxHandle,
    UnknownImage,
)
from serai.store.database import Database

IMAGE_SECONDS = 900.0
GRACE_SECONDS = 10.0
PROGRAM = "app"
"""The name of an instance's program among the processes of its box."""
log = structlog.get_logger(__name__)


class Found(NamedTuple):
    """What an instance is made of: the image as the runtime knows it, and how it starts."""

    image: str
    config: ImageConfig


class Starter:
    """Starts and ends instances, with their rows and usage.

    Args:
        seconds: an instance has to listen, from its program's start.
        disk_mb: its files may take, in MiB.
    """

    def __init__(
        self,
        db: Database,
        boxes: Boxes,
        usage: Usage,
        images: Images,
        volumes: Volumes,
        surroundings: Surroundings,
        offers: Offers,
        *,
        seconds: float,
        disk_mb: int,
    ) -> None:
        self.db = db
        self.boxes = boxes
        self.usage = usage
        self._images = images
        self._volumes = volumes
        self._surroundings = surroundings
        self._offers = offers
        self._seconds = seconds
        self._disk_mb = disk_mb

    async def find(self, workload: Workload, launch: Launch) -> Found:
        """The image of a revision, made or pulled first if need be.

        Raises:
            StartFailed: it cannot be had.
        """
        image = await self.db.read(
            lambda conn: self._images(conn, workload.workspace, workload.kind, launch.image)
        )
        library = self.boxes.runtime.library
        try:
            await library.ready(image, IMAGE_SECONDS)
            return Found(image, await library.config(image))
        except UnknownImage as problem:
            raise StartFailed("image", f"The image {launch.image!r}: {problem}") from problem
        except ImageNotReady as problem:
            raise StartFailed("image", f"{problem}") from problem
        except RuntimeProblem as problem:
            raise StartFailed(
                "image", f"The image {launch.image!r} cannot be had: {problem}"
            ) from problem

    async def start(self, workload: Workload, revision: str, launch: Launch) -> Instance:
        """Start an instance; answers when it takes requests.

        Raises:
            StartFailed: it does not, and why; nothing is left of it.
        """
        launch = self._offered(workload, launch)
        found = await self.find(workload, launch)
        command, port = command_of(launch, found.config), port_of(launch, found.config)
        if not command:
            raise StartFailed(
                "no_entrypoint",
                f"The image {launch.image!r} names no program to start: set its ENTRYPOINT or CMD,"
                " or spec.runtime.command.",
            )
        row = _row(workload, revision, launch, port)
        await self.db.write(lambda conn: records.add(conn, row))
        try:
            return await self._begun(workload, row, launch, found, command)
        except BaseException as problem:
            await asyncio.shield(self.remove(workload, row.id))
            if isinstance(problem, RuntimeProblem | BoxFailed):
                raise StartFailed("runtime", f"It cannot be started: {problem}") from problem
            raise

    def _offered(self, workload: Workload, launch: Launch) -> Launch:
        """With what an MCP server on offer is started with, where the settings do not say."""
        is_function = workload.kind == "function"
        offer = self._offers(workload.name, launch.image) if is_function else None
        if offer is None:
            return launch
        return msgspec.structs.replace(
            launch,
            command=launch.command or offer.command,
            environment={**offer.environment, **launch.environment},
        )

    async def _begun(
        self,
        workload: Workload,
        row: InstanceRow,
        launch: Launch,
        found: Found,
        command: tuple[str, ...],
    ) -> Instance:
        platform = self._surroundings(workload, row.revision)
        mounts = await self.db.read(
            lambda conn: self._volumes(conn, workload.workspace, row.id, launch.volumes)
        )
        box = await self.boxes.open(
            BoxPlan(
                id=row.id,
                name=workload.name,
                image=found.image,
                memory_mb=launch.memory_mb,
                environment=environment_of(launch, found.config, row.port, platform),
                disk_mb=self._disk_mb,
                mounts=mounts,
            )
        )
        await self.db.write(lambda conn: self._running(conn, workload, row.id, box.handle))
        entry = Entry(command=command, name=PROGRAM, workdir=found.config.workdir)
        run, port = await self._serves(workload, row, box, entry)
        return Instance(box, run, port)

    async def _serves(
        self, workload: Workload, row: InstanceRow, box: Box, entry: Entry
    ) -> tuple[Run, int]:
        """Start the program by the way it is known to serve, or find that out.

        Raises:
            StartFailed: it does not serve, and why.
        """
        label = label_of(workload, row.revision, row.id)
        trial = Trial(box, entry, label, row.port, self._seconds)
        if await self.db.read(lambda conn: records.is_bridged(conn, row)):
            run, port = await trial.bridged()
        else:
            run, port = await trial.run(either=workload.kind == "function")
        if port == BRIDGED:
            await self.db.write(lambda conn: records.bridge(conn, row))
        return run, port

    def _running(
        self, conn: Connection, workload: Workload, instance_id: str, handle: SandboxHandle
    ) -> None:
        records.change(conn, instance_id, phase="running", handle=handle)
        self.usage.runs(conn, workload, records.memory_of(conn, workload.document_id))

    async def end(self, workload: Workload, instance: Instance, seconds: float) -> None:
        """Let an instance finish what it does, for so long at most, then end and remove it."""
        instance.state = "ending"
        await instance.unused(seconds)
        try:
            if not instance.run.ended.done():
                await instance.box.resume()
                await instance.run.stop(GRACE_SECONDS)
        except RuntimeProblem as problem:
            log.warning("instance_killed", instance=instance.id, reason=str(problem))
        finally:
            await self.remove(workload, instance.id, instance.box.handle)
            await instance.run.close()

    async def remove(
        self, workload: Workload, instance_id: str, handle: SandboxHandle | None = None
    ) -> None:
        """Leave nothing of an instance; what cannot be removed now keeps its row."""
        try:
            await self.boxes.remove(instance_id, handle)
        except RuntimeProblem as problem:
            log.warning("instance_not_removed", instance=instance_id, reason=str(problem))
            await self.db.write(lambda conn: records.change(conn, instance_id, phase="ending"))
            return
        await self.db.write(lambda conn: self._gone(conn, workload, instance_id))

    def _gone(self, conn: Connection, workload: Workload, instance_id: str) -> None:
        records.drop(conn, instance_id)
        self.usage.runs(conn, workload, records.memory_of(conn, workload.document_id))

    # -- standing and going on
    async def suspend(self, workload: Workload, instance: Instance) -> None:
        """Stop an instance where it stands. Raises RuntimeProblem when it does not stop."""
        await instance.box.suspend()
        await self.db.write(lambda conn: self._phase(conn, workload, instance.id, "suspended"))

    async def resumed(self, workload: Workload, instance: Instance) -> None:
        """Write down that an instance goes on."""
        await self.db.write(lambda conn: self._phase(conn, workload, instance.id, "running"))

    def _phase(
        self, conn: Connection, workload: Workload, instance_id: str, phase: records.Phase
    ) -> None:
        records.change(conn, instance_id, phase=phase)
        self.usage.runs(conn, workload, records.memory_of(conn, workload.document_id))

    # -- after a restart
    async def adopt(self, workload: Workload, row: InstanceRow) -> Instance | None:
        """The instance of a row of an earlier run of the platform, if it still serves."""
        if row.phase not in {"running", "suspended"} or row.handle is None:
            return None
        box = await self.boxes.adopt(row.handle)
        if box is None:
            return None
        try:
            await box.resume()
            label = label_of(workload, row.revision, row.id)
            run = await _followed(box, row, label)
        except (RuntimeProblem, BoxFailed) as problem:
            log.warning("instance_not_adopted", instance=row.id, reason=str(problem))
            return None
        if run is None:
            return None
        instance = Instance(box, run, row.port)
        if not await instance.serves():
            await run.close()
            return None
        if row.phase == "suspended":
            await self.db.write(lambda conn: self._phase(conn, workload, row.id, "running"))
        return instance

    def say(self, workload: Workload, revision: str, instance: str, text: str) -> None:
        """Put a line of the platform's own among those of a workload."""
        label = label_of(workload, revision, instance)
        self.boxes.sink.write([msgspec.structs.replace(label, at_ns=time.time_ns(), text=text)])


def label_of(workload: Workload, revision: str, instance: str) -> LogLine:
    """What lines of an instance are like."""
    return LogLine(
        at_ns=0,
        workspace=workload.workspace,
        resource_type=workload.kind,
        resource=workload.name,
        source="run",
        text="",
        revision=revision,
        instance=instance,
    )


async def _followed(box: Box, row: InstanceRow, label: LogLine) -> Run | None:
    if row.port == BRIDGED:
        return bridged(box, label, row.lines)
    return await box.follow(PROGRAM, label, row.lines)


def _row(workload: Workload, revision: str, launch: Launch, port: int) -> InstanceRow:
    return InstanceRow(
        id=token(12),
        workspace=workload.workspace,
        account_id=workload.account_id,
        document_id=workload.document_id,
        kind=workload.kind,
        name=workload.name,
        revision=revision,
        phase="creating",
        port=port,
        memory_mb=launch.memory_mb,
        handle=None,
        started_at=rfc3339(now()),
    )
