"""Shapes that every resource shares.

All Structs here are keyword-only, camelCase on the wire, and leave out what is ``None``: clients
parse several empty objects and nulls wrongly, so absent means absent.
"""

from typing import Literal

import msgspec


class Wire(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of every public shape."""


Status = Literal[
    "UPLOADING",
    "BUILDING",
    "BUILT",
    "DEPLOYING",
    "DEPLOYED",
    "FAILED",
    "DEACTIVATING",
    "DEACTIVATED",
    "DELETING",
    "TERMINATED",
    "ARCHIVING",
    "ARCHIVED",
    "UNARCHIVING",
]


class Metadata(Wire):
    """Name, labels, times and owners of a resource.

    Clients write ``name``, ``displayName``, ``labels`` and ``externalId``; the platform writes
    the rest and ignores what clients send there.
    """

    name: str | None = None
    display_name: str | None = None
    external_id: str | None = None
    labels: dict[str, str] | None = None
    workspace: str | None = None
    url: str | None = None
    plan: str | None = None
    created_at: str | None = None
    created_by: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None


class Env(Wire):
    """An environment variable; with ``secret`` its value is encrypted and masked in answers."""

    name: str
    value: str = ""
    secret: bool | None = None

    def __post_init__(self) -> None:
        if not self.name or "=" in self.name or "\0" in self.name + self.value:
            raise ValueError(f"environment variable name {self.name!r} is empty or contains '='")


class Port(Wire):
    """A port that a workload listens on."""

    target: int
    name: str | None = None
    protocol: Literal["HTTP", "TCP", "UDP", "TLS"] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.target <= 65535:
            raise ValueError(f"port target {self.target} is outside 1 to 65535")


class Flavor(Wire):
    """A hardware flavor."""

    name: str | None = None
    type: Literal["cpu", "gpu"] | None = None


class VolumeAttachment(Wire):
    """A volume and where a workload sees it."""

    name: str | None = None
    mount_path: str | None = None
    read_only: bool | None = None
    size_mb: int | None = None
    type: Literal["persistent", "ephemeral"] | None = None


class CoreEvent(Wire):
    """Something that happened to a resource; only shown with a single resource.

    ``status`` is the resource's status afterwards, ``time`` RFC 3339.
    """

    time: str | None = None
    type: str | None = None
    status: str | None = None
    message: str | None = None
    revision: str | None = None
    canary_revision: str | None = None


class RevisionMetadata(Wire):
    """One of the last revisions of a deployment, and what share of the traffic it takes."""

    id: str | None = None
    active: bool | None = None
    canary: bool | None = None
    previous_active: bool | None = None
    traffic_percent: int | None = None
    status: str | None = None
    created_at: str | None = None
    created_by: str | None = None


class PageMeta(Wire, omit_defaults=False):
    """Where a page stands in its list; ``next_cursor`` is empty on the last page."""

    has_more: bool
    next_cursor: str
    total: int
