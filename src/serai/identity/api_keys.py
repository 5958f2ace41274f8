"""API keys of users and service accounts, as functions of a Connection."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from serai.api.scopes import RESOURCE_SCOPES
from serai.identity.keys import hint, new_key
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.durations import parse_duration
from serai.kernel.errors import BadRequest, Forbidden, NotFound
from serai.kernel.ids import new_uuid
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.identity import api_keys, service_accounts, users, workspaces
from serai.wire.identity import ApiKey, CreateApiKeyBody

NAME_MAX = 63
DEFAULT_NAME = "API key"


class Holder(msgspec.Struct, frozen=True):
    """Whose keys: a user's (by id) or a service account's (by client id)."""

    kind: Literal["user", "service_account"]
    subject: str

    @property
    def column(self) -> str:
        """The column that names such a holder."""
        return "user_id" if self.kind == "user" else "client_id"

    def owns(self) -> list[ColumnElement[bool]]:
        """Conditions of this holder's keys that were not revoked."""
        return [api_keys.c[self.column] == self.subject, api_keys.c.revoked_at.is_(None)]


def create(
    conn: Connection, vault: Vault, holder: Holder, body: CreateApiKeyBody, maker: Principal
) -> ApiKey:
    """Make a key; the answer is the only place where it ever stands in full.

    Raises:
        BadRequest: the name is too long, ``expires_in`` is no positive duration, or there is no
            such scope.
        Forbidden: a scope that the maker's own credential lacks.
    """
    name = check_title(body.name or DEFAULT_NAME, "name")
    secret, moment = new_key(), now()
    row: dict[str, Any] = {
        "id": new_uuid(),
        holder.column: holder.subject,
        "name": name,
        "digest": vault.digest(secret),
        "hint": hint(secret),
        "created_at": rfc3339(moment),
        "created_by": maker.email,
        "scope": _scope(body.scopes, maker),
    }
    if body.expires_in:
        duration = parse_duration(body.expires_in, "expires_in")
        if not duration:
            raise BadRequest("expires_in is zero: give at least 1s, or leave it out for never.")
        row |= {"expires_in": body.expires_in, "expires_at": rfc3339(moment + duration)}
    conn.execute(insert(api_keys).values(row))
    mine = [api_keys.c.id == row["id"], *holder.owns()]
    found = conn.execute(select(api_keys).where(*mine)).one()
    return msgspec.structs.replace(shown(found, holder), api_key=secret)


def listing(conn: Connection, holder: Holder) -> list[ApiKey]:
    """Every key that was not revoked, expired ones too, newest first."""
    c = api_keys.c
    rows = conn.execute(select(api_keys).where(*holder.owns()).order_by(c.created_at.desc(), c.id))
    return [shown(row, holder) for row in rows]


def is_of_account(conn: Connection, account_id: str, key_id: str) -> bool:
    """Whether somebody of an account has, or had, a key of this id."""
    c, people, machines = api_keys.c, users.c, service_accounts.c
    mine = select(workspaces.c.name).where(workspaces.c.account_id == account_id)
    query = (
        select(c.id)
        .join(users, people.id == c.user_id, isouter=True)
        .join(service_accounts, machines.client_id == c.client_id, isouter=True)
        .where(c.id == key_id, (people.account_id == account_id) | machines.workspace.in_(mine))
    )
    with unbounded("only whether it is one of the account's is told, to an admin of the account"):
        return conn.execute(query).first() is not None


def revoke(conn: Connection, holder: Holder, key_id: str) -> ApiKey:
    """End a key for good.

    Raises:
        NotFound: the holder has no such key.
    """
    mine = [api_keys.c.id == key_id, *holder.owns()]
    query = select(api_keys).where(*mine)
    row = conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no API key with id {key_id[:80]!r}.", code="API_KEY_NOT_FOUND")
    stamp = {"revoked_at": rfc3339(now())}
    conn.execute(update(api_keys).where(*mine).values(stamp))
    return shown(row, holder)


def drop_all(conn: Connection, holder: Holder) -> None:
    """Delete every key of a holder that is about to go."""
    conn.execute(delete(api_keys).where(api_keys.c[holder.column] == holder.subject))


def note_used(conn: Connection, used: Mapping[str, str]) -> None:
    """Note when keys were last used, by their ids."""
    statement = update(api_keys).where(api_keys.c.id == bindparam("key_id"))
    rows = [{"key_id": key, "moment": moment} for key, moment in used.items()]
    conn.execute(statement.values(last_used_at=bindparam("moment")), rows)


def shown(row: Any, holder: Holder) -> ApiKey:
    """A key as lists show it: of the key itself only its first characters."""
    return ApiKey(
        id=row.id,
        name=row.name,
        api_key=row.hint,
        scopes=row.scope.split() if row.scope is not None else None,
        expires_in=row.expires_in,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        sub=holder.subject,
        sub_type=holder.kind,
        created_at=row.created_at,
        created_by=row.created_by,
        updated_at=row.created_at,
        updated_by=row.created_by,
    )


def _scope(wanted: list[str] | None, maker: Principal) -> str | None:
    """What a new key may be used for: what is asked for, else as much as its maker's credential."""
    if wanted is None:
        return None if maker.scopes is None else " ".join(sorted(maker.scopes))
    if not wanted:
        raise BadRequest("scopes is empty: name what the key is for, or leave it out for all.")
    unknown = sorted(set(wanted) - RESOURCE_SCOPES)
    if unknown:
        raise BadRequest(
            f"scopes: there is no scope {unknown[0][:80]!r}; /v0/openapi.json lists them all.",
            code="UNKNOWN_SCOPE",
        )
    lacking = sorted(maker.lacks(frozenset(wanted)))
    if lacking:
        raise Forbidden(
            f"scopes: your own credential lacks {lacking[0]!r}, so you cannot give it to a key.",
            code="INSUFFICIENT_SCOPE",
        )
    return " ".join(sorted(set(wanted)))


def check_title(text: str, field: str) -> str:
    """A name for people: 1 to 63 printable characters.

    Raises:
        BadRequest: naming the field and the rule.
    """
    if len(text.strip()) >= 1 and len(text) <= NAME_MAX and text.isprintable():
        return text
    raise BadRequest(
        f"{field} {text[:80]!r} is not valid: use 1 to {NAME_MAX} printable characters."
    )
