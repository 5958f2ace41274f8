"""Snapshots: saved files of sandboxes, which outlive them.

The row comes first and goes last: what a crash leaves has a row that says what is to be done, and
files without a row are nobody's.
"""

import asyncio
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection

from serai.compute import records
from serai.compute import snapshot_records as rows
from serai.compute.applications import APPLICATIONS
from serai.compute.controller import SandboxController
from serai.compute.kept import begin_storage, end_storage, megabytes
from serai.compute.kind import SANDBOXES, need_files
from serai.compute.snapshot_records import SnapshotRow
from serai.kernel.background import Background
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import Conflict, NotFound, ServiceUnavailable
from serai.kernel.ids import token
from serai.kernel.names import check_name
from serai.resources import audit, documents, quotas, revisions
from serai.resources.audit import Target
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.store import Actor
from serai.runtime.port import Contents, Incapable, NoSpace, RuntimeProblem, Saved
from serai.store.reach import unbounded
from serai.store.secrets import Vault

LAYERS_MAX = 60
"""More directories than an overlay's options can name with certainty are not stacked."""
log = structlog.get_logger(__name__)


class Snapshots:
    """Takes, restores, and deletes snapshots."""

    def __init__(self, controller: SandboxController, vault: Vault) -> None:
        self.controller = controller
        self.db = controller.db
        self.vault = vault
        self._background = Background()
        self._sweeping = asyncio.Lock()

    async def start(self) -> None:
        """Undo what a crash left half done, and watch for sandboxes that end."""
        found = await self.controller.runtime.files.saved()
        for name in await self.db.write(lambda conn: _recover(conn, found)):
            self._background.start(self._settle(name))
        self.controller.on_end.append(lambda *_: self.sweep_soon())
        await self.sweep()

    async def stop(self) -> None:
        """Leave what is under way: the next start goes on with it."""
        await self._background.cancel()

    async def take(
        self,
        actor: Actor,
        account_id: str,
        sandbox: str,
        name: str | None = None,
        contents: Contents | None = None,
    ) -> SnapshotRow:
        """Save a sandbox as it is now; it stands still meanwhile.

        Args:
            contents: what to keep; None for as much as is possible.

        Raises:
            NotFound: no such sandbox.
            Conflict: it has no files in place, a snapshot of it has the name, or its processes
                cannot be kept and were asked for.
            UsageLimitExceeded: the quota of snapshots is used up.
            ServiceUnavailable: the disk is full, or the runtime failed; nothing is left then.
        """
        controller = self.controller
        await controller.expire(actor.workspace, sandbox)
        async with controller.live.lock(actor.workspace, sandbox):
            row = await self.db.write(
                lambda conn: self._begin(conn, actor, account_id, sandbox, name)
            )
            try:
                saved = await controller.runtime.files.save(row.sandbox_id, row.id, contents)
                row = await self.db.write(lambda conn: _ready(conn, actor, row, saved))
            except BaseException as problem:
                await asyncio.shield(self._forget(row))
                raise explain(problem, f"A snapshot of sandbox {sandbox!r}") from problem
        if saved.why and controller.runtime.files.level == "memory":
            log.info("snapshot_of_files_only", snapshot=row.id, reason=saved.why)
        self._background.start(self._settle(row.id))
        return row

    def _begin(
        self, conn: Connection, actor: Actor, account_id: str, sandbox: str, name: str | None
    ) -> SnapshotRow:
        store = self.controller.store
        document = need_files(conn, store, actor.workspace, sandbox)
        box = records.need(conn, document.id)
        if len(box.layers) >= LAYERS_MAX:
            raise Conflict(
                f"Sandbox {sandbox!r} lies on {len(box.layers)} snapshots of one another already; "
                "copy its files to a new sandbox to go on.",
                code="SNAPSHOT_TOO_DEEP",
            )
        made_id = f"snap_{token(12)}"
        name = check_name(name, "name") if name else made_id
        if rows.find_of(conn, actor.workspace, document.id, name) is not None:
            raise Conflict(
                f"Sandbox {sandbox!r} has a snapshot named {name!r} already.",
                code="SNAPSHOT_ALREADY_EXISTS",
            )
        quotas.check_snapshots(conn, actor.workspace, 1)
        body = store.reveal(SANDBOXES, document)
        row = SnapshotRow(
            id=made_id,
            workspace=actor.workspace,
            account_id=account_id,
            sandbox_id=document.id,
            sandbox=sandbox,
            name=name,
            status="pending",
            level="files",
            created_at=rfc3339(now()),
            created_by=actor.email,
            size=0,
            layers=(made_id, *box.layers),
            body=msgspec.json.encode(_shown_spec(body)).decode(),
            sealed=self.vault.seal(msgspec.json.encode(body["spec"]), _context(made_id)),
        )
        rows.add(conn, row)
        return row

    async def _forget(self, row: SnapshotRow) -> None:
        await self.controller.runtime.files.drop(row.id)
        await self.db.write(lambda conn: rows.drop(conn, row.id))

    async def _settle(self, snapshot_id: str) -> None:
        try:
            await self.controller.runtime.files.settle(snapshot_id)
        except (OSError, RuntimeProblem):
            log.exception("snapshot_not_settled", snapshot=snapshot_id)

    def spec_of(self, row: SnapshotRow) -> Body:
        """The spec of the sandbox as it was then, with its secrets in clear."""
        spec: Body = msgspec.json.decode(self.vault.unseal(row.sealed, _context(row.id)))
        return spec

    def need(self, conn: Connection, workspace: str, snapshot_id: str) -> SnapshotRow:
        """The snapshot of that id.

        Raises:
            NotFound: there is none in this workspace.
        """
        row = rows.find(conn, workspace, snapshot_id)
        if row is None:
            raise no_snapshot(snapshot_id)
        return row

    def need_of(
        self, conn: Connection, workspace: str, sandbox: str, word: str
    ) -> tuple[Document, SnapshotRow]:
        """A sandbox and its snapshot of that id or name.

        Raises:
            NotFound: there is no such sandbox, or it has no such snapshot.
        """
        document = self.controller.store.need(conn, SANDBOXES, workspace, sandbox)
        row = rows.find_of(conn, workspace, document.id, word)
        if row is None:
            raise no_snapshot(word)
        return document, row

    async def restore(self, actor: Actor, sandbox: str, word: str) -> SnapshotRow:
        """Set a sandbox back to one of its snapshots.

        Its processes end; those of the snapshot go on where it has some, else it starts anew.

        Raises:
            NotFound: it has no such snapshot.
            Conflict: the snapshot is not ready, or cannot be used here, or the sandbox's files are
                not in place.
            ServiceUnavailable: it could not be started; the next request to it tries again.
        """
        controller = self.controller
        await controller.expire(actor.workspace, sandbox)

        def find(conn: Connection) -> tuple[Document, SnapshotRow]:
            need_files(conn, controller.store, actor.workspace, sandbox)
            document, row = self.need_of(conn, actor.workspace, sandbox, word)
            need_ready(row)
            return document, row

        def choose(conn: Connection) -> tuple[Document, SnapshotRow]:
            document, row = find(conn)
            audit.record(conn, actor, "restore", Target.of(document), None, {"snapshot": row.id})
            return document, row

        async with controller.live.lock(actor.workspace, sandbox):
            _, row = await self.db.read(find)
            await self.check_usable(row)
            await controller.renewal.start_over(choose)
        self.sweep_soon()
        return row

    async def check_usable(self, row: SnapshotRow) -> None:
        """Refuse a snapshot whose processes could not go on here, before anything is given up.

        Raises:
            Conflict: saying why, and what can be done.
        """
        if row.level == "memory":
            try:
                await self.controller.runtime.files.check_memory(row.id)
            except Incapable as problem:
                raise Conflict(
                    f"The processes in snapshot {row.name!r} cannot go on here: {problem}. Its "
                    "files can be forked: send contents 'files'.",
                    code="SNAPSHOT_NOT_USABLE",
                ) from problem

    async def delete(self, actor: Actor, row: SnapshotRow) -> None:
        """Delete a snapshot; its files stay as long as a sandbox or a snapshot lies on them.

        Raises:
            NotFound: somebody else was first.
            Conflict: an application was forked from it, or it is being taken.
        """

        def mark(conn: Connection) -> None:
            current = self.need(conn, actor.workspace, row.id)
            if current.status == "pending":
                raise Conflict(
                    f"Snapshot {row.name!r} is being taken; delete it when it is ready.",
                    code="SNAPSHOT_NOT_READY",
                )
            user = _application_of(conn, current)
            if user is not None:
                raise Conflict(
                    f"Snapshot {row.name!r} is what a revision of application {user!r} was forked "
                    "from; delete the application first.",
                    code="SNAPSHOT_IN_USE",
                )
            rows.change(conn, row.id, status="deleted")
            end_storage(conn, row.id, now())
            audit.record(conn, actor, "delete", _target(row), _told(row))

        await self.db.write(mark)
        self.sweep_soon()

    def sweep_soon(self) -> None:
        """Remove files that nobody needs any more, in the background."""
        self._background.start(self.sweep())

    async def sweep(self) -> None:
        """Remove saved files without a row, and those of deleted snapshots nobody lies on.

        Of deleted ones that somebody lies on, what their processes held goes.
        """
        files = self.controller.runtime.files
        async with self._sweeping:
            found = await files.saved()  # before the rows, which are there before any files
            with unbounded("files that no row of any workspace needs are nobody's"):
                known, needed, begun = await self.db.read(_known_and_needed)
            for name in found:
                if known.get(name, "deleted") != "deleted":
                    continue
                if name not in needed:
                    await files.drop(name)
                elif name not in begun:
                    await files.drop_memory(name)
            gone = [name for name, status in known.items() if status == "deleted"]
            gone = [name for name in gone if name not in needed]
            if gone:
                with unbounded("rows of deleted snapshots, whose files are gone"):
                    await self.db.write(lambda conn: rows.drop(conn, *gone))


