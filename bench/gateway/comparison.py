"""Starts the upstream, nginx and the gateway, loads them in turns and compares."""

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.platform import KEY, Skipped, free_port, running

CONNECTIONS = 64
SECONDS = 2
PATH = "/main/models/bench/v1/chat/completions"
BODY = '{"model":"bench","messages":[{"role":"user","content":"How are you today, friend?"}]}'

_USAGE = '"usage":{"prompt_tokens":12,"completion_tokens":90,"total_tokens":102}'
ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":'
    '{"role":"assistant","content":"' + "x" * 390 + '"},"finish_reason":"stop"}],' + _USAGE + "}"
)


class Result(NamedTuple):
    """One compared figure.

    Attributes:
        name: what was measured.
        value: the gateway's median.
        unit: of value and baseline.
        baseline: nginx's median.
        ratio: median over the rounds of gateway / nginx.
    """

    name: str
    value: float
    unit: str
    baseline: float
    ratio: float


class Sample(NamedTuple):
    """One round on one target."""

    cpu_us: float
    rate: float


def run(rounds: int) -> list[Result]:
    """Measure over interleaved rounds.

    Raises:
        Skipped: nginx or wrk is not installed.
    """
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            raise Skipped(f"{tool} is not installed (Debian: apt-get install nginx-light wrk)")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        upstream, proxy = free_port(), free_port()
        script = _script(directory)
        stack.enter_context(_nginx(directory, "upstream", _upstream_conf(upstream), 0, upstream))
        nginx = stack.enter_context(
            _nginx(directory, "proxy", _proxy_conf(proxy, upstream), 1, proxy)
        )
        targets = {"nginx": (nginx, proxy), "serai": stack.enter_context(_serai(upstream))}
        for pid, port in targets.values():
            _load(pid, port, script, seconds=1)
        samples: dict[str, list[Sample]] = {name: [] for name in targets}
        for _ in range(rounds):
            for name_, (pid, port) in targets.items():
                samples[name_].append(_load(pid, port, script, seconds=SECONDS))
    return _compare(samples["serai"], samples["nginx"])


def _compare(ours: list[Sample], nginx: list[Sample]) -> list[Result]:
    results = []
    for field, name, unit in ((0, "model call, CPU", "us"), (1, "model call, rate", "req/s")):
        mine = [sample[field] for sample in ours]
        theirs = [sample[field] for sample in nginx]
        ratio = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
        label = f"{name}, c={CONNECTIONS}"
        medians = statistics.median(mine), statistics.median(theirs)
        results.append(Result(label, medians[0], unit, medians[1], ratio))
    least = min(sample.cpu_us for sample in ours), min(sample.cpu_us for sample in nginx)
    results.append(Result("  quietest round, CPU", least[0], "us", least[1], least[0] / least[1]))
    return results


def _script(directory: Path) -> Path:
    script = directory / "request.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = '{BODY}'\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {KEY}"\n'
        'wrk.headers["Accept"] = "application/json"\n'
        'wrk.headers["User-Agent"] = "OpenAI/Python 1.99"\n'
        'wrk.headers["X-Stainless-Lang"] = "python"\n'
        'wrk.headers["X-Stainless-Runtime"] = "CPython"\n'
        'wrk.headers["Accept-Encoding"] = "gzip, deflate"\n'
    )
    return script


_COMMON = """
daemon off; master_process off; pid {name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; tcp_nodelay on;
  client_body_temp_path body_{name}; proxy_temp_path proxy_{name};
  fastcgi_temp_path fastcgi_{name}; uwsgi_temp_path uwsgi_{name}; scgi_temp_path scgi_{name};
"""


def _upstream_conf(port: int) -> str:
    return f"""
  server {{ listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{ANSWER}'; }} }} }}
"""


def _proxy_conf(port: int, upstream: int) -> str:
    return f"""
  upstream origin {{ server 127.0.0.1:{upstream}; keepalive 128;
    keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://origin; proxy_http_version 1.1;
      proxy_set_header Connection ""; }} }} }}
"""


@contextlib.contextmanager
def _process(command: list[str], port: int, core: int, **options: object) -> Iterator[int]:
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        _pin(process.pid, core)
        _await_port(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def _nginx(
    directory: Path, name: str, conf: str, core: int, port: int
) -> contextlib.AbstractContextManager[int]:
    path = directory / f"{name}.conf"
    path.write_text(_COMMON.format(name=name) + conf)
    command = ["nginx", "-p", str(directory), "-c", str(path), "-e", "stderr"]
    return _process(command, port, core)


@contextlib.contextmanager
def _serai(upstream: int) -> Iterator[tuple[int, int]]:
    """The whole platform, as `serai up` runs it; process id and port."""
    with running() as platform:
        secret = {"apiKey": "sk-provider"}
        config = {"baseUrl": f"http://127.0.0.1:{upstream}/v1"}
        connection = {"integration": "openai", "secret": secret, "config": config}
        platform.post("/v0/integrations/connections", "bench", connection)
        model = {"runtime": {"type": "openai", "model": "provider-model"}}
        platform.post("/v0/models", "bench", model | {"integrationConnections": ["bench"]})
        assert platform.process is not None
        _pin(platform.process.pid, 1)
        yield platform.process.pid, platform.port


def _pin(pid: int, core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(pid, {cores[core % len(cores)]})


def _await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start to listen")


def _cpu_ns(pid: int) -> int:
    """Time on the CPU of all threads, in nanoseconds, from the scheduler."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def _load(pid: int, port: int, script: Path, *, seconds: int) -> Sample:
    core = sorted(os.sched_getaffinity(0))[0]
    before = _cpu_ns(pid)
    done = subprocess.run(
        [
            *("taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"),
            *("-s", str(script), f"http://127.0.0.1:{port}{PATH}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    spent = _cpu_ns(pid) - before
    for trouble in ("Non-2xx", "Socket errors"):
        if trouble in done.stdout:
            raise RuntimeError(f"requests failed: {done.stdout}")
    found = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if found is None:
        raise RuntimeError(f"wrk said something unknown: {done.stdout}")
    count = int(found[1])
    return Sample(spent / 1000 / count, count / float(found[2]))
