"""What only shows over time: memory over many requests, and usage after kill -9."""

import contextlib
import http.client
import signal
import sqlite3
import threading
import time
from pathlib import Path

from bench.gateway.load import headers, load, question
from bench.gateway.processes import resident_kb
from bench.gateway.targets import Target
from bench.gateway.tools import Tools
from bench.platform import Platform
from serai.metering.dimensions import MODEL_REQUESTS
from serai.metering.store import FILE

_CLIENTS = 4
_COUNTED = (
    "SELECT COALESCE(SUM(quantity), 0) FROM usage_events JOIN usage_series"
    " ON usage_series.id = usage_events.series_id WHERE dimension = ?"
)


def growth(tools: Tools, target: Target, requests: int, folder: Path) -> tuple[float, float, int]:
    """Resident memory in MB before and after this many requests, and how many there were."""
    before = resident_kb(target.pid) / 1024
    done = 0
    while done < requests:
        done += load(tools, target, "json", 64, 5 if requests > 20_000 else 1, folder).requests
    return before, resident_kb(target.pid) / 1024, done


class Loss:
    """How much usage a crash lost.

    Attributes:
        answered: calls that their clients got a whole answer to.
        counted: those of them that the meter knows after the next start.
        age: seconds before the crash at which the first lost one was answered; 0 when none was.
    """

    def __init__(self, answered: list[float], counted: int, died: float) -> None:
        answered.sort()
        self.answered = len(answered)
        self.counted = counted
        self.age = died - answered[counted] if counted < len(answered) else 0.0


def loss(target: Target, seconds: float) -> Loss:
    """Call for a while, kill the whole platform in the midst of it, start it again and count."""
    platform = target.platform
    assert platform is not None
    assert platform.process is not None
    time.sleep(2.5)  # whatever was called before is written by now
    before = _counted(platform)
    answered: list[float] = []
    stop = threading.Event()
    clients = [
        threading.Thread(target=_call, args=(target, answered, stop)) for _ in range(_CLIENTS)
    ]
    for client in clients:
        client.start()
    time.sleep(seconds)
    died = time.monotonic()
    platform.process.send_signal(signal.SIGKILL)
    platform.process.wait()
    stop.set()
    for client in clients:
        client.join()
    platform.start()
    return Loss(
        [moment for moment in answered if moment <= died], _counted(platform) - before, died
    )


def _counted(platform: Platform) -> int:
    path = Path(platform.data_dir) / FILE
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return int(db.execute(_COUNTED, [MODEL_REQUESTS]).fetchone()[0])


def _call(target: Target, answered: list[float], stop: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    fields, body = headers(target, "json"), question(target, "json")
    with contextlib.suppress(OSError, http.client.HTTPException):
        while not stop.is_set():
            connection.request("POST", target.path["json"], body, fields)
            answer = connection.getresponse()
            if answer.status == 200 and answer.read():
                answered.append(time.monotonic())
            else:
                answer.read()
