"""JSON answers with money in them."""

from decimal import Decimal
from typing import Any

import msgspec
from litestar import Response

from serai.api.exchange import json_response
from serai.metering.money import plain


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
