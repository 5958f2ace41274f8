"""``?upload=true``: a document whose code comes by an upload of its own."""

from typing import Protocol

import msgspec
from litestar import Response
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, flag, json_response
from serai.resources.actor import Actor, entity_tag
from serai.resources.documents import Document
from serai.resources.kind import Kind

UPLOAD = {"upload": bool}
HEADER = "X-Blaxel-Upload-Url"
WAITING = "UPLOADING"
"""Status of a document, and of its new revision, until the code is there."""


class Opened(msgspec.Struct, frozen=True):
    """An upload that is waited for: where it goes."""

    url: str


class Uploads(Protocol):
    """Takes code and makes images of it."""

    def open(self, conn: Connection, actor: Actor, kind: Kind, document: Document) -> Opened:
        """Wait for the code of a document's newest revision, and no more for that of older ones.

        Raises:
            BadRequest: a label asks for a build that is not possible.
        """


def wants_upload(request: AnyRequest) -> bool:
    """Whether a write announces an upload.

    Raises:
        BadRequest: the parameter is no boolean.
    """
    return flag(request, "upload")


def answer_opened(document: Document, opened: Opened, body: bytes) -> Response[bytes]:
    """A write's answer with the place where the code is sent to."""
    return json_response(body, {"ETag": entity_tag(document), HEADER: opened.url})
