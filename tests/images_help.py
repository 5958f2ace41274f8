"""Registering images in tests."""

import itertools
from typing import Any

import httpx

numbers = itertools.count()
BASE = "blaxel/base-image:latest"


def unique() -> str:
    """A name no other test uses."""
    return f"img-{next(numbers)}"


def register(api: httpx.Client, name: str, tag: str | None = None, **more: Any) -> dict[str, Any]:
    """Register the base image under a name."""
    body = {"name": name, "resourceType": "sandbox", "image": BASE, "dockerConfig": "{}"} | more
    if tag:
        body["tag"] = tag
    answer = api.post("/v0/images?skip-build=true", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
