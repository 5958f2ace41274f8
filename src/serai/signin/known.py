"""Browsers in which somebody has signed in before: a signed cookie, up to four people each.

It opens nothing. Wrong passwords of others cannot use up what such a browser may still try.
"""

import hmac
import secrets
from collections.abc import Iterable

from serai.store.secrets import Vault

PEOPLE_MAX = 4
SECONDS = 365 * 24 * 3600


def browser_of(vault: Vault, cookie: str, user_ids: Iterable[str]) -> str | None:
    """The name under which failures of this browser for one of these people are counted."""
    known = dict(_tokens(vault, cookie))
    return next((known[user_id] for user_id in user_ids if user_id in known), None)


def with_person(vault: Vault, cookie: str, user_id: str) -> str:
    """The cookie once somebody has signed in; a new token, so that its budget is fresh."""
    others = [token for token in cookie.split("~") if _read(vault, token)]
    kept = [token for token in others if not token.startswith(f"{user_id}.")]
    return "~".join([_token(vault, user_id), *kept][:PEOPLE_MAX])


def _tokens(vault: Vault, cookie: str) -> Iterable[tuple[str, str]]:
    for token in cookie.split("~")[:PEOPLE_MAX]:
        if found := _read(vault, token):
            yield found


def _token(vault: Vault, user_id: str) -> str:
    nonce = secrets.token_urlsafe(12)
    return f"{user_id}.{nonce}.{_mac(vault, user_id, nonce)}"


def _read(vault: Vault, token: str) -> tuple[str, str] | None:
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        return None
    user_id, nonce, mac = parts
    good = hmac.compare_digest(_mac(vault, user_id, nonce), mac)
    return (user_id, nonce) if good else None


def _mac(vault: Vault, user_id: str, nonce: str) -> str:
    return vault.digest(f"known-browser:{user_id}:{nonce}").hex()[:32]
