"""Opaque page cursors: bound to the query that made them, readable for 24 hours."""

import base64
import hashlib
import hmac
import time

import msgspec

from serai.kernel.errors import BadRequest

LIFETIME_SECONDS = 24 * 3600
MAC_BYTES = 12


class CursorCodec:
    """Writes and reads cursors with a key only the server has."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, query: str, position: list[str], at: float | None = None) -> str:
        """A cursor for ``position`` in the list that ``query`` describes."""
        issued = int(time.time() if at is None else at)
        payload = msgspec.json.encode([issued, position])
        return base64.urlsafe_b64encode(self._mac(query, payload) + payload).decode().rstrip("=")

    def decode(self, query: str, cursor: str, at: float | None = None) -> list[str]:
        """The position of a cursor made for the same query.

        Raises:
            BadRequest: damaged, made for another query, or older than 24 hours.
        """
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            raw = b""
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(query, payload)):
            raise BadRequest(
                "cursor does not belong to this query: start again without a cursor, and keep "
                "workspace, sort, q and filters the same from page to page.",
                code="INVALID_CURSOR",
            )
        issued, position = msgspec.json.decode(payload, type=tuple[int, list[str]])
        if (time.time() if at is None else at) - issued > LIFETIME_SECONDS:
            raise BadRequest(
                "cursor is older than 24 hours: start again without a cursor.",
                code="INVALID_CURSOR",
            )
        return position

    def _mac(self, query: str, payload: bytes) -> bytes:
        message = hashlib.sha256(query.encode()).digest() + payload
        return hmac.digest(self._key, message, "sha256")[:MAC_BYTES]
