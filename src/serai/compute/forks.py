"""Forks: new sandboxes and applications from the state of a sandbox, or from a snapshot of it."""

from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from serai.compute import records
from serai.compute.applications import APPLICATIONS
from serai.compute.kind import SANDBOXES, need_files
from serai.compute.mount_rules import is_kept
from serai.compute.origins import Origin
from serai.compute.snapshot_records import SnapshotRow
from serai.compute.snapshots import Snapshots, explain, need_ready
from serai.kernel.errors import BadRequest, Conflict
from serai.kernel.names import check_name
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.operations import OnChange
from serai.resources.store import Actor
from serai.runtime.port import Contents, RuntimeProblem
from serai.wire.applications import Application
from serai.wire.sandboxes import ForkRequest, ForkResponse, Sandbox

PORT_DEFAULT = 8080
OF_APPLICATIONS = ("customDomain", "prefix", "traffic")


class Source(NamedTuple):
    """A sandbox that is forked as it is now."""

    workspace: str
    name: str
    id: str


class Forks:
    """Makes sandboxes and applications of what a sandbox is, or was."""

    def __init__(self, snapshots: Snapshots, on_change: OnChange) -> None:
        self.snapshots = snapshots
        self.controller = snapshots.controller
        self.db = snapshots.db
        self.on_change = on_change

    async def of_sandbox(
        self, actor: Actor, account_id: str, sandbox: str, wanted: ForkRequest
    ) -> ForkResponse:
        """Fork a sandbox as it is now, or as one of its snapshots has it.

        Raises:
            NotFound: no such sandbox or snapshot.
            BadRequest: a field does not go with the target.
            Conflict: the target exists, or the source has no files in place.
        """
        _check(wanted)
        await self.controller.expire(actor.workspace, sandbox)
        store, workspace = self.controller.store, actor.workspace
        if wanted.snapshot_id:
            word = wanted.snapshot_id
            found = await self.db.read(
                lambda conn: self.snapshots.need_of(conn, workspace, sandbox, word)
            )
            return await self.of_snapshot(actor, account_id, found[1], wanted)
        document = await self.db.read(lambda conn: need_files(conn, store, workspace, sandbox))
        if wanted.target_type == "application":
            await self._check_application(actor, store.reveal(SANDBOXES, document)["spec"], wanted)
            row = await self.snapshots.take(actor, account_id, sandbox, contents="files")
            return await self.of_snapshot(actor, account_id, row, wanted)
        spec = store.reveal(SANDBOXES, document)["spec"]
        copied: list[Contents] = []

        async def fill(target: Document) -> None:
            source = Source(workspace, sandbox, document.id)
            copied.append(await self._copy(source, target, wanted.contents))

        await self._create(actor, account_id, spec, wanted, Origin(fill=fill))
        return ForkResponse(type="sandbox", name=wanted.target_name, contents=copied[0])

    async def of_snapshot(
        self, actor: Actor, account_id: str, row: SnapshotRow, wanted: ForkRequest
    ) -> ForkResponse:
        """Fork a snapshot, whether or not its sandbox is still there; see ``of_sandbox``."""
        _check(wanted)
        need_ready(row)
        spec, name = self.snapshots.spec_of(row), wanted.target_name
        if wanted.target_type == "application":
            await self._application(actor, row, spec, wanted)
            return ForkResponse(type="application", name=name, snapshot_id=row.id)
        contents = await self._contents(row, wanted)
        origin = Origin(
            layers=lambda conn: self._still_there(conn, row),
            memory=row.id if contents == "memory" else None,
        )
        await self._create(actor, account_id, spec, wanted, origin)
        return ForkResponse(type="sandbox", name=name, snapshot_id=row.id, contents=contents)

    async def _contents(self, row: SnapshotRow, wanted: ForkRequest) -> Contents:
        """What a fork of a snapshot begins with.

        Raises:
            Conflict: that is more than the snapshot has, or than can go on here.
        """
        contents = wanted.contents or row.level
        if contents == "memory" and row.level == "files":
            raise Conflict(
                f"Snapshot {row.name!r} holds files only; leave contents out.",
                code="SNAPSHOT_WITHOUT_MEMORY",
            )
        if contents == "memory":
            await self.snapshots.check_usable(row)
        return contents

    async def _create(
        self, actor: Actor, account_id: str, spec: Body, wanted: ForkRequest, origin: Origin
    ) -> None:
        body = self._sandbox(spec, wanted)
        await self.controller.create(actor, account_id, body, if_not_exist=False, origin=origin)

    def _sandbox(self, spec: Body, wanted: ForkRequest) -> Body:
        runtime = dict(spec["runtime"])
        runtime["envs"] = _merged(runtime.get("envs") or [], wanted)
        ports = list(runtime.get("ports") or [])
        if wanted.port is not None and all(one["target"] != wanted.port for one in ports):
            runtime["ports"] = [*ports, {"target": wanted.port}]
        spec = dict(spec) | {"runtime": runtime}
        spec["volumes"] = [one for one in spec.get("volumes") or [] if not is_kept(one)]
        if wanted.lifecycle is not None:
            spec["lifecycle"] = msgspec.to_builtins(wanted.lifecycle)
            for field in ("ttl", "expires"):
                runtime.pop(field, None)
        shape = msgspec.convert({"metadata": {"name": wanted.target_name}, "spec": spec}, Sandbox)
        return self.controller.store.wanted(SANDBOXES, shape)

    async def _copy(self, source: Source, target: Document, contents: Contents | None) -> Contents:
        """Give the target what the source has, as of one moment, and what its files lie on."""
        controller, sandbox = self.controller, source.name
        async with controller.live.lock(source.workspace, sandbox):

            def look(conn: Connection) -> tuple[str, ...]:
                if need_files(conn, controller.store, source.workspace, sandbox).id != source.id:
                    raise Conflict(
                        f"Sandbox {sandbox!r} was replaced meanwhile; try again.",
                        code="SANDBOX_REPLACED",
                    )
                return records.need(conn, source.id).layers

            layers = await self.db.read(look)
            await self.db.write(lambda conn: records.change(conn, target.id, layers=layers))
            try:
                copied = await controller.runtime.files.copy(source.id, target.id, contents)
            except RuntimeProblem as problem:
                raise explain(problem, f"The fork of sandbox {sandbox!r}") from problem
        memory = target.id if copied.contents == "memory" else None
        await self.db.write(lambda conn: records.change(conn, target.id, memory_from=memory))
        return copied.contents

    def _still_there(self, conn: Connection, row: SnapshotRow) -> tuple[str, ...]:
        need_ready(self.snapshots.need(conn, row.workspace, row.id))
        return row.layers

    async def _check_application(self, actor: Actor, spec: Body, wanted: ForkRequest) -> None:
        """Refuse what would be refused after the snapshot was taken."""
        self.controller.store.wanted(APPLICATIONS, _application(spec, wanted, "snap_0", None))

    async def _application(
        self, actor: Actor, row: SnapshotRow, spec: Body, wanted: ForkRequest
    ) -> None:
        store, name = self.controller.store, wanted.target_name

        def write(conn: Connection) -> Document:
            self._still_there(conn, row)
            old = documents.find(conn, actor.workspace, APPLICATIONS.name, name)
            before = store.reveal(APPLICATIONS, old)["spec"] if old is not None else None
            body = store.wanted(APPLICATIONS, _application(spec, wanted, row.id, before))
            if old is None:
                return store.create(conn, APPLICATIONS, actor, body)
            return store.replace(conn, APPLICATIONS, actor, old, body)

        self.on_change(APPLICATIONS.name, await self.db.write(write), False)