def no_snapshot(word: str) -> NotFound:
    """The answer when there is no such snapshot."""
    return NotFound(
        f"There is no snapshot {word[:80]!r} in this workspace.", code="SNAPSHOT_NOT_FOUND"
    )


def need_ready(row: SnapshotRow) -> None:
    """Refuse a snapshot that cannot be used.

    Raises:
        Conflict: saying why.
    """
    if row.status == "failed":
        raise Conflict(
            f"Snapshot {row.name!r} is lost: the machine stopped before it was on disk.",
            code="SNAPSHOT_FAILED",
        )
    if row.status != "ready":
        raise Conflict(f"Snapshot {row.name!r} is not ready yet.", code="SNAPSHOT_NOT_READY")


def explain(problem: BaseException, what: str) -> BaseException:
    """What a client is told when files cannot be saved or copied."""
    if isinstance(problem, Incapable):
        return Conflict(
            f"{what} cannot have processes and memory: {problem}. Send contents 'files', or leave "
            "it out.",
            code="SNAPSHOT_WITHOUT_MEMORY",
        )
    if isinstance(problem, NoSpace):
        return ServiceUnavailable(f"{what} does not fit: {problem}.", code="STORAGE_UNAVAILABLE")
    if isinstance(problem, RuntimeProblem):
        return ServiceUnavailable(f"{what} could not be made: {problem}.")
    return problem


