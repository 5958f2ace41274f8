"""Lines as they are answered."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from serai.telemetry.lines import calls
from serai.telemetry.lines.records import Stored
from serai.wire.telemetry import LogRecord

BILLION = 1_000_000_000


def timestamp(at_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, with nine digits: no two lines have the same."""
    seconds, rest = divmod(at_ns, BILLION)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def shown(line: Stored, *, with_name: bool = False) -> LogRecord:
    """A line as it is answered; with the name of its resource where those of several are mixed."""
    source, output, revision, instance, execution, task, build = line.origin
    at_ns = calls.at_ns(line.number) if line.key[1] == calls.MODEL else line.number
    return LogRecord(
        timestamp=timestamp(at_ns),
        message=line.text,
        severity=line.severity,
        trace_id=line.trace_id,
        type=source,
        output=output or None,
        workload=line.key[2] if with_name else None,
        revision=revision or None,
        instance=instance or None,
        execution_id=execution or None,
        task_id=task or None,
        build_id=build or None,
        attributes=_attributes(line.attributes),
    )


def _attributes(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:  # a mask has cut a secret out of the middle of an escape
        return {"text": text}
