"""``GET /health``: that the server answers, and what it is, to anybody."""

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler

import serai
from serai.api.exchange import json_response
from serai.metering.delivery import SpanDelivery
from serai.sandboxing import Sandboxing


def health_operation(sandboxing: Sandboxing, delivery: SpanDelivery) -> ControllerRouterHandler:
    """The one operation; what it tells is of the moment."""

    @get("/health")
    async def health() -> Response[bytes]:
        runtime = sandboxing.runtime
        body = {
            "status": "ok",
            "version": serai.__version__,
            "sandboxes": {"running": sandboxing.controller.live.awake()},
            "runtime": runtime.name,
            "isolationLevel": runtime.level,
            "isolation": runtime.isolation,
            "usage": {"setAside": delivery.set_aside},
        }
        return json_response(msgspec.json.encode(body))

    return health
