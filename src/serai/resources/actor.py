"""Who changes something, where, and whether what they change is still what they saw."""

import msgspec

from serai.api.exchange import Origin
from serai.kernel.errors import Conflict
from serai.resources.documents import Document


class Actor(msgspec.Struct, frozen=True):
    """Who changes a document, and where.

    Attributes:
        workspace: of the request.
        email: the user's address, or the service account's name.
        subject: id of the user or service account.
        credential: id of the API key.
        account_id: the account of the credential.
        origin: where the request comes from.
    """

    workspace: str
    email: str
    subject: str = ""
    credential: str = ""
    account_id: str = ""
    origin: Origin = msgspec.field(default_factory=Origin)


def entity_tag(document: Document) -> str:
    """The ``ETag`` of a document: another one after each change that a client made."""
    return f'"{document.id[:8]}-{document.generation}"'


def check_match(actor: Actor, document: Document) -> None:
    """Refuse a change when the request's ``If-Match`` names another state of the document.

    Raises:
        Conflict: somebody else changed the document, or made it anew.
    """
    sent = actor.origin.if_match
    if sent is None:
        return
    tags = {tag.strip().removeprefix("W/") for tag in sent.split(",")}
    current = entity_tag(document)
    if tags.isdisjoint({"*", current}):
        raise Conflict(
            f"{document.name!r} has changed since you read it: its ETag is {current}, If-Match "
            f"says {sent[:120]}. Read it again, apply your change to that and send the new ETag.",
            code="GENERATION_CONFLICT",
            details={"etag": current, "generation": document.generation},
        )
