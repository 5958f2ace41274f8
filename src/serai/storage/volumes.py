"""The volume kind: defaults, rules, and what a volume starts with."""

from typing import Any

import msgspec
from sqlalchemy import Connection

from serai.kernel.errors import BadRequest, Conflict
from serai.resources import documents
from serai.resources.attachments import attachments
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind, Operations, Usage
from serai.resources.spans import meter
from serai.resources.store import Actor, DocumentStore
from serai.storage import template_records as records
from serai.storage.template_records import VersionRow
from serai.storage.templates import LATEST, SIZE_DEFAULT, TEMPLATES, check_size
from serai.wire.storage import Volume

MEGABYTE = 1024 * 1024
REGION_MAX = 63
LITE_METADATA = ("name", "displayName", "externalId", "createdAt", "updatedAt")
LITE_SPEC = ("size", "region")


def check_region(spec: Body) -> None:
    """A region is stored as given; empty means none."""
    region = spec.get("region")
    if not region:
        spec.pop("region", None)
    elif len(region) > REGION_MAX or not region.isprintable():
        raise BadRequest(f"spec.region {region[:80]!r} is not the name of a region.")


def keep_fixed(spec: Body, old: Body, field: str) -> None:
    """A field that never changes: absent means as it was.

    Raises:
        BadRequest: it differs from what it was.
    """
    if field not in spec and field in old:
        spec[field] = old[field]
    if spec.get(field) != old.get(field):
        raise BadRequest(
            f"spec.{field} cannot change after creation; it is {old.get(field, 'not set')!r}."
        )


def prepare_volume(body: Body) -> None:
    """The rules of volumes that need no look at other resources."""
    spec = body["spec"]
    check_size(spec.get("size"), "spec.size")
    check_region(spec)
    if not spec.get("template"):
        spec.pop("template", None)


RESERVED = Usage("volume_storage_gbs", "volume", lambda body: int(body["spec"]["size"]))
VOLUMES = Kind(
    name="volume",
    title="volume",
    path="volumes",
    shape=Volume,
    has_url=False,
    prepare=prepare_volume,
    operations=Operations.of("Volume"),
    usage=RESERVED,
)


class Volumes:
    """What can be done with volumes. Methods run inside the caller's transaction."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def create(self, conn: Connection, actor: Actor, body: Body) -> Document:
        """Store a new volume, with the template version that it starts with, if any.

        Raises:
            BadRequest: the template does not exist, has no content, or does not fit.
            Conflict: the name is taken.
        """
        spec = body["spec"]
        source = None
        if "template" in spec:
            template, source = self._source(conn, actor.workspace, spec["template"])
            spec["template"] = f"{template.name}:{source.name}"
            spec.setdefault("size", msgspec.json.decode(template.body)["spec"]["defaultSize"])
            _check_fits(spec["size"], source)
        spec.setdefault("size", SIZE_DEFAULT)
        document = self._store.create(conn, VOLUMES, actor, body)
        if source is not None and source.digest:
            records.fill_volume(conn, document.id, source.digest)
        return document

    def _source(
        self, conn: Connection, workspace: str, reference: str
    ) -> tuple[Document, VersionRow]:
        name, _, wanted = reference.partition(":")
        document = documents.find(conn, workspace, TEMPLATES.name, name)
        if document is None:
            raise BadRequest(f"spec.template: there is no volume template named {name[:80]!r}.")
        versions = records.of_template(conn, workspace, name)
        ready = [version for version in versions if version.status == "READY"]
        wanted = wanted or LATEST
        if wanted != LATEST:
            ready = [version for version in ready if version.name == wanted]
        if not ready:
            raise BadRequest(
                f"spec.template: volume template {name!r} has no version {wanted[:80]!r} with "
                "uploaded content."
            )
        return document, ready[-1]

    def replace(self, conn: Connection, actor: Actor, name: str, shape: Volume) -> Document:
        """Replace labels and names; the size may grow.

        Raises:
            BadRequest: the size shrinks, or the region or template changes.
        """
        old = self._store.need(conn, VOLUMES, actor.workspace, name)
        body = self._store.wanted(VOLUMES, shape, name)
        spec, before = body["spec"], msgspec.json.decode(old.body)["spec"]
        if spec.setdefault("size", before["size"]) < before["size"]:
            raise BadRequest(
                f"spec.size {spec['size']} is below the volume's size of {before['size']} MB; a "
                "volume can only grow."
            )
        if _is_same_template(spec.get("template"), before.get("template")):
            spec["template"] = before["template"]
        keep_fixed(spec, before, "template")
        keep_fixed(spec, before, "region")
        return self._store.replace(conn, VOLUMES, actor, old, body)

    def shrink_back(self, conn: Connection, document: Document, size: int) -> None:
        """Take a growth back that the disk has no room for."""
        body: Body = msgspec.json.decode(document.body)
        body["spec"]["size"] = size
        text = msgspec.json.encode(body).decode()
        documents.save(conn, msgspec.structs.replace(document, body=text))
        meter(conn, RESERVED, document, size)

    def delete(self, conn: Connection, actor: Actor, name: str) -> tuple[Document, str | None]:
        """Delete a volume; returns the archive it would have started with, too.

        Raises:
            Conflict: a workload uses it.
        """
        document = self._store.need(conn, VOLUMES, actor.workspace, name)
        user = attachments(conn, actor.workspace).get(name)
        if user is not None:
            raise Conflict(
                f"Volume {name!r} is attached to {user}; delete that, or take the volume out of "
                "its spec.volumes, first.",
                code="VOLUME_ATTACHED",
            )
        self._store.delete(conn, actor, document)
        meter(conn, RESERVED, document, 0)
        return document, records.forget_volume(conn, document.id)


def _is_same_template(wanted: str | None, fixed: str | None) -> bool:
    """Whether a reference such as ``name`` or ``name:latest`` is to the template that was used."""
    if wanted is None or fixed is None:
        return False
    name, _, version = wanted.partition(":")
    return version in {"", LATEST} and fixed.partition(":")[0] == name


def _check_fits(size: int, source: VersionRow) -> None:
    needed = -(-(source.unpacked_size or 0) // MEGABYTE)
    if needed > size:
        raise BadRequest(
            f"spec.size {size} is too small for the template's files, which take {needed} MB."
        )


def size_of(document: Document) -> int:
    """A volume's size in MB."""
    return int(msgspec.json.decode(document.body)["spec"]["size"])


def view(document: Document, attached: dict[str, str]) -> bytes:
    """A volume as clients see it."""
    body: Body = msgspec.json.decode(document.body)
    body["state"] = {"attachedTo": attached.get(document.name, "")}
    return msgspec.json.encode(body)


def lite(volume: Body, attached: dict[str, str]) -> dict[str, Any]:
    """A volume as lists show it."""
    metadata, spec = volume["metadata"], volume["spec"]
    shown: dict[str, Any] = {
        "metadata": {key: metadata[key] for key in LITE_METADATA if key in metadata},
        "spec": {key: spec[key] for key in LITE_SPEC if key in spec},
        "state": {"attachedTo": attached.get(metadata["name"], "")},
    }
    return shown | ({"status": volume["status"]} if "status" in volume else {})
