"""The data plane's log lines."""

import time

import structlog

from serai.gateway.request import Request

LONGEST_PATH = 512
log = structlog.get_logger("serai.access")


def log_answer(request: Request, kind: bytes, status: int, started: float, request_id: str) -> None:
    """Log one answered request; never a query, a header or a body, as they may hold secrets."""
    log.info(
        "request",
        method=request.method.decode("ascii", "replace"),
        path=request.url.partition(b"?")[0].decode("latin-1")[:LONGEST_PATH],
        kind=kind.decode("ascii"),
        status=status,
        ms=round((time.time() - started) * 1000, 2),
        request_id=request_id,
    )
