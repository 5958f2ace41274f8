"""Which scope a client gets when it asks for one."""

from collections.abc import Iterable

from serai.api.scopes import ADMIN, IDENTITY, RESOURCE_SCOPES

OFFLINE = "offline_access"
OPENID = "openid"
SUPPORTED = frozenset(RESOURCE_SCOPES) | frozenset(IDENTITY)
ABOUT_PEOPLE = frozenset(IDENTITY) - {OFFLINE}


def words(scope: str | None) -> list[str]:
    """The words of a scope, each once, in order."""
    return list(dict.fromkeys((scope or "").split()))


def unknown(asked: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Those words that are not allowed."""
    good = frozenset(allowed)
    return [word for word in asked if word not in good]


def with_role(asked: list[str]) -> str:
    """The scope for a client of our own: all that the role allows, unless it asks for less."""
    if RESOURCE_SCOPES.isdisjoint(asked):
        return " ".join([*asked, ADMIN])
    return " ".join(asked)
