"""Service accounts, machines' identities in one workspace, as functions of a Connection."""

import re
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from serai.identity import api_keys
from serai.identity.api_keys import Holder
from serai.identity.keys import new_secret
from serai.identity.people import check_role
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest, NotFound
from serai.kernel.ids import token
from serai.store.secrets import Vault
from serai.store.tables.identity import service_accounts
from serai.wire.identity import CreateServiceAccountBody, ServiceAccount, UpdateServiceAccountBody

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._-]{0,62})\Z")
DESCRIPTION_MAX = 1024
SECRET_PREFIX = "bls_"  # noqa: S105


def create(
    conn: Connection,
    vault: Vault,
    workspace: str,
    body: CreateServiceAccountBody,
    maker: Principal,
) -> ServiceAccount:
    """Make a service account; the answer is the only place where its secret ever stands.

    Raises:
        BadRequest: the name, description or role breaks a rule.
    """
    secret, moment = new_secret(SECRET_PREFIX), rfc3339(now())
    row = conn.execute(
        insert(service_accounts)
        .values(
            client_id=f"sa-{token(20)}",
            workspace=workspace,
            name=_name(body.name),
            description=_description(body.description or ""),
            role=check_role(body.role or "member"),
            secret_digest=vault.digest(secret),
            created_at=moment,
            updated_at=moment,
            created_by=maker.email,
        )
        .returning(service_accounts)
    ).one()
    return msgspec.structs.replace(shown(row), client_secret=secret)


def listing(conn: Connection, workspace: str) -> list[ServiceAccount]:
    """Those of a workspace, newest first."""
    c = service_accounts.c
    query = select(service_accounts).where(c.workspace == workspace)
    return [shown(row) for row in conn.execute(query.order_by(c.created_at.desc(), c.client_id))]


def count(conn: Connection, workspace: str) -> int:
    """How many a workspace has."""
    query = select(func.count()).where(service_accounts.c.workspace == workspace)
    return int(conn.execute(query).scalar_one())


def need(conn: Connection, workspace: str, client_id: str) -> ServiceAccount:
    """The one with that client id.

    Raises:
        NotFound: there is none in this workspace.
    """
    c = service_accounts.c
    query = select(service_accounts).where(c.workspace == workspace, c.client_id == client_id)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no service account {client_id[:80]!r} in this workspace.",
            code="SERVICE_ACCOUNT_NOT_FOUND",
        )
    return shown(row)


def change(
    conn: Connection, workspace: str, client_id: str, body: UpdateServiceAccountBody
) -> ServiceAccount:
    """Change name, description or role; credentials stay.

    Raises:
        NotFound: see ``need``.
        BadRequest: a value breaks a rule.
    """
    need(conn, workspace, client_id)
    values: dict[str, Any] = {"updated_at": rfc3339(now())}
    if body.name is not None:
        values["name"] = _name(body.name)
    if body.description is not None:
        values["description"] = _description(body.description)
    if body.role is not None:
        values["role"] = check_role(body.role)
    mine = service_accounts.c.client_id == client_id
    statement = update(service_accounts).where(mine).values(values)
    return shown(conn.execute(statement.returning(service_accounts)).one())


def remove(conn: Connection, workspace: str, client_id: str) -> ServiceAccount:
    """Delete one with all its keys.

    Raises:
        NotFound: see ``need``.
    """
    found = need(conn, workspace, client_id)
    api_keys.drop_all(conn, Holder("service_account", client_id))
    conn.execute(delete(service_accounts).where(service_accounts.c.client_id == client_id))
    return found


def shown(row: Any) -> ServiceAccount:
    """A service account as clients see it: without its secret."""
    return ServiceAccount(
        client_id=row.client_id,
        name=row.name,
        description=row.description or None,
        role=row.role,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _name(text: str) -> str:
    if NAME.match(text):
        return text
    raise BadRequest(
        f"name {text[:80]!r} is not valid: use 1 to 63 letters, digits, spaces, dots, hyphens and "
        "underscores, a letter or digit first.",
        code="INVALID_NAME",
    )


def _description(text: str) -> str:
    if len(text) <= DESCRIPTION_MAX:
        return text
    raise BadRequest(f"description has {len(text)} characters; at most {DESCRIPTION_MAX}.")
