"""What the tests of model calls send and get."""

import json

from .world import Client

CHAT = "/main/models/llm/v1/chat/completions"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
ANSWER = json.dumps({"id": "c1", "choices": [{"index": 0}], "usage": USAGE}).encode()


def body(**fields: object) -> bytes:
    return json.dumps({"model": "llm", "messages": []} | fields).encode()


async def ask(client: Client, target: str = CHAT, content: bytes | None = None, **more):
    headers = {"Content-Type": "application/json"} | more.pop("headers", {})
    content = body() if content is None else content
    return await client.ask(target, method="POST", body=content, headers=headers, **more)
