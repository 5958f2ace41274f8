"""The Python SDK and a model: set it up, then call it where the SDK says it is.

Arguments: the base URL of an OpenAI-compatible server, and the key that it wants.
"""

import asyncio
import json
import sys
import uuid

import httpx
from blaxel.core import bl_model
from blaxel.core.client import client
from blaxel.core.client.api.integrations import create_integration_connection
from blaxel.core.client.api.models import create_model
from blaxel.core.client.models import IntegrationConnection, Model
from blaxel.core.common.settings import settings

BASE_URL, KEY = sys.argv[1:]
NAME = f"client-{uuid.uuid4().hex[:8]}"


def set_up() -> None:
    connection = {
        "metadata": {"name": NAME},
        "spec": {
            "integration": "openai",
            "secret": {"apiKey": KEY},
            "config": {"baseUrl": BASE_URL},
        },
    }
    model = {
        "metadata": {"name": NAME},
        "spec": {
            "integrationConnections": [NAME],
            "runtime": {"type": "openai", "model": "small-1"},
        },
    }
    made = create_integration_connection.sync(
        client=client, body=IntegrationConnection.from_dict(connection)
    )
    assert isinstance(made, IntegrationConnection), made
    assert KEY not in json.dumps(made.to_dict()), "the provider's key must be masked"
    assert isinstance(create_model.sync(client=client, body=Model.from_dict(model)), Model)


def main() -> None:
    set_up()
    url, provider, model = asyncio.run(bl_model(NAME).get_parameters())
    assert (provider, model) == ("openai", "small-1")
    assert url == f"https://run.blaxel.ai/main/models/{NAME}", url
    body = {"model": model, "messages": [{"role": "user", "content": "Say five words"}]}
    endpoint = f"{url}/v1/chat/completions"

    # As the SDK's adapters send it: both of Blaxel's headers, or a plain OpenAI client's key.
    plain = {"Authorization": f"Bearer {settings.auth.token}"}
    for headers in (settings.headers, plain):
        answer = httpx.post(endpoint, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "Five words come from here"
        assert answer.json()["usage"]["total_tokens"] == 16

    with httpx.stream(
        "POST", endpoint, json=body | {"stream": True}, headers=settings.headers
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.headers
        events = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events
    words = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    assert "".join(words) == "Five words come from here", words

    refused = httpx.post(endpoint, json=body, headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401, refused.text
    print(NAME)


if __name__ == "__main__":
    main()
