"""What makes one kind of resource differ from another."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from serai.resources.masking import Slot
from serai.wire.common import RevisionMetadata

Body = dict[str, Any]


def no_secrets(body: Body) -> Iterator[Slot]:
    """For kinds that hold no secrets."""
    yield from ()


def nothing_to_check(body: Body) -> None:
    """For kinds whose shape says all there is to say."""


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """The operation ids of the contract for a kind's generic operations; empty: none known."""

    list: str = ""
    get: str = ""
    create: str = ""
    replace: str = ""
    delete: str = ""
    revisions: str = ""

    @classmethod
    def of(cls, one: str, many: str = "") -> "Operations":
        """The regular ids: ``of("Agent")`` has ListAgents, GetAgent, ListAgentRevisions…"""
        return cls(
            list=f"List{many or one + 's'}",
            get=f"Get{one}",
            create=f"Create{one}",
            replace=f"Update{one}",
            delete=f"Delete{one}",
            revisions=f"List{one}Revisions",
        )


class Usage(msgspec.Struct, frozen=True):
    """What a resource uses for as long as it is there.

    Attributes:
        dimension: of the bill, for example ``volume_storage_gbs``.
        type: what the bill calls such a resource.
        rate: of a body, how much per millisecond, see ``serai.resources.spans``.
    """

    dimension: str
    type: str
    rate: Callable[["Body"], int]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of resource.

    Attributes:
        name: as the store knows it, for example ``agent``.
        title: in messages, for example ``integration connection``.
        path: below ``/v0``, for example ``agents`` or ``integrations/connections``; for a kind
            whose documents belong to others with ``{parent}``, ``sandboxes/{parent}/previews``.
        owner: the kind of that parent.
        shape: the Struct of its body.
        paged: whether lists are pages from 2026-04-28 on; others are bare arrays for ever.
        status: status of a new document; empty when the kind has none.
        has_url: whether ``metadata.url`` leads to it through the gateway.
        prepare: completes defaults and checks a wanted body, in place; raises BadRequest.
        secrets: where in a body secret values stand.
        versioned: whether its last revisions are kept.
        built: whether its code can be uploaded (``?upload=true``), of which an image is made.
        routed: whether ``spec.revision`` says which revision serves; else the newest does.
        revision_shape: the Struct of one of its revisions.
        operations: what the contract calls its list, get, create, replace and delete.
        usage: what one uses by being there.
        list_query: names and types of parameters that only its list takes.
    """

    name: str
    title: str
    path: str
    shape: type[Any]
    owner: "Kind | None" = None
    paged: bool = True
    status: str = "DEPLOYED"
    has_url: bool = True
    prepare: Callable[[Body], None] = nothing_to_check
    secrets: Callable[[Body], Iterator[Slot]] = no_secrets
    versioned: bool = False
    built: bool = False
    routed: bool = True
    revision_shape: type[Any] = RevisionMetadata
    operations: Operations = Operations()
    usage: Usage | None = None
    list_query: dict[str, Any] = {}

    @property
    def has_events(self) -> bool:
        """Whether a single document is answered with its ``events``: its shape says so."""
        return "events" in self.shape.__struct_fields__
