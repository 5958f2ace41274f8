"""One line on its way into the store."""

import re

import msgspec

from serai.kernel.lines import LogLine

MOST_TEXT = 32 * 1024
"""Characters that are kept of a line."""
SLACK = 4 * 1024
"""More of them wait until secrets are masked: one that lies across the cut goes as a whole."""
ROW_BYTES = 64
"""What a line takes beside its text, about."""
LATEST_NS = 1 << 62
_SURROGATES = re.compile("[\ud800-\udfff]")

Key = tuple[str, str, str]
"""Whose lines: workspace, type and name of the resource."""
Origin = tuple[str, str, str, str, str, str, str]
"""``source``, ``output``, ``revision``, ``instance``, ``execution``, ``task`` and ``build``."""

SEVERITIES = {"debug": 5, "info": 9, "warning": 13, "error": 17, "fatal": 21}
"""Numbers of OpenTelemetry (logs data model, severity fields)."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line as the store takes it.

    Attributes:
        key: whose it is.
        at_ns: nanoseconds since 1970.
        origin: what printed it.
        severity: OpenTelemetry's number, 0 for an unknown one.
        text: cut to ``MOST_TEXT`` and ``SLACK``.
        length: characters that it had.
        trace_id: 32 hexadecimal digits, or empty.
        attributes: a JSON object, or empty.
    """

    key: Key
    at_ns: int
    origin: Origin
    severity: int
    text: str
    length: int
    trace_id: str = ""
    attributes: str = ""

    @property
    def size(self) -> int:
        """What it takes, about, in memory as on the disk."""
        return len(self.text) + len(self.attributes) + ROW_BYTES


def entry_of(line: LogLine) -> Entry:
    """A line that was handed to the sink."""
    text = line.text
    return Entry(
        key=(line.workspace, line.resource_type, line.resource),
        at_ns=line.at_ns,
        origin=(
            line.source,
            line.stream,
            line.revision,
            line.instance,
            line.execution,
            line.task,
            line.build,
        ),
        severity=SEVERITIES[line.severity],
        text=waiting(text),
        length=len(text),
    )


def waiting(text: str) -> str:
    """As much of a text as is held until it is written: what is kept, and what tells of a cut."""
    return text[: MOST_TEXT + SLACK] if len(text) > MOST_TEXT else text


def storable(text: str) -> str:
    """A text that every database can hold: no NUL, no half of a pair of surrogates."""
    if text.isascii():
        return text.replace("\0", "�") if "\0" in text else text
    return _SURROGATES.sub("�", text.replace("\0", "�"))


def shortened(text: str, length: int, *, was_cut: bool) -> str:
    """A masked text of at most ``MOST_TEXT`` characters, which says so when something is missing.

    Args:
        text: what was waiting, masked.
        length: characters that the line had.
        was_cut: whether it had more than what was waiting. Its end may be a part of a secret then,
            which no mask has found.
    """
    if was_cut:
        text = text[:-SLACK]
    elif len(text) <= MOST_TEXT:
        return text
    return f"{text[:MOST_TEXT]}… [cut: {length:,} characters in all]"
