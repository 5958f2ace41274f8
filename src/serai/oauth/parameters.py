"""The body of a protocol request: a form, as the standards want, or JSON, as the SDKs send."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from serai.oauth.protocol import refusal

BODY_MAX = 64 * 1024
COUNT_MAX = 40
VALUE_MAX = 8192
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def parse(body: bytes, content_type: str) -> dict[str, str]:
    """The parameters that have a value.

    Raises:
        OAuth2Error: ``invalid_request``, naming the parameter where one is at fault.
    """
    if len(body) > BODY_MAX:
        raise refusal("invalid_request", f"The body is larger than {BODY_MAX // 1024} KiB.", 413)
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {FORM, JSON} and body:
        raise refusal("invalid_request", f"Content-Type has to be {FORM} or {JSON}.")
    pairs = _form(body) if kind == FORM else _json(body) if body else []
    return _collect(pairs)


def _form(body: bytes) -> list[tuple[str, Any]]:
    try:
        text = body.decode("ascii")
        return list(parse_qsl(text, keep_blank_values=True, max_num_fields=COUNT_MAX))
    except ValueError:
        raise refusal(
            "invalid_request", f"The body is not a form of at most {COUNT_MAX} fields."
        ) from None


def _json(body: bytes) -> list[tuple[str, Any]]:
    try:
        found = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raise refusal("invalid_request", "The body is not valid JSON.") from None
    if not isinstance(found, _Pairs):
        raise refusal("invalid_request", "The body has to be a JSON object.")
    return found


class _Pairs(list[tuple[str, Any]]):
    """A JSON object whose repeated names are still seen."""


def _collect(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    values: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise refusal("invalid_request", f"{name[:80]} comes more than once.")
        seen.add(name)
        if value in (None, ""):
            continue
        if not isinstance(value, str):
            raise refusal("invalid_request", f"{name[:80]} has to be text.")
        if len(value) > VALUE_MAX or not (value.isascii() and value.isprintable()):
            raise refusal(
                "invalid_request",
                f"{name[:80]} is not at most {VALUE_MAX} characters of printable ASCII.",
            )
        values[name] = value
    return values