def _ready(conn: Connection, actor: Actor, row: SnapshotRow, saved: Saved) -> SnapshotRow:
    size, level = saved.size, saved.contents
    quotas.check_snapshots(conn, row.workspace, megabytes(size))
    rows.change(conn, row.id, status="ready", size=size, level=level)
    begin_storage(conn, row.id, row.account_id, row.workspace, row.sandbox, size, now())
    ready = msgspec.structs.replace(row, status="ready", size=size, level=level)
    audit.record(conn, actor, "create", _target(row), None, _told(ready))
    return ready


def _application_of(conn: Connection, row: SnapshotRow) -> str | None:
    """The application, if any, one of whose revisions was forked from a snapshot."""
    for application in documents.every(conn, APPLICATIONS.name, row.workspace):
        kept = [one.spec for one in revisions.of_document(conn, application.id)]
        specs = [msgspec.json.decode(spec) for spec in kept]
        if any(spec.get("snapshot") == row.id for spec in specs):
            return application.name
    return None


def _target(row: SnapshotRow) -> Target:
    return Target(kind="snapshot", name=row.name, parent=row.sandbox, id=row.id)


def _told(row: SnapshotRow) -> Body:
    return {"id": row.id, "size": row.size, "contents": row.level}


def _shown_spec(body: Body) -> dict[str, Any]:
    runtime = body["spec"]["runtime"]
    shown = {key: runtime[key] for key in ("image", "memory", "ports") if key in runtime}
    region = body["spec"].get("region")
    return shown | ({"region": region} if region else {})


def _context(snapshot_id: str) -> str:
    return f"snapshot/{snapshot_id}"


def _recover(conn: Connection, found: dict[str, bool]) -> list[str]:
    """After a start: forget what was never finished, mark what is lost; what is to be settled."""
    whole = []
    for row in rows.every(conn):
        if row.status == "pending":
            rows.drop(conn, row.id)
        elif row.status == "ready" and not found.get(row.id):
            rows.change(conn, row.id, status="failed")
            end_storage(conn, row.id, now())
        elif row.status == "ready":
            whole.append(row.id)
    return whole


def _known_and_needed(conn: Connection) -> tuple[dict[str, str], set[str], set[str]]:
    known: dict[str, str] = {row.id: row.status for row in rows.every(conn)}
    return known, rows.needed(conn), rows.begun_with(conn)
