"""Access tokens of Google service accounts, for Vertex AI.

A token is bought with a signed assertion (RFC 7523, the ``jwt-bearer`` grant) at the account's
``token_uri``, lasts about an hour, and is shared by all calls of the account.
"""

import asyncio
import json
import time
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from serai.gateway.problems import ProviderCredentialsRefused, UpstreamConnectFailed

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
ASSERTION_SECONDS = 3600
TIMEOUT_SECONDS = 10.0
EARLY_SECONDS = 120.0
"""A token is bought anew so long before it ends."""
KEPT = 1024


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 3600


class GoogleTokens:
    """Tokens by service account; each account's is fetched once, however many calls wait."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[bytes, float]] = {}
        self._fetching: dict[str, asyncio.Task[bytes]] = {}

    def cached(self, account: str) -> bytes | None:
        """The account's token, if there is one that lasts; ``account`` is its key file."""
        token, ends = self._tokens.get(account, (b"", 0.0))
        return token if time.monotonic() < ends else None

    def forget(self, account: str) -> None:
        """The provider did not take the account's token: the next call buys another."""
        self._tokens.pop(account, None)

    async def fetch(self, account: str) -> bytes:
        """A token.

        Raises:
            ProviderCredentialsRefused: the key cannot sign, or Google refuses it.
            UpstreamConnectFailed: the token server cannot be reached.
        """
        task = self._fetching.get(account)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(account))
            self._fetching[account] = task
            task.add_done_callback(lambda _: self._fetching.pop(account, None))
        return await asyncio.shield(task)

    async def _fetch(self, account: str) -> bytes:
        fields: dict[str, Any] = json.loads(account)
        found = await _buy(str(fields.get("token_uri") or TOKEN_URI), assertion(fields))
        token = found.access_token.encode("ascii", "ignore")
        if len(self._tokens) >= KEPT:
            self._tokens.clear()
        lasts = min(found.expires_in, 86400.0) - EARLY_SECONDS
        self._tokens[account] = token, time.monotonic() + lasts
        return token


def assertion(account: dict[str, Any]) -> str:
    """The signed statement that a token is bought with.

    Raises:
        ProviderCredentialsRefused: the private key is none.
    """
    now = int(time.time())
    claims = {
        "iss": account["client_email"],
        "scope": SCOPE,
        "aud": account.get("token_uri") or TOKEN_URI,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    }
    header = {"alg": "RS256", "typ": "JWT"}
    if account.get("private_key_id"):
        header["kid"] = str(account["private_key_id"])
    try:
        return jwt.encode(header, claims, RSAKey.import_key(account["private_key"]))
    except (JoseError, ValueError, TypeError) as error:
        raise ProviderCredentialsRefused(
            "The private_key of the connection's service account cannot be used: it must be an"
            " RSA key in PEM form, as in the key file from Google."
        ) from error


async def _buy(uri: str, signed: str) -> _Token:
    import aiohttp  # takes a quarter of the start's time, and few have service accounts

    form = {"grant_type": GRANT, "assertion": signed}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(uri, data=form, allow_redirects=False) as answer,
        ):
            status, body = answer.status, await answer.content.read(65536)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UpstreamConnectFailed(
            "The token server of the connection's service account cannot be reached:"
            f" {type(error).__name__}."
        ) from error
    try:
        if status == 200:
            return msgspec.json.decode(body, type=_Token)
    except msgspec.MsgspecError:
        pass
    said = body[:200].decode("utf-8", "replace")
    raise ProviderCredentialsRefused(
        f"The token server of the connection's service account answered {status}: {said}"
    )
