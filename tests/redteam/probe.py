"""Asks the platform and a neighbour for the usual things while something else goes on."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import httpx

from platform_server import KEY, Server

NEIGHBOUR = "neighbour"
_PAUSE = 0.05


class Seen:
    """What happened since a moment: ``failures`` in words, the ``slowest`` answer in seconds."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.slowest = 0.0
        self.rounds = 0


class Probe:
    """A thread that takes turns through every question, from ``with`` to its end."""

    def __init__(self, server: Server) -> None:
        self._api = server.client_for(KEY)
        self._lock = threading.Lock()
        self._watchers: list[Seen] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._questions: dict[str, Callable[[], httpx.Response]] = {
            "health of the platform": lambda: self._api.get("/health"),
            "list of sandboxes": lambda: self._api.get("/v0/sandboxes"),
            "a neighbour's command": self._command,
            "a neighbour's file": self._file,
        }

    def __enter__(self) -> "Probe":
        body = {"metadata": {"name": NEIGHBOUR}, "spec": {"runtime": {"memory": 2048}}}
        assert self._api.post("/v0/sandboxes", json=body).status_code == 200
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._api.delete(f"/v0/sandboxes/{NEIGHBOUR}")
        self._api.close()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Seen]:
        """What is seen inside the ``with``, at least one whole round at its end."""
        seen = Seen()
        with self._lock:
            self._watchers.append(seen)
        try:
            yield seen
            enough = seen.rounds + 2
            while seen.rounds < enough and self._thread.is_alive():
                time.sleep(_PAUSE)
        finally:
            with self._lock:
                self._watchers.remove(seen)

    def _command(self) -> httpx.Response:
        body = {"command": "echo well", "waitForCompletion": True, "timeout": 30}
        answer = self._api.post(f"/main/sandboxes/{NEIGHBOUR}/process", json=body)
        if answer.status_code == 200 and answer.json()["stdout"] != "well\n":
            answer.status_code = 599
        return answer

    def _file(self) -> httpx.Response:
        return self._api.get(f"/main/sandboxes/{NEIGHBOUR}/filesystem//etc/passwd")

    def _run(self) -> None:
        while not self._over.is_set():
            for name, ask in self._questions.items():
                begin = time.monotonic()
                try:
                    answer = ask()
                    problem = "" if answer.status_code == 200 else answer.text[:300]
                    code = answer.status_code
                except httpx.HTTPError as error:
                    problem, code = repr(error), 0
                self._note(name, time.monotonic() - begin, f"{code} {problem}" if problem else "")
            with self._lock:
                for seen in self._watchers:
                    seen.rounds += 1
            self._over.wait(_PAUSE)

    def _note(self, name: str, seconds: float, problem: str) -> None:
        with self._lock:
            for seen in self._watchers:
                seen.slowest = max(seen.slowest, seconds)
                if problem:
                    seen.failures.append(f"{name}: {problem}")
