"""Calling models, and waiting until a call shows."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


def call(api: httpx.Client, model: str, prompt: str = "hello", **more: Any) -> httpx.Response:
    """One chat call of a model in ``main``."""
    headers = more.pop("headers", {})
    body = {"model": "any", "messages": [{"role": "user", "content": prompt}]} | more
    return api.post(f"/main/models/{model}/v1/chat/completions", json=body, headers=headers)


def until(look: Callable[[], T | None]) -> T:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not show")


def shown(api: httpx.Client, answer: httpx.Response, rest: str = "") -> dict[str, Any]:
    """The call of an answer, as soon as it can be seen."""
    path = f"/v0/model-requests/{answer.headers['x-request-id']}{rest}"

    def look() -> dict[str, Any] | None:
        found = api.get(path)
        assert found.status_code in (200, 404), found.text
        return found.json() if found.status_code == 200 else None

    return until(look)


def listed(api: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    """The first page of calls."""
    answer = api.get("/v0/model-requests", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]
