"""Volume templates: documents with versions, each the content of one uploaded archive."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, Conflict, NotFound
from serai.kernel.ids import token
from serai.resources.documents import Document
from serai.resources.kind import Body, Kind, Operations
from serai.resources.store import Actor, DocumentStore
from serai.storage import template_records as records
from serai.storage.archives import Archives, Received
from serai.storage.template_records import VersionRow
from serai.storage.uploads import UploadSigner
from serai.store.database import Database
from serai.wire.storage import (
    UploadedArchive,
    VolumeTemplate,
    VolumeTemplateState,
    VolumeTemplateVersion,
)

VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
LATEST = "latest"
VERSIONS_KEPT = 10
SIZE_DEFAULT = 1024
SIZE_MAX = 10 * 1024 * 1024
DESCRIPTION_MAX = 2000
STATUSES = {"created": "UPLOADING", "ready": "DEPLOYED", "error": "FAILED"}


def check_size(size: int | None, field: str) -> None:
    """A size in MB must be one that a disk can have."""
    if size is not None and not 1 <= size <= SIZE_MAX:
        raise BadRequest(f"{field} {size} is outside 1 to {SIZE_MAX} (MB).")


def prepare_template(body: Body) -> None:
    """The rules of volume templates."""
    spec = body["spec"]
    check_size(spec.setdefault("defaultSize", SIZE_DEFAULT), "spec.defaultSize")
    if len(spec.get("description") or "") > DESCRIPTION_MAX:
        raise BadRequest(f"spec.description is longer than {DESCRIPTION_MAX} characters.")


TEMPLATES = Kind(
    name="volume_template",
    title="volume template",
    path="volume_templates",
    shape=VolumeTemplate,
    paged=False,
    status="",
    has_url=False,
    prepare=prepare_template,
    operations=Operations.of("VolumeTemplate"),
)


class Templates:
    """Versions of templates, and the archives that they and volumes need."""

    def __init__(
        self, db: Database, store: DocumentStore, archives: Archives, signer: UploadSigner
    ) -> None:
        self._db = db
        self._store = store
        self._archives = archives
        self._signer = signer
        # Files and rows change together under this lock, or an archive could be dropped between
        # the moment it is put in place and the moment a row names it.
        self._lock = asyncio.Lock()

    def prepare(self) -> None:
        """Make the archive directory and drop what nothing needs; call before serving."""
        self._archives.prepare(self._db.read_now(records.digests))

    def upload_url(self, version: VersionRow) -> str:
        """Where to send the content of a version."""
        return self._signer.url(version.id)

    def open_version(
        self, conn: Connection, workspace: str, template: str, name: str | None, at: datetime
    ) -> VersionRow:
        """A version that waits for its content; one that waited before is taken again.

        Raises:
            BadRequest: the name breaks a rule.
            Conflict: a version of that name has its content.
        """
        versions = records.of_template(conn, workspace, template)
        number = max((version.number for version in versions), default=0) + 1
        name = _version_name(name, versions, number)
        found = next((version for version in versions if version.name == name), None)
        if found is not None and found.status == "READY":
            raise Conflict(
                f"Version {name!r} of volume template {template!r} exists already; a version "
                "never changes. Leave version out, or give it another name.",
                code="VERSION_ALREADY_EXISTS",
            )
        if found is not None:
            return found
        row = VersionRow(
            id=token(24),
            workspace=workspace,
            template=template,
            name=name,
            number=number,
            status="CREATED",
            digest=None,
            content_size=None,
            unpacked_size=None,
            created_at=rfc3339(at),
            uploaded_at=None,
        )
        records.add(conn, row)
        waiting = [version for version in versions if version.status != "READY"]
        for version in waiting[: max(0, len(waiting) + 1 - VERSIONS_KEPT)]:
            records.drop(conn, version)
        return row

    async def upload(self, token: str, chunks: AsyncIterator[bytes]) -> UploadedArchive:
        """Take the content of a version.

        Raises:
            Forbidden: the token is not ours or too old.
            NotFound: the version is gone.
            Conflict: the version has other content already.
            BadRequest: the content is no usable archive; the version is marked as failed.
        """
        version_id = self._signer.read(token).version_id
        version = await self._db.read(lambda conn: _waiting(conn, version_id))
        try:
            received = await self._archives.receive(chunks)
        except BadRequest:
            await self._db.write(lambda conn: _fail(conn, version_id))
            raise
        archive = received.archive
        async with self._lock:
            await self._put_in_place(version_id, received)
        return UploadedArchive(
            message="Upload received",
            version=version.name,
            content_size=archive.size,
            unpacked_size=archive.unpacked,
            digest=f"sha256:{archive.digest}",
        )

    async def _put_in_place(self, version_id: str, received: Received) -> None:
        self._archives.keep(received)
        digest, stale = received.archive.digest, set[str]()
        try:
            stale = await self._db.write(lambda conn: _complete(conn, version_id, received))
        finally:
            await self._drop_unneeded({digest, *stale})

    async def delete_version(self, workspace: str, template: str, name: str) -> Document:
        """Forget a version; volumes made from it keep what they start with.

        Raises:
            NotFound: there is no such template or version.
            BadRequest: it is the only one.
        """

        def write(conn: Connection) -> tuple[Document, str | None]:
            document = self._store.need(conn, TEMPLATES, workspace, template)
            versions = records.of_template(conn, workspace, template)
            found = next((version for version in versions if version.name == name), None)
            if found is None:
                raise NotFound(
                    f"Volume template {template!r} has no version {name[:80]!r}.",
                    code="VERSION_NOT_FOUND",
                )
            if len(versions) == 1:
                raise BadRequest(
                    f"{name!r} is the only version of volume template {template!r}; delete the "
                    "template instead.",
                    code="ONLY_VERSION",
                )
            records.drop(conn, found)
            return document, found.digest

        async with self._lock:
            document, digest = await self._db.write(write)
            await self._drop_unneeded({digest})
        return document

    async def delete(self, actor: Actor, name: str) -> tuple[Document, list[VersionRow]]:
        """Delete a template with its versions; returns what it was."""

        def write(conn: Connection) -> tuple[Document, list[VersionRow]]:
            document = self._store.need(conn, TEMPLATES, actor.workspace, name)
            versions = records.of_template(conn, actor.workspace, name)
            for version in versions:
                records.drop(conn, version)
            self._store.delete(conn, actor, document)
            return document, versions

        async with self._lock:
            document, versions = await self._db.write(write)
            await self._drop_unneeded({version.digest for version in versions})
        return document, versions

    async def release(self, digest: str | None) -> None:
        """Drop an archive that a volume needed, if nothing else does."""
        async with self._lock:
            await self._drop_unneeded({digest})

    async def _drop_unneeded(self, digests: set[str | None] | set[str]) -> None:
        for digest in digests:
            if digest and not await self._db.read(
                lambda conn, digest=digest: records.is_needed(conn, digest)  # type: ignore[misc]
            ):
                self._archives.drop(digest)


def _version_name(name: str | None, versions: list[VersionRow], number: int) -> str:
    if name is None:
        taken = {version.name for version in versions}
        while str(number) in taken:
            number += 1
        return str(number)
    if name == LATEST or not VERSION_NAME.match(name):
        raise BadRequest(
            f"version {name[:80]!r} is not a valid name: use 1 to 63 letters, digits, '-', '_' and "
            "'.', the first a letter or digit, and not 'latest'."
        )
    return name


def _waiting(conn: Connection, version_id: str) -> VersionRow:
    version = records.get(conn, version_id)
    if version is None:
        raise NotFound("The version that this upload URL was made for is gone.")
    if version.status == "READY":
        raise Conflict(
            f"Version {version.name!r} of volume template {version.template!r} has its content "
            "already; create a new version to change it.",
            code="VERSION_ALREADY_EXISTS",
        )
    return version


def _fail(conn: Connection, version_id: str) -> None:
    version = records.get(conn, version_id)
    if version is not None and version.status == "CREATED":
        records.save(conn, msgspec.structs.replace(version, status="FAILED"))


def _complete(conn: Connection, version_id: str, received: Received) -> set[str]:
    """The version is ready; returns the archives of versions that had to go for it."""
    archive = received.archive
    version = msgspec.structs.replace(
        _waiting(conn, version_id),
        status="READY",
        digest=archive.digest,
        content_size=archive.size,
        unpacked_size=archive.unpacked,
        uploaded_at=rfc3339(now()),
    )
    records.save(conn, version)
    siblings = records.of_template(conn, version.workspace, version.template)
    ready = [sibling for sibling in siblings if sibling.status == "READY"]
    gone = ready[: max(0, len(ready) - VERSIONS_KEPT)]
    for sibling in gone:
        records.drop(conn, sibling)
    return {sibling.digest for sibling in gone if sibling.digest}


def view(document: Document, versions: list[VersionRow]) -> bytes:
    """A template as clients see it, with its versions."""
    state = _state(versions)
    body: Body = msgspec.json.decode(document.body)
    body["state"] = state
    body["status"] = STATUSES[state.status]
    body["versions"] = [_version_view(version) for version in versions]
    return msgspec.json.encode(body)


def _state(versions: list[VersionRow]) -> VolumeTemplateState:
    ready = [version for version in versions if version.status == "READY"]
    if not ready:
        failed = bool(versions) and versions[-1].status == "FAILED"
        status = "error" if failed else "created"
        return VolumeTemplateState(status=status, version_count=len(versions))  # type: ignore[arg-type]
    return VolumeTemplateState(
        status="ready",
        version_count=len(versions),
        latest_version=ready[-1].name,
        last_version_uploaded_at=ready[-1].uploaded_at,
    )


def _version_view(version: VersionRow) -> VolumeTemplateVersion:
    return VolumeTemplateVersion(
        name=version.name,
        version_id=version.id,
        template_name=version.template,
        workspace=version.workspace,
        status=version.status,
        content_size=version.content_size,
    )
