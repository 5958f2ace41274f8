"""Load from wrk, which checks the status and the body of every reply."""

import json
import os
import subprocess
from pathlib import Path

import msgspec

from bench.gateway.origin import EVENTS
from bench.gateway.processes import cpu_ns
from bench.gateway.targets import Target
from bench.gateway.tools import Tools

_CLIENT = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "OpenAI/Python 1.99",
    "X-Stainless-Lang": "python",
    "X-Stainless-Runtime": "CPython",
    "Accept-Encoding": "identity",
}
_QUESTION = [{"role": "user", "content": "How are you today, friend?"}]
_CHECKS = {
    "json": 'string.find(body, "completion_tokens", 1, true) and #body > 400',
    "stream": f'#body > {100 * EVENTS} and string.find(body, "[DONE]", #body - 40, true)',
}
_SCRIPT = """
wrk.method = "POST"
wrk.body = %(body)s
%(headers)s
bad = 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function response(status, headers, body)
  if status ~= 200 or not (%(check)s) then
    bad = bad + 1
    if bad == 1 then first = tostring(status) .. " " .. string.sub(body, 1, 300) end
  end
end
function done(summary, latency, requests)
  local errors = summary.errors
  local wrong, example = 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("bad")
    example = thread:get("first") or example
  end
  io.write(string.format("\\n{\\"requests\\":%%d,\\"us\\":%%d,\\"bad\\":%%d,\\"broken\\":%%d,"
    .. "\\"p50\\":%%d,\\"p99\\":%%d}\\n", summary.requests, summary.duration, wrong,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
  if wrong > 0 then io.write(example, "\\n") end
end
"""


class Sample(msgspec.Struct, frozen=True):
    """One load on one target.

    Attributes:
        requests: that were answered.
        seconds: that it took.
        cpu_us: CPU time of the target for a request, in microseconds.
        core: share of one core that the target used.
        p50_ms: median of the time to the last byte of an answer.
        p99_ms: the same of 99 in 100.
    """

    requests: int
    seconds: float
    cpu_us: float
    core: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class _Done(msgspec.Struct):
    requests: int
    us: int
    bad: int
    broken: int
    p50: int
    p99: int


class Failed(Exception):
    """The target did not answer as it must; the message has an example."""


def load(
    tools: Tools, target: Target, lane: str, connections: int, seconds: float, folder: Path
) -> Sample:
    """Load a target and watch what it uses.

    Raises:
        Failed: an answer was wrong, or none came.
    """
    script = _script(target, lane, folder)
    url = f"http://127.0.0.1:{target.port}{target.path[lane]}"
    core = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, tools.wrk, "-t1", f"-c{connections}", "--timeout", "60s"]
    before = cpu_ns(target.pid)
    done = subprocess.run(
        [*command, f"-d{max(1, round(seconds))}s", "-s", str(script), url],
        env=os.environ | tools.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    spent = (cpu_ns(target.pid) - before) / 1000
    _, mark, told = done.stdout.partition("\n{")
    if done.returncode or not mark:
        raise Failed(f"wrk failed: {done.stdout[-300:]} {done.stderr[-300:]}")
    found, _, example = told.partition("\n")
    result = msgspec.json.decode("{" + found, type=_Done)
    if result.bad or result.broken or not result.requests:
        raise Failed(
            f"{result.bad} of {result.requests} replies were wrong and {result.broken}"
            f" connections broke; for example: {example.strip()}"
        )
    return Sample(
        result.requests,
        result.us / 1e6,
        spent / result.requests,
        spent / result.us,
        result.p50 / 1000,
        result.p99 / 1000,
    )


def question(target: Target, lane: str) -> bytes:
    """The body of a request."""
    body: dict[str, object] = {"model": target.model[lane], "messages": _QUESTION}
    if lane in ("stream", "paced"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body, separators=(",", ":")).encode()


def headers(target: Target, lane: str) -> dict[str, str]:
    """The header fields of a request."""
    return _CLIENT | target.headers[lane]


def _script(target: Target, lane: str, folder: Path) -> Path:
    path = folder / f"load-{target.port}-{lane}.lua"
    fields = headers(target, lane)
    check = _CHECKS["stream" if lane in ("stream", "paced") else "json"]
    path.write_text(
        _SCRIPT
        % {
            "body": json.dumps(question(target, lane).decode()),
            "headers": "\n".join(
                f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}"
                for name, value in fields.items()
            ),
            "check": check,
        }
    )
    return path
