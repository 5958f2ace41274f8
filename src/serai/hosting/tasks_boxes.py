"""Boxes for tasks: one runs tasks of one execution, one after the other.

Each task is a process of its own, of which nothing runs on when it has ended. What it wrote to
the box's files is seen by the tasks that come after it there. A box in which a task failed is not
used again.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import execution_records as records
from serai.compute import task_records
from serai.compute.execution_records import ExecutionRow
from serai.compute.task_records import BoxRow, TaskRow
from serai.hosting.boxes import Box, Boxes, BoxPlan
from serai.hosting.tasks_calls import TaskCall, tell_parameters
from serai.kernel.clock import now, rfc3339
from serai.kernel.ids import token
from serai.kernel.lines import LogLine
from serai.resources import quotas
from serai.runtime.port import Mount, RuntimeProblem, SandboxHandle
from serai.store.database import Database
from serai.store.secrets import Vault
from serai.wire.sandbox_tasks import TaskRequest

IMAGE_SECONDS = 600.0
GRACE_SECONDS = 10.0
log = structlog.get_logger(__name__)

Resolve = Callable[[Connection, str, str], str]
Surroundings = Callable[[str, str, str], Mapping[str, str]]
"""What programs of a workload are told of the platform: by workspace, type and name."""


class CannotStart(Exception):
    """Tasks of an execution cannot be started; the message names the cause."""


class JobSpans(Protocol):
    """Where the time of boxes is metered, inside the transaction that changes it."""

    def rate(self, conn: Connection, execution: ExecutionRow, memory_mb: int) -> None:
        """So many MiB of boxes of the execution's job are there from now on. Repeatable."""

    def recover(self, conn: Connection, alive: list[str]) -> None:
        """After our own restart: jobs whose boxes live, by the ids of their documents."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What all boxes of an execution have in common."""

    image: str
    command: list[str]
    workdir: str
    environment: dict[str, str]


