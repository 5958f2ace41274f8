"""What stands behind every target: one nginx that answers as a provider of models does."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.gateway.processes import running
from bench.gateway.tools import Tools
from bench.platform import free_port

EVENTS = 52
"""Of a stream: 50 with text, one with the usage, and the last, ``[DONE]``."""

_USAGE = {"prompt_tokens": 12, "completion_tokens": 90, "total_tokens": 102}
_EVENT_BYTES = 257

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x" * 390},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    },
    separators=(",", ":"),
)


def _event(text: str, usage: dict[str, int] | None = None) -> str:
    delta = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "m",
            "choices": []
            if usage
            else [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}],
            "usage": usage,
        },
        separators=(",", ":"),
    ).replace(',"usage":null', "" if usage is None else ',"usage":null')


def text_event() -> str:
    """One ``data:`` event of a stream, with the blank line that ends it."""
    short = len(_event("")) + len("data: \n\n")
    return f"data: {_event('x' * (_EVENT_BYTES - short))}\n\n"


def usage_event() -> str:
    """The event that tells the tokens."""
    return f"data: {_event('', _USAGE)}\n\n"


class Origin(NamedTuple):
    """Ports of the upstream: each answers every request in one way.

    Attributes:
        json: a chat completion, at once.
        slow: the same after 50 ms; 0 without nginx's Lua module, like the next two.
        stream: a stream of events, as fast as they go.
        paced: the same, an event each 20 ms.
    """

    json: int
    slow: int
    stream: int
    paced: int


COMMON = """
{loads}daemon off; master_process off; worker_processes 1; pid {name}.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600; tcp_nodelay on;
  client_body_temp_path body_{name}; proxy_temp_path proxy_{name};
  fastcgi_temp_path fastcgi_{name}; uwsgi_temp_path uwsgi_{name}; scgi_temp_path scgi_{name};
  {http}
"""

_STREAM = """
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/event-stream; content_by_lua_block {{
      ngx.req.read_body()
      for i = 1, 50 do ngx.print(text) ngx.flush(true) {pause} end
      ngx.print(usage) ngx.flush(true) {pause}
      ngx.print("data: [DONE]\\n\\n") ngx.flush(true) }} }} }}
"""


def _conf(tools: Tools, ports: Origin) -> str:
    loads, http = tools.lua or ("", "")
    if tools.lua:
        http += (
            f"\n  init_by_lua_block {{ text = {_lua(text_event())} usage = {_lua(usage_event())} }}"
        )
    conf = COMMON.format(loads=loads, name="origin", http=http)
    answer = f"default_type application/json; return 200 '{ANSWER}';"
    conf += (
        f"  server {{ listen 127.0.0.1:{ports.json} backlog=4096; location / {{ {answer} }} }}\n"
    )
    if tools.lua:
        conf += (
            f"  server {{ listen 127.0.0.1:{ports.slow} backlog=4096; location / {{"
            " default_type application/json; content_by_lua_block {"
            f" ngx.req.read_body() ngx.sleep(0.05) ngx.print({_lua(ANSWER)}) }} }} }}\n"
        )
        conf += _STREAM.format(port=ports.stream, pause="")
        conf += _STREAM.format(port=ports.paced, pause="ngx.sleep(0.02)")
    return conf + "}\n"


def _lua(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("\n", "\\n") + "'"


@contextlib.contextmanager
def origin(tools: Tools, folder: Path) -> Iterator[Origin]:
    """The upstream, on the core of the load generator."""
    ports = Origin(free_port(), *((free_port() for _ in range(3)) if tools.lua else (0, 0, 0)))
    with nginx(tools, folder, "origin", _conf(tools, ports), 0, ports.json):
        yield ports


def nginx(
    tools: Tools, folder: Path, name: str, conf: str, core: int, port: int
) -> contextlib.AbstractContextManager[int]:
    """An nginx with this configuration; its process id."""
    path = folder / f"{name}.conf"
    path.write_text(conf)
    command = [tools.nginx, "-p", str(folder), "-c", str(path), "-e", "stderr"]
    return running(command, port, core, log=folder / f"{name}.log", environ=tools.environ)
