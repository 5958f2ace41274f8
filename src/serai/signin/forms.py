"""Reading forms, and telling our own forms from those of other sites."""

import hmac
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar.exceptions import HTTPException

from serai.api.exchange import AnyRequest
from serai.kernel.errors import BadRequest, Forbidden

TYPE = "application/x-www-form-urlencoded"
BYTES_MAX = 32 * 1024
FIELDS_MAX = 40
TOKEN = "form_token"  # noqa: S105 - a field's name
FOREIGN = "This form was sent from another site, so nothing was done. Open the page here instead."
SCRIPTED = b"This page is for people: open it in a window of its own.\n"
STALE = (
    "This form is not valid any more, so nothing was done: go back, reload the page and send it "
    "again. The browser must accept cookies from this site."
)


async def read_form(request: AnyRequest) -> dict[str, str]:
    """The fields of a form; of several with one name the first counts.

    Raises:
        BadRequest: it is no form, or larger than any of ours.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != TYPE:
        raise BadRequest(f"Send the form as {TYPE}.")
    try:
        body = await request.body()
    except HTTPException as problem:
        raise BadRequest("The form did not arrive in full.") from problem
    if len(body) > BYTES_MAX:
        raise BadRequest("The form is too large.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"
        )
    except ValueError as problem:
        raise BadRequest("The form cannot be read: it is not UTF-8, or has too many fields.") from (
            problem
        )
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value.replace("\0", ""))
    return fields


def is_scripted(headers: Any) -> bool:
    """Whether something else than a window of its own asks for a page: a script or a frame.

    Apps in previews share our origin, so to a browser their scripts may read what they fetch from
    us. Browsers say what asks in ``Sec-Fetch-Dest``, on https and for this machine's own address.
    """
    return bool(headers.get("sec-fetch-dest", "document") != "document")


def check_source(headers: Any, origin: str) -> None:
    """Refuse a form that a browser says comes from another site.

    Raises:
        Forbidden: it does.
    """
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden(FOREIGN)
    sent = headers.get("origin")
    if sent is None or sent == origin:
        return
    # The same server by another name, as behind a proxy or as localhost.
    if sent == "null" or urlsplit(sent).netloc != headers.get("host"):
        raise Forbidden(FOREIGN)


def check_token(fields: dict[str, str], expected: str) -> None:
    """Refuse a form that was not made for this browser.

    Raises:
        Forbidden: the token is missing or another one.
    """
    given = fields.get(TOKEN, "")
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Forbidden(STALE)
