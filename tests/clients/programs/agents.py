"""The Python SDK and an agent: deployed by its functions, called by ``bl_agent``.

A process of this program takes the result of an asynchronous call and verifies its signature.
"""

import asyncio
import http.server
import json
import queue
import threading
import uuid

import httpx
from blaxel.core import verify_webhook_signature
from blaxel.core.agents import bl_agent
from blaxel.core.client import client
from blaxel.core.client.api.agents import create_agent, delete_agent, get_agent
from blaxel.core.client.models import Agent
from blaxel.core.common.settings import settings

NAME = f"agent-{uuid.uuid4().hex[:8]}"
PROGRAM = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        told = {"you said": asked["inputs"], "name": os.environ["BL_NAME"],
                "thread": self.headers.get("Thread-Id")}
        data = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
told: "queue.Queue[tuple[dict[str, str], bytes]]" = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        told.put(({name.lower(): value for name, value in self.headers.items()}, body))


async def deployed() -> Agent:
    async with asyncio.timeout(90):
        while True:
            found = await get_agent.asyncio(client=client, agent_name=NAME)
            status = str(getattr(found.status, "value", found.status))
            assert status != "FAILED", found.to_dict()
            if status == "DEPLOYED":
                return found
            await asyncio.sleep(0.1)


async def main() -> None:
    receiver = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{receiver.server_address[1]}/told"
    trigger = {"id": "later", "type": "http-async", "configuration": {"callbackUrl": url}}
    runtime = {
        "image": "blaxel/py-app:latest",
        "memory": 512,
        "command": ["python3", "-c", PROGRAM],
    }
    body = {"metadata": {"name": NAME}, "spec": {"runtime": runtime, "triggers": [trigger]}}
    made = await create_agent.asyncio(client=client, body=Agent.from_dict(body))
    secret = made.to_dict()["spec"]["triggers"][0]["configuration"]["callbackSecret"]
    found = await deployed()
    assert found.metadata.url.endswith(f"/agents/{NAME}")
    agent = bl_agent(NAME)
    answer = json.loads(await agent.arun({"inputs": "hello"}, headers={"Thread-Id": "7"}))
    assert answer == {"you said": "hello", "name": NAME, "thread": "7"}
    assert json.loads(agent.run({"inputs": "again"}))["you said"] == "again"
    later = await agent.arun({"inputs": "later"}, params={"async": "true"})
    assert json.loads(later) == {"success": True}
    headers, payload = await asyncio.to_thread(told.get, timeout=60)
    at, signature = headers["x-blaxel-timestamp"], headers["x-blaxel-signature"]
    assert verify_webhook_signature(payload, signature, secret, at)
    assert not verify_webhook_signature(payload + b" ", signature, secret, at)
    result = json.loads(payload)
    assert result["status_code"] == 200
    assert json.loads(result["response_body"])["you said"] == "later"
    await delete_agent.asyncio(client=client, agent_name=NAME)
    gone = httpx.post(agent.url, headers=settings.headers, content="{}")
    assert gone.headers["x-blaxel-error-code"] == "WORKLOAD_NOT_FOUND"
    print("done")


asyncio.run(main())
