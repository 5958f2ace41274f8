"""What is measured: Serai, nginx, and other gateways, each with the settings that suit it best."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.gateway.origin import COMMON, Origin, nginx
from bench.gateway.processes import pin, running, tree
from bench.gateway.tools import Tools, node_baseline, python_baseline
from bench.platform import KEY, Platform, Skipped, free_port
from bench.platform import running as platform_running

LANES = Origin._fields
"""The ways in which the upstream answers; each target has a model, or a path, for each."""


class Target(NamedTuple):
    """A gateway under measurement.

    Attributes:
        pid: of its first process.
        port: where it listens, on 127.0.0.1.
        path: of a chat completion, for each lane.
        model: that the body names, for each lane.
        headers: that the gateway needs beside those of the client, for each lane.
        platform: of Serai, to stop and ask.
    """

    pid: int
    port: int
    path: dict[str, str]
    model: dict[str, str]
    headers: dict[str, dict[str, str]]
    platform: Platform | None = None


Start = Callable[[Tools, Origin, Path], contextlib.AbstractContextManager[Target]]


def _lanes(make: Callable[[str], str]) -> dict[str, str]:
    return {lane: make(lane) for lane in LANES}


def _bearer() -> dict[str, dict[str, str]]:
    return {lane: {"Authorization": f"Bearer {KEY}"} for lane in LANES}


# -- Serai
_POLICY = {
    "type": "maxToken",
    "resourceTypes": ["model"],
    "maxTokens": {"granularity": "day", "step": 1, "input": 0, "output": 0, "total": 10**12},
}


@contextlib.contextmanager
def serai(tools: Tools, origin: Origin, folder: Path) -> Iterator[Target]:
    """The whole platform, as `serai up` runs it: each call has a key, a policy and metering."""
    with platform_running() as platform:
        platform.post("/v0/policies", "bench", _POLICY)
        for lane, port in zip(LANES, origin, strict=True):
            config = {"baseUrl": f"http://127.0.0.1:{port}/v1"}
            secret = {"apiKey": "sk-provider"}
            connection = {"integration": "openai", "secret": secret, "config": config}
            platform.post("/v0/integrations/connections", lane, connection)
            runtime = {"type": "openai", "model": "provider-model"}
            model = {"runtime": runtime, "integrationConnections": [lane], "policies": ["bench"]}
            platform.post("/v0/models", lane, model)
        assert platform.process is not None
        for pid in tree(platform.process.pid):
            pin(pid, 1)
        path = _lanes(lambda lane: f"/main/models/{lane}/v1/chat/completions")
        model_names = _lanes(lambda lane: lane)
        yield Target(platform.process.pid, platform.port, path, model_names, _bearer(), platform)


# -- nginx
_PROXY = """
  upstream {lane} {{ server 127.0.0.1:{port}; keepalive 512; keepalive_requests 100000000; }}
"""
_LOCATION = """
    location /{lane}/ {{ proxy_pass http://{lane}/; proxy_http_version 1.1; {buffering}
      proxy_set_header Connection ""; {more} }}
"""
_LUA_HTTP = """
  lua_shared_dict usage 10m;
  init_by_lua_block {{
    keys = {{ ["{key}"] = {{ workspace = "main", budget = 1000000000000000 }} }} }}
"""
_LUA_SERVER = """
    access_by_lua_block {
      local value = ngx.var.http_authorization
      local key = value and keys[string.sub(value, 8)]
      if not key or string.sub(value, 1, 7) ~= "Bearer " then return ngx.exit(401) end
      if (ngx.shared.usage:get(key.workspace .. "/tokens") or 0) >= key.budget then
        return ngx.exit(429)
      end
      ngx.ctx.workspace = key.workspace
    }
    body_filter_by_lua_block {
      local chunk = ngx.arg[1]
      local usage = string.find(chunk, '"usage"', 1, true)
      if usage then
        local tokens = string.match(chunk, '"total_tokens"%s*:%s*(%d+)', usage)
        if tokens then ngx.ctx.tokens = tonumber(tokens) end
      end
      if ngx.arg[2] then
        local usage = ngx.shared.usage
        usage:incr(ngx.ctx.workspace .. "/requests", 1, 0)
        usage:incr(ngx.ctx.workspace .. "/tokens", ngx.ctx.tokens or 0, 0)
      end
    }
