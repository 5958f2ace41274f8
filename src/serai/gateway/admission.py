"""What a caller must have, and what a model must be, before a request goes on."""

from typing import TYPE_CHECKING

from serai.api.scopes import ADMIN, WORKLOADS
from serai.gateway.models.refusals import no_model, refusal
from serai.gateway.routes import ModelRoute
from serai.gateway.targets import Target
from serai.identity.principal import Principal
from serai.identity.rights import demand_scopes
from serai.kernel.errors import Forbidden

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway


def demand_workload(principal: Principal, target: Target) -> None:
    """Let pass only a credential whose scopes, if it has any, reach this kind of workload.

    Raises:
        Forbidden: naming the scope that is missing.
    """
    if principal.scopes is not None:
        kind = target.kind.decode("ascii")
        demand_scopes(principal, frozenset({WORKLOADS.get(kind, ADMIN)}))


def demand_access(principal: Principal, target: Target, account_id: str | None) -> None:
    """Let pass only members of the workspace, and admins of the account that owns it.

    Raises:
        Forbidden: also for a workspace that does not exist, to tell nobody which do.
    """
    if target.workspace in principal.workspaces:
        return
    if principal.account_admin and account_id == principal.account_id:
        return
    raise Forbidden(
        f"Your credential has no access to workspace '{target.workspace}'. Check the"
        " workspace in the path, or ask its admin to add you."
    )


def admit_call(gateway: "Gateway", principal: Principal, target: Target) -> ModelRoute:
    """The model that a caller may call now. A strict policy is asked once the body is known.

    Raises:
        SeraiError: no access, no such model, tokens spent, a model that cannot be called.
    """
    route = gateway.routes.models.get((target.workspace, target.name))
    if route is None or target.workspace not in principal.workspaces:
        demand_access(principal, target, route.account_id if route else None)
    if route is None:
        raise no_model(target)
    admit_model(gateway, principal, route)
    return route


def admit_model(gateway: "Gateway", principal: Principal, route: ModelRoute) -> None:
    """Let pass only a call of a model that can be called now; also of one that stands in.

    Raises:
        SeraiError: a quota or a budget is spent, the model is switched off or unusable, or a
            policy of it refuses the call.
    """
    allowance = gateway.allowance
    if allowance is not None and allowance.active:
        spent = allowance.refusal(route, principal)
        if spent is not None:
            raise spent.with_traceback(None)  # raised for many calls, whose frames it would keep
    if route.blocked:
        raise refusal(route)
    if route.token_policies and not route.strict:
        gateway.token_policies.admit(route.resource_id, route.token_policies)
