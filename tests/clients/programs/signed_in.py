"""The Python SDK with whatever credentials it finds: management API, sandbox and model.

Argument: the name of a model. Prints who it is.
"""

import sys

import httpx
from blaxel.core import SyncSandboxInstance
from blaxel.core.client import client
from blaxel.core.client.api.models import get_model
from blaxel.core.client.models import Model
from blaxel.core.common.settings import settings


def main() -> None:
    name = sys.argv[1]
    model = get_model.sync(client=client, model_name=name)
    assert isinstance(model, Model), model

    sandbox = SyncSandboxInstance.create({"memory": 512, "ttl": "10m"})
    try:
        result = sandbox.process.exec({"command": "echo inside", "wait_for_completion": True})
        assert result.stdout == "inside\n", result
    finally:
        SyncSandboxInstance.delete(sandbox.metadata.name)

    url = f"{settings.run_url}/{settings.workspace}/models/{name}/v1/chat/completions"
    body = {"model": "small-1", "messages": [{"role": "user", "content": "Say five words"}]}
    answer = httpx.post(url, json=body, headers=settings.headers)
    assert answer.status_code == 200, answer.text
    profile = httpx.get(f"{settings.base_url}/profile", headers=settings.headers).json()
    print(profile["sub"])


if __name__ == "__main__":
    main()