def _check(wanted: ForkRequest) -> None:
    check_name(wanted.target_name, "targetName")
    if wanted.port is not None and not 1 <= wanted.port <= 65535:
        raise BadRequest(f"port {wanted.port} is outside 1 to 65535.")
    if wanted.traffic is not None and not 0 <= wanted.traffic <= 100:
        raise BadRequest(f"traffic {wanted.traffic} is outside 0 to 100.")
    names = [env.name for env in wanted.envs or []]
    if len(set(names)) < len(names):
        raise BadRequest("envs has a name twice.")
    sent = msgspec.to_builtins(wanted)
    if wanted.target_type == "sandbox":
        for field in OF_APPLICATIONS:
            if sent.get(field) is not None:
                raise BadRequest(f"{field} is for applications only: targetType is 'sandbox'.")
    elif wanted.contents == "memory":
        raise BadRequest("contents 'memory' is for sandboxes only: targetType is 'application'.")
    elif wanted.lifecycle is not None:
        raise BadRequest("lifecycle is for sandboxes only: targetType is 'application'.")
    elif wanted.prefix and not wanted.custom_domain:
        raise BadRequest("prefix is the subdomain of a customDomain: send that too.")


def _merged(envs: list[Any], wanted: ForkRequest) -> list[Any]:
    """The source's variables, with those of the fork added or in their place."""
    given = {one["name"]: one for one in msgspec.to_builtins(wanted.envs or [])}
    kept = [given.pop(one["name"], one) for one in envs]
    return [*kept, *given.values()]


def _application(
    spec: Body, wanted: ForkRequest, snapshot_id: str, before: Body | None
) -> Application:
    runtime = spec["runtime"]
    ports = [port["target"] for port in runtime.get("ports") or []]
    compute: Body = {
        "image": runtime["image"],
        "memory": runtime["memory"],
        "port": wanted.port or next(iter(ports), PORT_DEFAULT),
        "envs": _merged(runtime.get("envs") or [], wanted),
        "snapshot": snapshot_id,
    }
    kept = {key: value for key, value in (before or {}).items() if key != "revision"}
    urls = list(kept.get("urls") or [])
    if wanted.custom_domain:
        url = {"domain": wanted.custom_domain}
        urls.append(url | ({"subdomain": wanted.prefix} if wanted.prefix else {}))
    if urls:
        kept["urls"] = urls
    if wanted.traffic is not None:
        kept["revision"] = {"traffic": wanted.traffic}
    body = {"metadata": {"name": wanted.target_name}, "spec": kept | compute}
    return msgspec.convert(body, Application)
