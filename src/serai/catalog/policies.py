"""Which resources refer to a policy."""

import msgspec
from sqlalchemy import Connection, select

from serai.resources.documents import HIDDEN
from serai.store.tables.documents import documents
from serai.store.tables.sharing import NAMES_POLICIES
from serai.wire.catalog import PolicyUsageCounts, PolicyUsages

KINDS = {
    "agent": "agents",
    "function": "functions",
    "job": "jobs",
    "model": "models",
    "sandbox": "sandboxes",
}
Users = dict[str, dict[str, list[str]]]
"""Policy name to list (``agents``, …) to names of resources."""


def policy_users(conn: Connection, workspace: str, policy: str | None = None) -> Users:
    """Every resource of a workspace that refers to a policy, or to that one."""
    c = documents.c
    query = (
        select(c.kind, c.name, c.body)
        .where(c.workspace == workspace, c.kind.in_(KINDS), c.status != HIDDEN, NAMES_POLICIES)
        .order_by(c.name)
    )
    if policy is not None:
        query = query.where(c.body.contains(f'"{policy}"', autoescape=True))
    users: Users = {}
    for kind, name, body in conn.execute(query):
        named = msgspec.json.decode(body)["spec"].get("policies") or []
        for one in dict.fromkeys(named):
            users.setdefault(one, {}).setdefault(KINDS[kind], []).append(name)
    return users


def usages(conn: Connection, workspace: str, policy: str) -> PolicyUsages:
    """The names of those that refer to a policy."""
    found = policy_users(conn, workspace, policy).get(policy, {})
    lists = {plural: [{"name": name} for name in found.get(plural, [])] for plural in PLURALS}
    return PolicyUsages(**lists)


def counts(users: Users, policy: str) -> PolicyUsageCounts:
    """How many refer to a policy."""
    found = users.get(policy, {})
    return PolicyUsageCounts(**{plural: len(found.get(plural, [])) for plural in PLURALS})


PLURALS = tuple(KINDS.values())
