"""Which way a model call goes that is no Express."""

from typing import TYPE_CHECKING

from serai.gateway.models.cached import CachedExchange
from serai.gateway.models.exchange import ModelExchange
from serai.gateway.models.routed import TIMEOUT_FIELD, RoutedExchange
from serai.gateway.request import Request
from serai.gateway.targets import Target

if TYPE_CHECKING:
    from serai.gateway.gateway import Gateway


def way_of(gateway: "Gateway", request: Request, target: Target) -> type[ModelExchange]:
    """The exchange for a call, by what the model's settings and the request ask for."""
    route = gateway.routes.models.get((target.workspace, target.name))
    if route is None or not (route.routed or TIMEOUT_FIELD in request.index):
        return ModelExchange
    return RoutedExchange if route.gateway.cache is None else CachedExchange
