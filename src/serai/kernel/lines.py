"""Lines of logs, as those who make them hand them to whoever keeps them."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

LineSource = Literal["build", "run", "task", "request"]
"""What printed a line: a build, a running instance of a deployment, a task of a job, or whoever
passed a request on to it."""
Severity = Literal["debug", "info", "warning", "error", "fatal"]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a workload or its build printed.

    Attributes:
        at_ns: when it was read, nanoseconds since 1970.
        workspace: whose it is.
        resource_type: ``agent``, ``function``, ``job``, ``application``, ``sandbox`` or ``image``.
        resource: its name.
        source: what printed it.
        text: without the end of line.
        severity: as far as it is known; what was printed to stderr is no error for that alone.
        stream: ``stdout`` or ``stderr``; empty for what the platform itself says.
        revision: id of the revision, or empty.
        instance: id of the instance that printed it, or empty.
        execution: of a job, its name, or empty.
        task: of an execution, the name of its task, or empty.
        build: id of the build, or empty.
    """

    at_ns: int
    workspace: str
    resource_type: str
    resource: str
    source: LineSource
    text: str
    severity: Severity = "info"
    stream: str = ""
    revision: str = ""
    instance: str = ""
    execution: str = ""
    task: str = ""
    build: str = ""


class LineSink(Protocol):
    """Keeps lines. The composition root passes in what telemetry made."""

    def write(self, lines: Sequence[LogLine]) -> None:
        """Keep lines; returns at once, from any thread. They can be read a moment later."""
