"""Which workspace an application or device is let into: one, or all that the person has."""

import msgspec
from sqlalchemy import Connection

from serai.identity.accounts import principal_of_user
from serai.kernel.errors import BadRequest, Forbidden
from serai.signin.site import Visit

ALL = "*"
SHOWN_MAX = 50


class Choice(msgspec.Struct, frozen=True):
    """What was chosen: ``name`` is what requests are about that name no workspace."""

    name: str
    bound: bool


def names_of(conn: Connection, user_id: str) -> list[str]:
    """The workspaces of a person, by name.

    Raises:
        Forbidden: they have none.
    """
    principal = principal_of_user(conn, user_id)
    names = sorted(principal.workspaces) if principal else []
    if names:
        return names
    raise Forbidden("You have no workspace, so there is nothing to give access to.")


def chosen(conn: Connection, visit: Visit) -> Choice:
    """What the form says.

    Raises:
        BadRequest: nothing, or a workspace that is not the person's.
    """
    names, wanted = names_of(conn, visit.person.id), visit.field("workspace", 80)
    if wanted == ALL:
        return Choice(names[0], bound=False)
    if wanted in names:
        return Choice(wanted, bound=True)
    raise BadRequest("Choose one of your workspaces.")
