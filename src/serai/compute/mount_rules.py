"""What a sandbox may say about its volumes, and who may mount which part of a drive."""

import re
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from serai.kernel.errors import BadRequest, Conflict
from serai.resources import documents
from serai.resources.attachments import attachments
from serai.resources.kind import Body

VOLUME = "volume"
PATH_MAX = 512
VOLUMES_MAX = 16
EPHEMERAL_MAX_MB = 10 * 1024 * 1024
SYSTEM = frozenset({"proc", "sys", "dev"})
"""The kernel's own: nothing is mounted at or below these."""
PROGRAMS = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc"})
"""Nothing runs any more in a sandbox where one of these is covered."""
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62})")


def mount_path(text: str | None, field: str) -> str:
    """A place in a sandbox at which something may be mounted, in its shortest form.

    Raises:
        BadRequest: it is none.
    """
    path = text or ""
    names = [name for name in path.split("/") if name not in {"", "."}]
    if not path.startswith("/") or len(path) > PATH_MAX or ".." in names or not path.isprintable():
        raise BadRequest(
            f"{field} {path[:80]!r} is not an absolute path: begin with '/', use at most "
            f"{PATH_MAX} characters and no '..'."
        )
    if not names or names[0] in SYSTEM or (len(names) == 1 and names[0] in PROGRAMS):
        raise BadRequest(
            f"{field} {path[:80]!r} belongs to the system of the sandbox; choose a directory "
            "such as /data."
        )
    return "/" + "/".join(names)


def prepare_volumes(spec: Body) -> None:
    """Check and normalise ``spec.volumes``.

    Raises:
        BadRequest: naming the entry and what is wrong with it.
    """
    volumes = spec.get("volumes")
    if not volumes:
        spec.pop("volumes", None)
        return
    if len(volumes) > VOLUMES_MAX:
        raise BadRequest(f"spec.volumes has {len(volumes)} entries; at most {VOLUMES_MAX}.")
    paths: set[str] = set()
    names: set[str] = set()
    for number, volume in enumerate(volumes):
        field = f"spec.volumes[{number}]"
        path = volume["mountPath"] = mount_path(volume.get("mountPath"), f"{field}.mountPath")
        if path in paths:
            raise BadRequest(f"{field}.mountPath {path!r} is used by another volume.")
        paths.add(path)
        name = volume.get("name") or ""
        if volume.get("type") == "ephemeral":
            _check_ephemeral(volume, field)
        elif not NAME.fullmatch(name) or name in names:
            raise BadRequest(f"{field}.name {name[:80]!r} must name a volume, each only once.")
        names.add(name)


def _check_ephemeral(volume: Body, field: str) -> None:
    size = volume.get("sizeMb")
    if size is None or not 1 <= size <= EPHEMERAL_MAX_MB:
        raise BadRequest(
            f"{field}.sizeMb {size} is outside 1 to {EPHEMERAL_MAX_MB} (MB), which an ephemeral "
            "volume needs."
        )


def is_kept(volume: Body) -> bool:
    """Whether an attachment is of a volume that is a resource of its own."""
    return volume.get("type") != "ephemeral"


def take_volumes(conn: Connection, workspace: str, spec: Body) -> None:
    """Make sure that a new sandbox can have its volumes.

    Raises:
        BadRequest: there is no such volume, or it is in another region.
        Conflict: another workload has it.
    """
    kept = [volume for volume in spec.get("volumes") or [] if is_kept(volume)]
    users = attachments(conn, workspace) if kept else {}
    for volume in kept:
        name = volume["name"]
        document = documents.find(conn, workspace, VOLUME, name)
        if document is None:
            raise BadRequest(
                f"spec.volumes: there is no volume named {name!r} in workspace {workspace!r}; "
                "create it first.",
                code="VOLUME_NOT_FOUND",
            )
        if name in users:
            raise Conflict(
                f"Volume {name!r} is attached to {users[name]}; a volume is used by one workload "
                "at a time: delete that first.",
                code="VOLUME_ATTACHED",
            )
        region = msgspec.json.decode(document.body)["spec"].get("region")
        if region and spec.get("region") and region != spec["region"]:
            raise BadRequest(
                f"spec.region {spec['region']!r} is not the region of volume {name!r}, {region!r}."
            )


def keep_volumes(before: Body, wanted: Body) -> None:
    """Volumes are attached when a sandbox is created, and stay.

    Raises:
        BadRequest: others are wanted.
    """
    if "volumes" not in wanted and "volumes" in before:
        wanted["volumes"] = before["volumes"]
    if wanted.get("volumes") != before.get("volumes"):
        raise BadRequest(
            "spec.volumes cannot change while the sandbox lives: delete it and create it again."
        )


def granted(permissions: Sequence[Body], labels: dict[str, str], folder: str) -> str | None:
    """How workloads with these labels may use a folder of a drive: ``read``, ``read-write``, None.

    The first permission counts whose labels the workload has and whose path leads to the
    folder; a drive without permissions is open to the workspace.
    """
    if not permissions:
        return "read-write"
    for permission in permissions:
        wanted = permission.get("labels") or {}
        if wanted.items() <= labels.items() and _is_below(folder, permission.get("path") or "/"):
            return str(permission.get("mode") or "read-write")
    return None


def _is_below(folder: str, path: str) -> bool:
    return path == "/" or folder == path or folder.startswith(path.rstrip("/") + "/")
