"""What this installation has switched on, over HTTP."""

from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.identity.caller import caller_of
from serai.identity.context import IdentityContext
from serai.identity.operations.answers import answer
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import Forbidden, NotFound
from serai.wire.identity import Features, FeatureState

FEATURES = ("api_versions", "billing_metrics", "model_gateway", "service_accounts")
"""What every installation has; clients look for keys here before they use something new."""


def feature_operations(context: IdentityContext) -> list[ControllerRouterHandler]:
    """All that is on, and one looked at closely."""

    @get("/v0/features", operation_id="getWorkspaceFeatures", opt={"answer": Features})
    async def get_features(request: AnyRequest) -> Response[bytes]:
        _ = caller_of(request).workspace
        return answer(Features(features=dict.fromkeys(context.features, True)))

    @get(
        "/v0/features/{feature_key:str}",
        operation_id="testFeatureFlag",
        opt={"answer": FeatureState, "query": {"account": str}},
    )
    async def test_feature(request: AnyRequest, feature_key: str) -> Response[bytes]:
        caller, account = caller_of(request), request.query_params.get("account")
        if account is None:
            _ = caller.workspace
        elif account != caller.principal.account_id:
            raise Forbidden("Access denied: this key belongs to another account.")
        if feature_key not in context.features:
            raise NotFound(
                f"There is no feature {feature_key[:80]!r} here.", code="FEATURE_NOT_FOUND"
            )
        moment = rfc3339(now())
        return answer(FeatureState(feature_key=feature_key, enabled=True, evaluated_at=moment))

    return [get_features, test_feature]
