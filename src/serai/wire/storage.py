"""Volumes, volume templates and drives."""

from typing import Literal

from serai.wire.common import CoreEvent, Metadata, PageMeta, Status, Wire


class VolumeSpec(Wire):
    """``size`` is in MB and may only grow; region and template never change."""

    size: int | None = None
    region: str | None = None
    template: str | None = None


class VolumeState(Wire):
    """Who uses a volume now, as ``type:name``; empty when nobody does."""

    attached_to: str


class Volume(Wire):
    """Storage that outlives the workloads it is attached to."""

    metadata: Metadata
    spec: VolumeSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None
    state: VolumeState | None = None


class LiteVolumeMetadata(Wire):
    """What a list shows of a volume's metadata."""

    name: str
    display_name: str | None = None
    external_id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class LiteVolumeSpec(Wire):
    """What a list shows of a volume's spec."""

    size: int | None = None
    region: str | None = None


class LiteVolume(Wire):
    """A volume as lists show it."""

    metadata: LiteVolumeMetadata
    spec: LiteVolumeSpec
    status: Status | None = None
    state: VolumeState | None = None


class VolumeList(Wire):
    """A page of volumes."""

    data: list[LiteVolume]
    meta: PageMeta


class VolumeTemplateSpec(Wire):
    """``default_size`` is the size in MB of volumes that name none."""

    default_size: int | None = None
    description: str | None = None


class VolumeTemplateState(Wire):
    """The newest version that can be used, and how many there are."""

    status: Literal["created", "ready", "error"]
    version_count: int
    latest_version: str | None = None
    last_version_uploaded_at: str | None = None


class VolumeTemplateVersion(Wire):
    """One content of a template; ``content_size`` is the archive's size in bytes."""

    name: str
    version_id: str
    template_name: str
    workspace: str
    status: Literal["CREATED", "READY", "FAILED"]
    content_size: int | None = None


class VolumeTemplate(Wire):
    """Files that new volumes start with."""

    metadata: Metadata
    spec: VolumeTemplateSpec
    status: Status | None = None
    state: VolumeTemplateState | None = None
    versions: list[VolumeTemplateVersion] | None = None


class DeletedVersion(Wire):
    """The answer to deleting a version: what is left of the template."""

    message: str
    template: VolumeTemplate


class UploadedArchive(Wire):
    """The answer to an upload; sizes are in bytes."""

    message: str
    version: str
    content_size: int
    unpacked_size: int
    digest: str


class DrivePermission(Wire):
    """Workloads with all these labels may use a drive below ``path``."""

    labels: dict[str, str] | None = None
    mode: Literal["read", "read-write"] | None = None
    path: str | None = None


class DriveSpec(Wire):
    """Where a drive is and who may use it: everyone in the workspace without permissions."""

    region: str | None = None
    permissions: list[DrivePermission] | None = None


class DriveState(Wire):
    """How a drive is reached."""

    s3_url: str | None = None


class Drive(Wire):
    """Shared file storage that any number of workloads mount."""

    metadata: Metadata
    spec: DriveSpec
    status: Status | None = None
    events: list[CoreEvent] | None = None
    state: DriveState | None = None


class DriveList(Wire):
    """A page of drives."""

    data: list[Drive]
    meta: PageMeta


class DeletedDrive(Wire):
    """The answer to deleting a drive."""

    message: str
    name: str


class DriveAccessToken(Wire, rename=None, omit_defaults=False):
    """A bearer token for one drive; ``expires_in`` is in seconds."""

    access_token: str
    expires_in: int
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105


class DriveKey(Wire, rename=None, omit_defaults=False):
    """A public key (RFC 7517) that drive tokens are signed with: P-256."""

    kty: str
    crv: str
    x: str
    y: str
    kid: str
    alg: str
    use: str


class DriveKeys(Wire):
    """The keys of ``/drives/jwks.json``."""

    keys: list[DriveKey]


class DriveFolder(Wire):
    """A folder in a drive; ``path`` begins with a slash."""

    name: str
    path: str
