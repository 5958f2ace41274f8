"""Mounting drives in sandboxes while they run: ``/drives/mount`` of the sandbox API.

What runs in a sandbox must not reach the host's files by itself, so these calls never get to the
API inside: the gateway hands them over here, where the drive's permissions are looked up, and
the runtime mounts from outside.
"""

import re
from http import HTTPStatus

import msgspec
from sqlalchemy import Connection

from serai.compute import mount_records
from serai.compute.controller import SandboxController
from serai.compute.disks import DRIVE, allowed, mount_of
from serai.compute.kind import need_living
from serai.compute.mount_records import DriveMount
from serai.compute.mount_rules import mount_path
from serai.kernel.errors import BadRequest, Conflict, MethodNotAllowed, SeraiError
from serai.resources import documents
from serai.resources.kind import Body
from serai.runtime.port import Mount, RuntimeProblem, SandboxHandle
from serai.wire.sandbox_api import DriveList, DriveMounted, DriveRequest, DriveUnmounted

PLACE = "/drives/mount"
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}")
FOLDER_MAX = 4096
MOUNTS_MAX = 32


class MountFailed(SeraiError):
    """The runtime could not do it (500); the message says why."""

    code = "DRIVE_MOUNT_FAILED"


class DriveMounts:
    """Lists, mounts and unmounts drives."""

    def __init__(self, controller: SandboxController) -> None:
        self._controller = controller

    async def answer(
        self, workspace: str, sandbox: str, method: str, path: str, body: bytes
    ) -> tuple[int, bytes]:
        """Status and JSON body of a request; errors as the sandbox API shows them.

        Args:
            path: decoded, beginning with ``/drives/mount``.
        """
        try:
            found = await self._serve(workspace, sandbox, method, path.removeprefix(PLACE), body)
        except SeraiError as problem:
            return problem.status, msgspec.json.encode({"error": problem.message})
        return HTTPStatus.OK, msgspec.json.encode(found)

    async def _serve(
        self, workspace: str, sandbox: str, method: str, rest: str, body: bytes
    ) -> msgspec.Struct:
        if method == "DELETE":
            return await self.unmount(workspace, sandbox, rest)
        if method == "POST" and rest in {"", "/"}:
            return await self.mount(workspace, sandbox, _wanted(body))
        if method == "GET" and rest in {"", "/"}:
            return await self.mounted(workspace, sandbox)
        raise MethodNotAllowed(f"{method[:20]} is not possible here: use GET, POST or DELETE.")

    async def mounted(self, workspace: str, sandbox: str) -> DriveList:
        """What is mounted, by path."""
        rows = await self._controller.db.read(
            lambda conn: mount_records.of_sandbox(conn, workspace, sandbox)
        )
        return DriveList(mounts=[_shown(row) for row in rows])

    async def mount(self, workspace: str, sandbox: str, wanted: DriveRequest) -> DriveMounted:
        """Mount a drive; the same once more is fine.

        Raises:
            BadRequest: the drive is not there or closed to the sandbox, or the path is no place.
            Conflict: the path is in use.
            MountFailed: what is at the path inside is no directory.
        """
        path, folder = mount_path(_rooted(wanted.mount_path), "mountPath"), _folder(wanted)
        row = DriveMount(
            workspace=workspace,
            sandbox=sandbox,
            path=path,
            drive=wanted.drive_name,
            drive_id="",
            folder=folder,
            read_only=bool(wanted.read_only),
        )
        async with self._controller.live.lock(workspace, sandbox):
            row, mount, is_new = await self._controller.db.write(lambda conn: self._add(conn, row))
            try:
                await self._controller.runtime.mount(self._handle(workspace, sandbox), mount)
            except (RuntimeProblem, SeraiError) as problem:
                if is_new:
                    await self._drop(row)
                raise MountFailed(f"Failed to mount drive: {problem}") from problem
        shown = _shown(row)
        return DriveMounted(
            drive_name=shown.drive_name,
            mount_path=path,
            drive_path=folder,
            read_only=mount.read_only,
        )

    def _add(self, conn: Connection, row: DriveMount) -> tuple[DriveMount, Mount, bool]:
        document = need_living(conn, self._controller.store, row.workspace, row.sandbox)
        body: Body = msgspec.json.decode(document.body)
        drive = documents.find(conn, row.workspace, DRIVE, row.drive)
        if drive is None:
            raise BadRequest(
                f"Failed to mount drive: there is no drive {row.drive!r} in this workspace."
            )
        mode = allowed(drive, body, row.folder)
        if mode is None:
            raise BadRequest(
                f"Failed to mount drive: Permission denied: no permission of drive {row.drive!r} "
                f"is for {row.folder!r} and the labels of this sandbox."
            )
        read_only = row.read_only or mode == "read"
        row = msgspec.structs.replace(row, drive_id=drive.id, read_only=read_only)
        is_new = self._is_new(conn, row, body)
        if is_new:
            mount_records.add(conn, row)
        return row, mount_of(row, read_only=read_only), is_new

    def _is_new(self, conn: Connection, row: DriveMount, sandbox: Body) -> bool:
        """Whether the row is not there yet.

        Raises:
            Conflict: something else is mounted at its path.
            BadRequest: the sandbox has too many mounts.
        """
        rows = mount_records.of_sandbox(conn, row.workspace, row.sandbox)
        volumes = {volume["mountPath"] for volume in sandbox["spec"].get("volumes") or []}
        there = next((each for each in rows if each.path == row.path), None)
        if row.path in volumes or there not in (None, row):
            raise Conflict(
                f"Failed to mount drive: mount path already in use: {row.path}. Unmount what is "
                "there, or choose another path."
            )
        if there is None and len(rows) >= MOUNTS_MAX:
            raise BadRequest(f"Failed to mount drive: {MOUNTS_MAX} drives are mounted already.")
        return there is None

    async def unmount(self, workspace: str, sandbox: str, text: str) -> DriveUnmounted:
        """Take a drive away.

        Raises:
            BadRequest: no path was given.
            MountFailed: nothing is mounted there, or it is in use.
        """
        if not text.strip("/"):
            raise BadRequest("Mount path is required (must start with /)")
        path = mount_path(_rooted(text), "mountPath")
        async with self._controller.live.lock(workspace, sandbox):
            rows = await self._controller.db.read(
                lambda conn: mount_records.of_sandbox(conn, workspace, sandbox)
            )
            row = next((each for each in rows if each.path == path), None)
            if row is None:
                raise MountFailed(f"Failed to unmount drive: no drive is mounted at {path}")
            try:
                await self._controller.runtime.unmount(self._handle(workspace, sandbox), path)
            except RuntimeProblem as problem:
                raise MountFailed(f"Failed to unmount drive: {path}: {problem}") from problem
            await self._drop(row)
        return DriveUnmounted(mount_path=path)

    def _handle(self, workspace: str, sandbox: str) -> SandboxHandle:
        live = self._controller.live.by_name.get((workspace, sandbox))
        if live is None:
            raise MountFailed("the sandbox has just ended or gone to sleep; try again")
        return live.sandbox.handle

    async def _drop(self, row: DriveMount) -> None:
        await self._controller.db.write(
            lambda conn: mount_records.drop(conn, row.workspace, row.sandbox, row.path)
        )


def _wanted(body: bytes) -> DriveRequest:
    try:
        wanted = msgspec.json.decode(body, type=DriveRequest)
    except msgspec.DecodeError as error:
        raise BadRequest(f"invalid request body: {error}") from error
    if not wanted.drive_name or not wanted.mount_path:
        raise BadRequest("invalid request body: driveName and mountPath are required")
    if not NAME.fullmatch(wanted.drive_name):
        raise BadRequest(f"invalid request body: driveName {wanted.drive_name[:80]!r} is no name")
    return wanted


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _folder(wanted: DriveRequest) -> str:
    text = wanted.drive_path or "/"
    names = [name for name in text.split("/") if name not in {"", "."}]
    if not text.startswith("/") or ".." in names or len(text) > FOLDER_MAX or "\0" in text:
        raise BadRequest(
            f"invalid request body: drivePath {text[:80]!r} must start with '/' and have no '..'"
        )
    return "/" + "/".join(names)


def _shown(row: DriveMount) -> DriveRequest:
    return DriveRequest(
        drive_name=row.drive, mount_path=row.path, drive_path=row.folder, read_only=row.read_only
    )
