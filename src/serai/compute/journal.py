"""What the platform says in the logs of a sandbox about what becomes of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from serai.kernel.lines import LineSink, LogLine, Severity
from serai.resources.documents import Document
from serai.runtime.port import RuntimeProblem


class SandboxJournal:
    """Writes lines of sandboxes to ``sink``, once there is one."""

    def __init__(self) -> None:
        self.sink: LineSink | None = None

    def say(self, workspace: str, sandbox: str, text: str, severity: Severity = "info") -> None:
        """Add a line to the log of a sandbox."""
        if self.sink is None:
            return
        line = LogLine(
            at_ns=time.time_ns(),
            workspace=workspace,
            resource_type="sandbox",
            resource=sandbox,
            source="run",
            text=f"[serai] {text}",
            severity=severity,
        )
        self.sink.write([line])

    @contextmanager
    def failures(self, sandbox: Document) -> Iterator[None]:
        """Say why a sandbox could not be started."""
        try:
            yield
        except RuntimeProblem as problem:
            text = f"The sandbox could not be started: {problem}"
            self.say(sandbox.workspace, sandbox.name, text, "error")
            raise
