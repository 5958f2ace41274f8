"""Telling the result of an asynchronous call, signed so that the SDKs' verifiers accept it.

``X-Blaxel-Signature`` is ``sha256=`` and the hex HMAC-SHA256 of the body by the trigger's secret;
``X-Blaxel-Timestamp`` the moment of the attempt in seconds since 1970.
"""

import hmac

import msgspec

import serai
from serai.hosting.messages import Answered, Callback
from serai.kernel.outgoing import AddressForbidden, NotCalled, post

TIMEOUT_SECONDS = 30.0


class Untold(Exception):
    """The receiver did not take it; ``again`` says whether another attempt may help."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


def payload(answered: Answered, at: int) -> bytes:
    """The body of a callback; ``at`` in seconds since 1970."""
    return msgspec.json.encode(
        {
            "status_code": answered.status,
            "response_body": answered.body,
            "response_length": answered.length,
            "timestamp": at,
        }
    )


def signed(body: bytes, secret: str, at: int) -> dict[str, str]:
    """The headers of a callback."""
    digest = hmac.digest(secret.encode(), body, "sha256").hex()
    return {
        "content-type": "application/json",
        "user-agent": f"serai/{serai.__version__}",
        "x-blaxel-signature": f"sha256={digest}",
        "x-blaxel-timestamp": str(at),
    }


class Callbacks:
    """Sends results: to http and https only, without following redirects.

    Args:
        private: whether this machine and private networks may be called.
    """

    def __init__(self, private: bool) -> None:
        self._private = private

    async def send(self, callback: Callback, answered: Answered, at: int) -> None:
        """Send once.

        Raises:
            Untold: no connection, an address that must not be called, or no answer of 2xx in time.
        """
        body = payload(answered, at)
        headers = signed(body, callback.secret, at)
        try:
            status = await post(
                callback.url, body, headers, private=self._private, seconds=TIMEOUT_SECONDS
            )
        except AddressForbidden as problem:
            text = f"callbacks must not call {problem}; the setting private_callbacks allows it"
            raise Untold(text, again=False) from None
        except TimeoutError:
            raise Untold(f"no answer within {TIMEOUT_SECONDS:g} seconds") from None
        except NotCalled as problem:
            raise Untold(f"it cannot be called: {problem}"[:300]) from None
        if not 200 <= status < 300:
            raise Untold(f"the receiver answered with status {status}")
