"""Our own changelog: ``changelog.md``, one section for each day."""

import re
from pathlib import Path

from serai.wire.catalog import Changelog, ChangelogEntry

SECTION = re.compile(r"^## (\d{4}-\d{2}-\d{2}) (.+)$", re.MULTILINE)


def parse_changelog(text: str) -> Changelog:
    """The sections ``## YYYY-MM-DD Title`` of a Markdown text, newest first."""
    parts = SECTION.split(text)[1:]
    entries = [
        ChangelogEntry(date=date, title=title.strip(), content=content.strip())
        for date, title, content in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
    return Changelog(entries=sorted(entries, key=lambda entry: entry.date, reverse=True))


def own_changelog() -> Changelog:
    """The changelog that comes with this version."""
    return parse_changelog(Path(__file__).with_name("changelog.md").read_text())
