"""The applications that an account has registered, as functions of a Connection."""

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.identity import grants
from serai.identity.keys import new_secret
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, NotFound
from serai.kernel.ids import token
from serai.oauth import redirects, scopes
from serai.oauth.clients import CODE, DEVICE, REFRESH
from serai.store.secrets import Vault
from serai.store.tables.oauth import oauth_clients as table
from serai.wire.oauth import CreateOAuthClientBody, OAuthClient, UpdateOAuthClientBody

SECRET_PREFIX = "bls_"  # noqa: S105
NAME_MAX = 80
REDIRECTS_MAX = 20


def listing(conn: Connection, account_id: str) -> list[OAuthClient]:
    """Those of an account, newest first."""
    c = table.c
    query = select(table).where(c.account_id == account_id)
    return [shown(row) for row in conn.execute(query.order_by(c.created_at.desc(), c.client_id))]


def need(conn: Connection, account_id: str, client_id: str) -> OAuthClient:
    """The one with that id.

    Raises:
        NotFound: the account has none.
    """
    query = select(table).where(*_mine(account_id, client_id))
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no OAuth client {client_id[:80]!r} in this account.",
            code="OAUTH_CLIENT_NOT_FOUND",
        )
    return shown(row)


def create(
    conn: Connection, vault: Vault, body: CreateOAuthClientBody, maker: Principal
) -> OAuthClient:
    """Register an application; a secret stands in this answer and nowhere else.

    Raises:
        BadRequest: the name, a redirect URI or a scope breaks a rule.
    """
    secret = new_secret(SECRET_PREFIX) if body.confidential else None
    moment = rfc3339(now())
    values = {
        "client_id": f"app-{token(20)}",
        "account_id": maker.account_id,
        "secret_digest": vault.digest(secret) if secret else None,
        "grant_types": " ".join((CODE, REFRESH, DEVICE)),
        "created_at": moment,
        "updated_at": moment,
        "created_by": maker.email,
    }
    checked = _checked(body.name, body.redirect_uris, body.scopes)
    row = conn.execute(insert(table).values(**values, **checked).returning(table)).one()
    return msgspec.structs.replace(shown(row), client_secret=secret)


def change(
    conn: Connection, account_id: str, client_id: str, body: UpdateOAuthClientBody
) -> OAuthClient:
    """Change name, redirect URIs or scopes. Who loses a scope loses the grants that have it.

    Raises:
        NotFound: see ``need``.
        BadRequest: a value breaks a rule.
    """
    before = need(conn, account_id, client_id)
    values = _checked(body.name, body.redirect_uris, body.scopes)
    values["updated_at"] = rfc3339(now())
    statement = update(table).where(*_mine(account_id, client_id)).values(values)
    after = shown(conn.execute(statement.returning(table)).one())
    if set(before.scopes) - set(after.scopes):
        grants.revoke_of_client(conn, client_id)
    return after


def rotate(conn: Connection, vault: Vault, account_id: str, client_id: str) -> OAuthClient:
    """Give an application a new secret; the old one ends, its grants stay.

    Raises:
        NotFound: see ``need``.
        BadRequest: a public one has no secret.
    """
    found = need(conn, account_id, client_id)
    if not found.confidential:
        raise BadRequest("This client is public: it has no secret to replace.")
    secret = new_secret(SECRET_PREFIX)
    values = {"secret_digest": vault.digest(secret), "updated_at": rfc3339(now())}
    statement = update(table).where(*_mine(account_id, client_id)).values(values)
    row = conn.execute(statement.returning(table)).one()
    return msgspec.structs.replace(shown(row), client_secret=secret)


def remove(conn: Connection, account_id: str, client_id: str) -> OAuthClient:
    """Delete an application, and end all its grants.

    Raises:
        NotFound: see ``need``.
    """
    found = need(conn, account_id, client_id)
    grants.revoke_of_client(conn, client_id)
    conn.execute(delete(table).where(*_mine(account_id, client_id)))
    return found


def shown(row: Any) -> OAuthClient:
    """An application as admins see it: without its secret."""
    return OAuthClient(
        client_id=row.client_id,
        name=row.name,
        confidential=row.secret_digest is not None,
        redirect_uris=row.redirect_uris.split(),
        scopes=row.scope.split(),
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.updated_at,
    )


def _mine(account_id: str, client_id: str) -> list[Any]:
    return [table.c.account_id == account_id, table.c.client_id == client_id]


def _checked(
    name: str | None, uris: list[str] | None, words: list[str] | None
) -> dict[str, str | None]:
    """The columns of those values that were sent."""
    values: dict[str, str | None] = {}
    if name is not None:
        values["name"] = _name(name)
    if uris is not None:
        values["redirect_uris"] = _uris(uris)
    if words is not None:
        values["scope"] = _scope(words)
    return values


def _name(text: str) -> str:
    if 1 <= len(text.strip()) <= NAME_MAX and text.isprintable():
        return text.strip()
    raise BadRequest(f"name has to be 1 to {NAME_MAX} printable characters.", code="INVALID_NAME")


def _uris(uris: list[str]) -> str:
    if len(uris) > REDIRECTS_MAX:
        raise BadRequest(f"redirect_uris: there are more than {REDIRECTS_MAX}.")
    return " ".join(dict.fromkeys(redirects.check(uri) for uri in uris))


def _scope(words: list[str]) -> str:
    wrong = scopes.unknown(words, scopes.SUPPORTED)
    if wrong:
        raise BadRequest(f"scopes: there is no scope {wrong[0][:80]!r}.", code="INVALID_SCOPE")
    if not words:
        raise BadRequest("scopes is empty: name what the application may ask for.")
    return " ".join(dict.fromkeys(words))
