"""What applications may know about a person who signed in to them."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from serai.kernel.errors import AuthenticationFailed
from serai.store.tables.identity import users

CLAIMS = ("sub", "name", "given_name", "family_name", "email", "email_verified")


def claims_of(conn: Connection, user_id: str, granted: Collection[str]) -> dict[str, Any]:
    """The claims that the granted scopes open; what nobody told us is left out.

    Raises:
        AuthenticationFailed: there is no such person.
    """
    row: Any = conn.execute(select(users).where(users.c.id == user_id)).one_or_none()
    if row is None:
        raise AuthenticationFailed("This access token belongs to no person.")
    claims: dict[str, Any] = {"sub": row.id}
    if "profile" in granted:
        names = [name for name in (row.given_name, row.family_name) if name]
        claims |= {
            "name": " ".join(names) or row.email.partition("@")[0],
            "given_name": row.given_name,
            "family_name": row.family_name,
        }
    if "email" in granted:
        claims |= {"email": row.email, "email_verified": row.email_verified}
    return {name: value for name, value in claims.items() if value is not None}
