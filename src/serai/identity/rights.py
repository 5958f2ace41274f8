"""What a role may do: one table, checked before any handler runs.

Whatever stands in no rule is open to every member of the workspace. Rules speak of route
templates, not of paths as sent, so no spelling of a path gets around one.
"""

from functools import lru_cache
from typing import Any, Literal

import msgspec

from serai.api.contract import handler_scopes
from serai.identity.caller import Caller
from serai.identity.principal import Principal
from serai.kernel.errors import Forbidden

Need = Literal["workspace admin", "admin of the named workspace", "account admin"]
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ANYTHING = CHANGES | {"GET"}


class Rule(msgspec.Struct, frozen=True):
    """Who may send ``methods`` to ``template``, and with ``deep`` to all that is below it."""

    need: Need
    template: str
    methods: frozenset[str] = CHANGES
    deep: bool = True

    def covers(self, method: str, template: str) -> bool:
        """Whether the rule is about this route."""
        below = self.deep and template.startswith(self.template + "/")
        return method in self.methods and (below or template == self.template)


RULES = (
    Rule("workspace admin", "/v0/policies"),
    Rule("workspace admin", "/v0/policy-dry-runs"),
    Rule("workspace admin", "/v0/integrations"),
    Rule("workspace admin", "/v0/users"),
    Rule("workspace admin", "/v0/service_accounts"),
    Rule("workspace admin", "/v0/customdomains"),
    Rule("workspace admin", "/v0/vpcs"),
    Rule("account admin", "/v0/account", ANYTHING),
    Rule("account admin", "/v0/oauth/clients", ANYTHING),
    Rule("account admin", "/v0/workspaces", frozenset({"POST"}), deep=False),
    Rule(
        "admin of the named workspace",
        "/v0/workspaces/{workspace_name}",
        frozenset({"PUT", "DELETE"}),
        deep=False,
    ),
)


@lru_cache(maxsize=2048)
def need_of(method: str, template: str) -> Need | None:
    """What a route asks for; ``None`` when being a member is enough."""
    return next((rule.need for rule in RULES if rule.covers(method, template)), None)


async def check_rights(connection: Any, handler: Any) -> None:
    """Litestar guard of every management route.

    Raises:
        Forbidden: the caller's role is not enough, or the credential lacks a scope.
    """
    scope = connection.scope
    caller: Caller | None = scope["state"].get("caller")
    if caller is not None and caller.principal.scopes is not None:
        demand_scopes(caller.principal, handler_scopes(handler))
    need = need_of(scope["method"], scope["path_template"])
    if need is None or caller is None:
        return
    if not _fulfils(caller, need, scope["path_params"]):
        raise Forbidden(
            f"This needs the role of {need}, which the credential does not have: ask one of the "
            "admins, or use an admin's key.",
            code="ADMIN_REQUIRED",
        )


def demand_scopes(principal: Principal, needed: frozenset[str]) -> None:
    """Let pass only a credential that has all these scopes, or ``admin``.

    Raises:
        Forbidden: naming what is missing, also as RFC 6750 wants it.
    """
    missing = " ".join(sorted(principal.lacks(needed)))
    if missing:
        raise Forbidden(
            f"The credential lacks the scope {missing!r} that this needs: ask for it when you get "
            "the token or make the key.",
            code="INSUFFICIENT_SCOPE",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{missing}"'},
        )


def _fulfils(caller: Caller, need: Need, path_params: Any) -> bool:
    if need == "account admin":
        return caller.principal.account_admin
    if need == "workspace admin":
        return caller.is_admin
    # A workspace out of reach is none of the caller's business: the handler answers 404.
    return caller.principal.workspaces.get(path_params["workspace_name"], "admin") == "admin"
