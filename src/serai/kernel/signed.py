"""Text for URLs that only this server can have made: a payload with its MAC."""

import base64
import hmac

_MAC_BYTES = 32


class Signed:
    """Makes and reads such texts with a key that only the server has. A payload is not hidden."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def text(self, payload: bytes) -> str:
        """The text of a payload."""
        return base64.urlsafe_b64encode(self._mac(payload) + payload).decode().rstrip("=")

    def payload(self, text: str) -> bytes | None:
        """The payload of a text; ``None`` when it was not made by us."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        return payload if hmac.compare_digest(mac, self._mac(payload)) else None

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")
