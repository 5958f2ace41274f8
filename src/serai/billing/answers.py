"""Answers with money in them, and whether a client wants a file instead."""

import re
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Response

from serai.api.exchange import AnyRequest, json_response
from serai.metering.money import plain

WANTS_CSV = re.compile(r"\s*text/csv\b", re.IGNORECASE)


def wants_csv(request: AnyRequest) -> bool:
    """Whether the first type that a client accepts is CSV."""
    return WANTS_CSV.match(request.headers.get("accept", "")) is not None


def money_answer(content: Any) -> Response[bytes]:
    """A 200 answer from Structs whose decimals are sent as text without exponents."""
    found = msgspec.to_builtins(content, builtin_types=(Decimal,))
    return json_response(msgspec.json.encode(_plain(found)))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
