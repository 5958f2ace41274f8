"""A load generator in a process of its own: a steady rate of model calls, for a few seconds.

It is the model's provider as well, so that nothing but the server stands between the two ends.
It prints the provider's port, reads one JSON object (``port``, ``path``, ``key``, ``rate``,
``seconds``) from standard input, prints ``started``, and at the end a JSON list of answers: when
each was sent, when it was there (both of the machine's monotonic clock), and its status.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

CONNECTIONS = 40
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
ANSWER = (
    b'{"choices":[{"message":{"role":"assistant","content":"hi"}}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


async def read(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """A message's first line, once its body was read, and whether another may follow."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, rest = head.partition(b"\r\ncontent-length:")
    await reader.readexactly(int(rest.partition(b"\r\n")[0]) if rest else 0)
    return head.partition(b"\r\n")[0], b"\r\nconnection: close" not in head


async def provide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The provider's side of a connection."""
    try:
        while (await read(reader))[1]:
            writer.write(HEAD % len(ANSWER) + ANSWER)
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def call(task: dict[str, Any], first: int, begin: float, answers: list[Any]) -> None:
    """One connection's share of the calls, each at its time or as soon after as it can be."""
    request = (
        f"POST {task['path']} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {task['key']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    ).encode() + BODY
    streams = None
    for number in range(first, int(task["rate"] * task["seconds"]), CONNECTIONS):
        await asyncio.sleep(begin + number / task["rate"] - time.monotonic())
        reader, writer = streams or await asyncio.open_connection("127.0.0.1", task["port"])
        sent = time.monotonic()
        writer.write(request)
        line, lasts = await read(reader)
        answers.append((sent, time.monotonic(), int(line.split()[1])))
        streams = (reader, writer) if lasts else None


async def main() -> None:
    provider = await asyncio.start_server(provide, "127.0.0.1", 0)
    print(provider.sockets[0].getsockname()[1], flush=True)
    task = json.loads(await asyncio.to_thread(sys.stdin.readline))
    answers: list[Any] = []
    begin = time.monotonic() + 0.1
    print("started", flush=True)
    await asyncio.gather(*(call(task, first, begin, answers) for first in range(CONNECTIONS)))
    print(json.dumps(answers))


if __name__ == "__main__":
    uvloop.run(main())
