"""What finding out who calls costs a gateway request."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from joserfc import jwt

from bench.report import Row
from serai.gateway.credentials import present
from serai.identity import accounts, grants
from serai.identity.access_tokens import AccessTokens
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.keys import new_key
from serai.identity.principal import Principal
from serai.identity.rights import demand_scopes
from serai.identity.signing_keys import ALGORITHM, KeyRing
from serai.kernel.clock import now
from serai.store.database import Database
from serai.store.secrets import Vault

CALLS = 50_000
GOAL = 15.0
NEEDED = frozenset({"models:run"})


def run(rounds: int) -> list[Row]:
    """CPU per request with a warm cache, beside checking the token's signature each time."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_measure(Path(name), rounds))


async def _measure(directory: Path, rounds: int) -> list[Row]:
    db, vault = Database(directory / "serai.db"), Vault.open(directory / "master.key")
    db.open()
    ring = KeyRing(db, vault)
    await ring.open()
    tokens = AccessTokens(ring, "http://127.0.0.1:8080/v0", "http://127.0.0.1:8080")
    authenticator = CredentialAuthenticator(db, vault, tokens)
    key = new_key()

    def prepare(conn: object) -> grants.Grant:
        account = accounts.create_account(conn, "bench")
        user = accounts.create_user(conn, account, "a@example.com", account_admin=True)
        accounts.create_workspace(conn, account, "main", "a@example.com")
        accounts.store_key(conn, vault, user, "k", key)
        scope = "models:run sandboxes:control"
        return grants.create(
            conn, now(), client_id="blaxel", user_id=user, workspace="main", scope=scope
        )

    grant = await db.write(prepare)
    token = tokens.issue(grant, grant.scope, now())
    for secret in (key, token):
        await authenticator.verify(secret)
    uncached = median(_time(lambda: _decode(ring, token), 500) for _ in range(rounds))
    rows = []
    for title, secret in (("API key", key), ("access token with scopes", token)):
        headers = {b"host": b"h", b"authorization": f"Bearer {secret}".encode(), b"accept": b"*/*"}
        cost = median(
            _time(lambda: _enter(headers, authenticator), CALLS)  # noqa: B023
            for _ in range(rounds)
        )
        baseline = ("signature each time", uncached)
        rows.append(Row(title, cost, "us", baseline, f"{GOAL:g} us", cost <= GOAL))
    db.close()
    return rows


def _enter(headers: dict[bytes, bytes], authenticator: CredentialAuthenticator) -> Principal:
    """What ``gateway.exchange`` does with each request, in the same order."""
    credential = present(headers, None, in_query=False)
    assert credential is not None
    principal = authenticator.cached(credential.token)
    assert principal is not None
    if principal.scopes is not None:
        demand_scopes(principal, NEEDED)
    return principal


def _decode(ring: KeyRing, token: str) -> None:
    jwt.decode(token, ring.signing(now()).key, algorithms=[ALGORITHM])


def _time(call: Callable[[], object], times: int) -> float:
    """CPU microseconds per call."""
    begin = time.process_time_ns()
    for _ in range(times):
        call()
    return (time.process_time_ns() - begin) / 1000 / times
