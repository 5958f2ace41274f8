"""Finding files by name and by content; synchronous, run in worker threads."""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from serai.sandboxd.files import opened_at_once
from serai.sandboxd.paths import text
from serai.wire.sandbox_files import ContentMatch, FindMatch, FuzzyMatch

DEFAULT_EXCLUDED = frozenset(
    "node_modules,vendor,.git,dist,build,target,__pycache__,.venv,.next,coverage".split(",")  # noqa: SIM905
)
CONTENT_LIMIT = 64 * 1024 * 1024
"""Larger files are not searched."""
LINE_SHOWN = 4096
"""Characters of a matching line that are shown."""
_SNIFF = 8192

Kind = Literal["file", "directory"]


class Scope(msgspec.Struct, frozen=True):
    """Where to look. ``halted`` tells that nobody waits for the answer any more."""

    root: str
    excluded: frozenset[str]
    skip_hidden: bool
    halted: Callable[[], bool]


class Found(msgspec.Struct, frozen=True):
    """An entry below the root; ``path`` is relative to it."""

    path: str
    name: str
    kind: Kind
    regular: bool


def walk(scope: Scope) -> Iterator[Found]:
    """All entries below the root, depth first in lexical order; links are not followed."""
    stack = [_entries(scope, "")]
    while stack and not scope.halted():
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        yield found
        if found.kind == "directory":
            stack.append(_entries(scope, found.path))


def _entries(scope: Scope, relative: str) -> Iterator[Found]:
    try:
        with os.scandir(os.path.join(scope.root, relative)) as scan:
            entries = sorted(scan, key=lambda e: e.name)
    except OSError:  # not readable, or gone
        return
    for entry in entries:
        if scope.skip_hidden and entry.name.startswith("."):
            continue
        directory = entry.is_dir(follow_symlinks=False)
        if directory and entry.name in scope.excluded:
            continue
        yield Found(
            os.path.join(relative, entry.name),
            entry.name,
            "directory" if directory else "file",
            entry.is_file(follow_symlinks=False),
        )


def name_filter(patterns: str) -> Callable[[str], bool]:
    """A test of base names against comma-separated shell patterns; none accept every name."""
    wanted = [p.strip().replace("[^", "[!") for p in patterns.split(",") if p.strip()]
    if not wanted:
        return lambda name: True
    joined = re.compile("|".join(fnmatch.translate(p) for p in wanted))
    return lambda name: joined.match(name) is not None


def find(scope: Scope, kind: str, patterns: str, most: int) -> list[FindMatch]:
    """Entries of one kind; patterns apply to files only. ``most`` 0 means all."""
    accepts = name_filter(patterns)
    matches = [FindMatch(path=".", type="directory")] if kind == "directory" else []
    for found in walk(scope):
        if most and len(matches) >= most:
            break
        if found.kind == kind and (kind == "directory" or accepts(found.name)):
            matches.append(FindMatch(path=text(found.path), type=found.kind))
    return matches[:most] if most else matches


class ContentQuery(msgspec.Struct, frozen=True):
    """A plain substring to look for, and in which files."""

    query: str
    case_sensitive: bool
    file_pattern: str
    most: int
    around: int = 0


def search_content(scope: Scope, wanted: ContentQuery) -> list[ContentMatch]:
    """Lines that hold the query, at most one match per line; binary files are skipped."""
    accepts = name_filter(wanted.file_pattern)
    matches: list[ContentMatch] = []
    for found in walk(scope):
        if len(matches) >= wanted.most:
            break
        if found.regular and accepts(found.name):
            _search_file(scope.root, found.path, wanted, matches)
    return matches[: wanted.most]


def readable(path: str, limit: int = CONTENT_LIMIT) -> str | None:
    """A text file's content; None for what is binary, longer than ``limit`` bytes or no file."""
    try:
        with open(path, "rb", opener=opened_at_once) as file:
            info = os.fstat(file.fileno())
            start = file.read(_SNIFF) if stat.S_ISREG(info.st_mode) else b"\0"
            if b"\0" in start or info.st_size > limit:
                return None
            return (start + file.read(limit)).decode("utf-8", "replace")
    except OSError:
        return None


def _search_file(root: str, path: str, wanted: ContentQuery, matches: list[ContentMatch]) -> None:
    content = readable(os.path.join(root, path))
    if content is None:
        return
    fold = (lambda s: s) if wanted.case_sensitive else str.lower
    needle = fold(wanted.query)
    if needle not in fold(content):
        return
    lines = content.split("\n")
    for number, line in enumerate(lines, 1):
        at = fold(line).find(needle)
        if at < 0:
            continue
        column = len(fold(line)[:at].encode("utf-8", "replace")) + 1
        match = ContentMatch(path=text(path), line=number, column=column, text=_shown(line))
        if wanted.around:
            near = lines[max(0, number - 1 - wanted.around) : number + wanted.around]
            match.context = "\n".join(_shown(each) for each in near)
        matches.append(match)
        if len(matches) >= wanted.most:
            return


def _shown(line: str) -> str:
    return line.rstrip("\r")[:LINE_SHOWN]


def score(query: str, candidate: str) -> int:
    """How well the letters of ``query`` appear in order in ``candidate``; 0 when they do not.

    Letters in a row and at the start of a word count more, long candidates a little less.
    """
    total, at, previous = 0, 0, -2
    lowered = candidate.lower()
    for letter in query.lower():
        at = lowered.find(letter, at)
        if at < 0:
            return 0
        starts_word = at == 0 or not lowered[at - 1].isalnum()
        total += 16 + (8 if at == previous + 1 else 0) + (8 if starts_word else 0)
        previous = at
        at += 1
    return max(1, total - len(candidate) // 8)


def fuzzy(scope: Scope, query: str, patterns: str, most: int) -> list[FuzzyMatch]:
    """The best matches of a query among relative paths, best first."""
    accepts = name_filter(patterns)
    ranked = [
        FuzzyMatch(path=text(found.path), score=value, type=found.kind)
        for found in walk(scope)
        if accepts(found.name) and (value := score(query, found.path))
    ]
    ranked.sort(key=lambda match: (-match.score, match.path))
    return ranked[:most] if most else ranked
