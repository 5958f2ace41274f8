"""Resource types, tags and references of images."""

import re
from typing import get_args

from serai.kernel.errors import BadRequest, NotFound
from serai.wire.images import ResourceType

TYPES: tuple[ResourceType, ...] = get_args(ResourceType)
PLURALS: dict[str, ResourceType] = {
    **{name: name for name in TYPES},
    "agents": "agent",
    "applications": "application",
    "functions": "function",
    "jobs": "job",
    "sandboxes": "sandbox",
    "sandboxs": "sandbox",
}
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
RESERVED_TAGS = frozenset({"latest", "pending", "failed"})
DEFAULT_TAG = "latest"


def wanted_type(text: str) -> ResourceType:
    """The resource type a body names, in singular or plural.

    Raises:
        BadRequest: there is no such type.
    """
    found = PLURALS.get(text.lower())
    if found is None:
        raise BadRequest(f"resourceType {text[:40]!r} is unknown; use one of {', '.join(TYPES)}.")
    return found


def wanted_tag(text: str) -> str:
    """The tag itself when a client may give it to an image.

    Raises:
        BadRequest: naming the rule.
    """
    if not TAG.match(text):
        raise BadRequest(
            f"tag {text[:80]!r} is not valid: use 1 to 128 letters, digits, dots, hyphens and "
            "underscores, and no dot or hyphen in front."
        )
    if text in RESERVED_TAGS:
        raise BadRequest(f"tag {text!r} is reserved; use another one.")
    return text


def split_reference(reference: str) -> tuple[str, str | None]:
    """Repository and tag of a reference; a registry's port is no tag, a digest is left out."""
    path, _, _ = reference.partition("@")
    repository, colon, tag = path.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (path, None)


def refers(
    reference: str, workspace: str, resource_type: str, name: str, tag: str | None = None
) -> bool:
    """Whether a resource's image reference means this image, and this tag when one is given.

    All spellings count that clients use: the bare name, ``{type}/{name}`` in singular or plural,
    ``{workspace}/{name}`` and ``{workspace}/{type}/{name}``.
    """
    repository, given = split_reference(reference)
    prefix, _, last = repository.rpartition("/")
    if last != name or (tag is not None and (given or DEFAULT_TAG) != tag):
        return False
    owner, _, rest = prefix.partition("/")
    kind = rest if owner == workspace else prefix
    return not kind or PLURALS.get(kind) == resource_type


def image_not_found(resource_type: str | None, name: str) -> NotFound:
    """The answer when a workspace sees no such image."""
    what = f"{resource_type} image" if resource_type else "image"
    return NotFound(
        f"There is no {what[:60]} named {name[:80]!r} in this workspace.", code="IMAGE_NOT_FOUND"
    )
