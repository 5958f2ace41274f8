"""What a build prints: kept by the sink of all logs, without the values that are secret."""

import time
from collections.abc import Iterable

from serai.build.records import BuildRow
from serai.kernel.lines import LineSink, LogLine, Severity

_LINE_MAX = 4000
_SECRET_MIN = 4
"""Values that are shorter would be found everywhere."""


class BuildLines:
    """The lines of one build, ``last`` the newest; each has a moment of its own, in their order."""

    def __init__(self, sink: LineSink, row: BuildRow) -> None:
        self._sink = sink
        self._row = row
        self._secrets: list[str] = []
        self._moment = 0
        self.last = "nothing"

    def hide(self, secrets: Iterable[str]) -> None:
        """Show these values as ``***`` from now on."""
        found = {each for each in secrets if len(each) >= _SECRET_MIN} | set(self._secrets)
        self._secrets = sorted(found, key=len, reverse=True)

    def masked(self, text: str) -> str:
        """A text without secret values."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def say(self, text: str, severity: Severity = "info") -> None:
        """Keep a text, each of its lines as one."""
        lines = [self._line(each, severity) for each in text.splitlines() if each.strip()]
        if lines:
            self._sink.write(lines)

    def _line(self, text: str, severity: Severity) -> LogLine:
        row = self._row
        self._moment = max(time.time_ns(), self._moment + 1000)
        shown = self.masked(text)[:_LINE_MAX]
        self.last = shown
        return LogLine(
            at_ns=self._moment,
            workspace=row.workspace,
            resource_type=row.resource_type,
            resource=row.name,
            source="build",
            text=shown,
            severity=severity,
            revision=row.revision,
            build=row.id,
        )