class TaskBoxes:
    """Opens, finds again and removes boxes of executions, each step with its row."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        boxes: Boxes,
        resolve: Resolve,
        surroundings: Surroundings,
        spans: JobSpans,
        disk_mb: int,
    ) -> None:
        self.db = db
        self.boxes = boxes
        self._vault = vault
        self._resolve = resolve
        self._surroundings = surroundings
        self._spans = spans
        self._disk_mb = disk_mb
        self._open: dict[str, SandboxHandle] = {}

    def handles(self) -> list[SandboxHandle]:
        """Of all boxes that are open."""
        return list(self._open.values())

    async def prepare(self, execution: ExecutionRow) -> Prepared:
        """Have an execution's image made, and learn how its program starts.

        Raises:
            CannotStart: there is no such image, or it names no program.
        """
        spec, workspace = execution.spec, execution.workspace
        image = await self.db.read(lambda conn: self._resolve(conn, workspace, spec.image))
        library = self.boxes.runtime.library
        try:
            await library.ready(image, IMAGE_SECONDS)
            config = await library.config(image)
        except RuntimeProblem as problem:
            raise CannotStart(f"Its image {spec.image!r} cannot be used: {problem}") from problem
        command = spec.command or [*config.entrypoint, *config.cmd]
        if not command:
            raise CannotStart(
                f"Its image {spec.image!r} names no program: build it with an ENTRYPOINT or a CMD, "
                "or set spec.runtime.command of the job."
            )
        platform = self._surroundings(workspace, "job", execution.job)
        mine = {"BL_EXECUTION_ID": execution.name, "BL_EXECUTION_KEY": "BL_EXECUTION_ID"}
        return Prepared(
            image=image,
            command=command,
            workdir=config.workdir,
            environment={**config.env, **self._own_environment(execution), **platform, **mine},
        )

    def _own_environment(self, execution: ExecutionRow) -> dict[str, str]:
        if execution.secrets is None:
            return {}
        plain = self._vault.unseal(execution.secrets, f"execution/{execution.id}")
        return msgspec.json.decode(plain, type=dict[str, str])

    async def open(self, execution: ExecutionRow, prepared: Prepared) -> "TaskBox":
        """Open a box.

        Raises:
            UsageLimitExceeded: a quota of the workspace or account is used up.
            CannotStart: the runtime failed; nothing is left.
        """
        row = BoxRow(
            id=token(12),
            workspace=execution.workspace,
            execution_id=execution.id,
            job_id=execution.spec.job_id,
            memory_mb=execution.spec.memory_mb,
            created_at=rfc3339(now()),
        )
        await self.db.write(lambda conn: self._add(conn, execution, row))
        try:
            box = await self.boxes.open(self._plan(execution, prepared, row))
            self._open[row.id] = box.handle
            await self.db.write(lambda conn: self._opened(conn, execution, row, box))
            url = await tell_parameters(box.handle.api_socket, execution.tasks.encode())
        except (RuntimeProblem, OSError) as problem:
            await self.remove(execution, row)
            raise CannotStart(f"No box could be opened for it: {problem}") from problem
        except BaseException:
            await self.remove(execution, row)
            raise
        return TaskBox(self, execution, prepared, row, box, url)

    def _plan(self, execution: ExecutionRow, prepared: Prepared, row: BoxRow) -> BoxPlan:
        mounts = tuple(
            Mount(
                id=f"{row.id}.{number}",
                kind="volume",
                path=volume.mount_path,
                read_only=bool(volume.read_only),
                size_mb=volume.size_mb,
            )
            for number, volume in enumerate(execution.spec.volumes)
        )
        return BoxPlan(
            id=row.id,
            name=execution.job,
            image=prepared.image,
            memory_mb=row.memory_mb,
            environment=prepared.environment,
            disk_mb=self._disk_mb,
            mounts=mounts,
        )

    @staticmethod
    def _add(conn: Connection, execution: ExecutionRow, row: BoxRow) -> None:
        quotas.check_job_memory(conn, row.workspace, row.memory_mb)
        task_records.add_box(conn, row)
        if records.status_of(conn, execution) == "queued":
            records.change(conn, execution, status="pending", updated_at=row.created_at)

    def _opened(self, conn: Connection, execution: ExecutionRow, row: BoxRow, box: Box) -> None:
        task_records.opened(conn, row.id, box.handle)
        self.meter(conn, execution)

    def meter(self, conn: Connection, execution: ExecutionRow) -> None:
        """Tell metering what the boxes of an execution's job take now."""
        spec = execution.spec
        memory = task_records.memory_of(conn, execution.workspace, spec.job_id)
        self._spans.rate(conn, execution, memory)

    async def adopt(
        self, execution: ExecutionRow, prepared: Prepared, row: BoxRow
    ) -> "TaskBox | None":
        """A box that an earlier run of the platform opened, if it lives."""
        box = await self.boxes.adopt(row.handle) if row.handle is not None else None
        if box is None:
            return None
        try:
            url = await tell_parameters(box.handle.api_socket, execution.tasks.encode())
        except OSError:
            return None
        self._open[row.id] = box.handle
        return TaskBox(self, execution, prepared, row, box, url)

    async def remove(self, execution: ExecutionRow, row: BoxRow) -> None:
        """End a box and all in it; then its row goes. What fails is tried again at the start."""
        self._open.pop(row.id, None)
        try:
            await self.boxes.remove(row.id, row.handle)
        except RuntimeProblem:
            log.exception("task_box_not_removed", box=row.id)
            return

        def write(conn: Connection) -> None:
            task_records.drop_box(conn, row.id)
            self.meter(conn, execution)

        await self.db.write(write)


class TaskBox:
    """An open box, ready for the next task."""

    def __init__(
        self,
        boxes: TaskBoxes,
        execution: ExecutionRow,
        prepared: Prepared,
        row: BoxRow,
        box: Box,
        url: str,
    ) -> None:
        self.row = msgspec.structs.replace(row, handle=box.handle)
        self._boxes = boxes
        self._execution = execution
        self._prepared = prepared
        self._box = box
        self._url = url

    def call(self, task: TaskRow) -> TaskCall:
        """A task of this box, to be started or found."""
        prepared, execution = self._prepared, self._execution
        wanted = TaskRequest(
            name=f"{task.name}.{task.attempt}",
            command=prepared.command,
            environment=task_environment(task, self._url),
            working_dir=prepared.workdir or None,
            timeout=float(execution.spec.timeout),
            grace=GRACE_SECONDS,
        )
        label = LogLine(
            at_ns=0,
            workspace=execution.workspace,
            resource_type="job",
            resource=execution.job,
            source="task",
            text="",
            revision=execution.spec.revision,
            instance=self.row.id,
            execution=execution.name,
            task=task.name,
        )
        sink = self._boxes.boxes.sink
        return TaskCall(self._box.handle.api_socket, wanted, label, sink, self._box.alive)

    async def remove(self) -> None:
        """End it."""
        await self._boxes.remove(self._execution, self.row)


def task_environment(task: TaskRow, url: str) -> dict[str, str]:
    """The variables that tell a program which task it is, as the clients' SDKs read them."""
    return {
        "BL_EXECUTION_DATA_URL": url,
        "BL_TASK_KEY": "BL_TASK_INDEX",
        "BL_TASK_INDEX": str(task.number),
        "BL_TASK_NAME": task.name,
        "BL_TASK_ATTEMPT": str(task.attempt),
        "TASK_INDEX": str(task.number),
    }
