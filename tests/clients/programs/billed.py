"""The Python SDK: run and keep things for known times, and print how long and how much.

Arguments: the base URL of an OpenAI-compatible server, and the key that it wants. Printed is, by
name, the most and the least that each can have used.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from blaxel.core.client import client
from blaxel.core.client.api.integrations import create_integration_connection
from blaxel.core.client.api.models import create_model
from blaxel.core.client.models import IntegrationConnection, Model
from blaxel.core.common.settings import settings
from blaxel.core.drive import SyncDriveInstance
from blaxel.core.sandbox import SyncSandboxInstance
from blaxel.core.volume import SyncVolumeInstance

BASE_URL, KEY = sys.argv[1:]
SECONDS = 1.5
bounds: dict[str, list[float]] = {}


def lived(dimension: str, rate: float, begin: Callable[[], Any], end: Callable[[Any], Any]) -> None:
    """Let something live for a while; its usage lies between the inner and the outer time."""
    outer = time.monotonic()
    made = begin()
    inner = time.monotonic()
    time.sleep(SECONDS)
    inner = time.monotonic() - inner
    end(made)
    outer = time.monotonic() - outer
    known = bounds.setdefault(dimension, [0.0, 0.0])
    known[0] += rate * inner
    known[1] += rate * outer


def grown() -> None:
    """A volume of half a GB that grows to two: the change is somewhere in the call for it."""
    times: list[float] = []

    def timed(call: Callable[[], Any]) -> Any:
        times.append(time.monotonic())
        made = call()
        times.append(time.monotonic())
        time.sleep(SECONDS)
        return made

    volume = timed(lambda: SyncVolumeInstance.create({"name": "billed", "size": 512}))
    timed(lambda: volume.update({"size": 2048}))
    timed(volume.delete)
    create, created, update, updated, delete, deleted = times
    bounds["volume_storage_gbs"] = [
        0.5 * (update - created) + 2 * (delete - updated),
        0.5 * (updated - create) + 2 * (deleted - update),
    ]


def models() -> None:
    connection = {
        "metadata": {"name": "billed"},
        "spec": {
            "integration": "openai",
            "secret": {"apiKey": KEY},
            "config": {"baseUrl": BASE_URL},
        },
    }
    model = {
        "metadata": {"name": "billed"},
        "spec": {
            "integrationConnections": ["billed"],
            "runtime": {"type": "openai", "model": "small-1"},
        },
    }
    create_integration_connection.sync(
        client=client, body=IntegrationConnection.from_dict(connection)
    )
    create_model.sync(client=client, body=Model.from_dict(model))
    url = f"https://run.blaxel.ai/{settings.workspace}/models/billed/v1/chat/completions"
    body = {"model": "small-1", "messages": [{"role": "user", "content": "Say five words"}]}
    for _ in range(3):
        answer = httpx.post(url, json=body, headers=settings.headers)
        assert answer.status_code == 200, answer.text
        used = answer.json()["usage"]
        for dimension, amount in (
            ("model_requests_count", 1),
            ("model_input_tokens_count", used["prompt_tokens"]),
            ("model_output_tokens_count", used["completion_tokens"]),
        ):
            known = bounds.setdefault(dimension, [0, 0])
            bounds[dimension] = [known[0] + amount, known[1] + amount]


def main() -> None:
    for memory in (512, 1024):
        lived(
            "sandbox_compute_runtime_gbs",
            memory / 1024,
            lambda memory=memory: SyncSandboxInstance.create(
                {"name": f"billed-{memory}", "memory": memory}
            ),
            lambda sandbox: sandbox.delete(),
        )
    grown()
    models()
    SyncDriveInstance.create_if_not_exists({"name": "billed", "region": "us-was-1"})
    print(json.dumps(bounds))


if __name__ == "__main__":
    main()