"""


def _proxy_conf(name: str, port: int, origin: Origin, lua: tuple[str, str] | None) -> str:
    loads, http = lua or ("", "")
    if lua:
        http += _LUA_HTTP.format(key=KEY)
    more = 'proxy_set_header Authorization "Bearer sk-provider";' if lua else ""
    conf = COMMON.format(loads=loads, name=name, http=http)
    locations = ""
    for lane, behind in zip(LANES, origin, strict=True):
        if behind:
            buffering = "proxy_buffering off;" if lane in ("stream", "paced") else ""
            conf += _PROXY.format(lane=lane, port=behind)
            locations += _LOCATION.format(lane=lane, buffering=buffering, more=more)
    server = (_LUA_SERVER if lua else "") + locations
    return f"{conf}  server {{ listen 127.0.0.1:{port} backlog=4096; {server} }} }}\n"


@contextlib.contextmanager
def _nginx(
    tools: Tools, origin: Origin, folder: Path, name: str, lua: tuple[str, str] | None
) -> Iterator[Target]:
    port = free_port()
    conf = _proxy_conf(name, port, origin, lua)
    with nginx(tools, folder, name, conf, 1, port) as pid:
        path = _lanes(lambda lane: f"/{lane}/v1/chat/completions")
        yield Target(pid, port, path, _lanes(lambda _: "provider-model"), _bearer())


def plain_nginx(
    tools: Tools, origin: Origin, folder: Path
) -> contextlib.AbstractContextManager[Target]:
    """``proxy_pass`` with connections kept: it forwards, and nothing else."""
    return _nginx(tools, origin, folder, "nginx", None)


def nginx_lua(
    tools: Tools, origin: Origin, folder: Path
) -> contextlib.AbstractContextManager[Target]:
    """The same with a key, a budget and usage counting in Lua."""
    if tools.lua is None:
        raise Skipped("nginx's Lua module is not installed (Debian: libnginx-mod-http-lua)")
    return _nginx(tools, origin, folder, "nginx-lua", tools.lua)


# -- other gateways
_TENSORZERO = """
import sys, threading, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None,
    async_setup=False)
port = gateway.base_url.split(":")[2].split("/")[0]
open(sys.argv[2], "w").write(port)
threading.Event().wait()
"""


@contextlib.contextmanager
def tensorzero(tools: Tools, origin: Origin, folder: Path) -> Iterator[Target]:
    """TensorZero's gateway (Rust), from its Python wheel; observability off, no authentication."""
    place = python_baseline("tensorzero", "tensorzero")
    lines = ["[gateway]", "observability.enabled = false"]
    for lane, port in zip(LANES, origin, strict=True):
        lines += [
            f"[models.{lane}]",
            'routing = ["bench"]',
            f"[models.{lane}.providers.bench]",
            'type = "openai"',
            'model_name = "provider-model"',
            f'api_base = "http://127.0.0.1:{port}/v1"',
        ]
    config, found = folder / "tensorzero.toml", folder / "tensorzero.port"
    config.write_text("\n".join(lines))
    command = [str(place / "bin/python"), "-c", _TENSORZERO, str(config), str(found)]
    environ = {"OPENAI_API_KEY": "sk-provider", "RUST_LOG": "error"}
    log = folder / "tensorzero.log"
    with running(command, found, 1, log=log, environ=environ, cwd=folder) as pid:
        path = _lanes(lambda _: "/openai/v1/chat/completions")
        model = _lanes(lambda lane: f"tensorzero::model_name::{lane}")
        yield Target(pid, int(found.read_text()), path, model, _bearer())


@contextlib.contextmanager
def portkey(tools: Tools, origin: Origin, folder: Path) -> Iterator[Target]:
    """Portkey's gateway (Node.js); as run here it checks no key and stores no usage."""
    place = node_baseline("portkey", "@portkey-ai/gateway")
    port = free_port()
    server = place / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", str(server), f"--port={port}", "--headless"]
    environ = {"NODE_ENV": "production"}
    with running(command, port, 1, log=folder / "portkey.log", environ=environ, cwd=place) as pid:
        headers = {
            lane: {
                "Authorization": "Bearer sk-provider",
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": f"http://127.0.0.1:{behind}/v1",
            }
            for lane, behind in zip(LANES, origin, strict=True)
        }
        path = _lanes(lambda _: "/v1/chat/completions")
        yield Target(pid, port, path, _lanes(lambda _: "provider-model"), headers)


@contextlib.contextmanager
def litellm(tools: Tools, origin: Origin, folder: Path) -> Iterator[Target]:
    """LiteLLM's proxy with the settings of its page on production; no database, no callbacks."""
    place = python_baseline("litellm", "litellm")
    config = {
        "model_list": [
            {
                "model_name": lane,
                "litellm_params": {
                    "model": "openai/gpt-4o-mini",
                    "api_base": f"http://127.0.0.1:{port}/v1",
                    "api_key": "sk-provider",
                },
            }
            for lane, port in zip(LANES, origin, strict=True)
        ],
        "litellm_settings": {"json_logs": True, "set_verbose": False, "request_timeout": 600},
        "general_settings": {"master_key": f"sk-{KEY}", "proxy_batch_write_at": 60},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(config))  # which is YAML too
    port = free_port()
    command = [str(place / "bin/litellm"), "--config", str(path), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    environ = {
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PATH": f"{place}/bin:/usr/bin:/bin",
    }
    log = folder / "litellm.log"
    with running(command, port, 1, log=log, environ=environ, cwd=folder) as pid:
        headers = {lane: {"Authorization": f"Bearer sk-{KEY}"} for lane in LANES}
        yield Target(
            pid, port, _lanes(lambda _: "/v1/chat/completions"), _lanes(lambda lane: lane), headers
        )


TARGETS: dict[str, Start] = {
    "serai": serai,
    "nginx": plain_nginx,
    "nginx-lua": nginx_lua,
    "tensorzero": tensorzero,
    "portkey": portkey,
    "litellm": litellm,
}
