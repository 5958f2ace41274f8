"""Applying an edit that leaves out unchanged code, without any model.

An edit is the new text of some regions of a file, with marker comments such as
``// ... existing code ...`` for everything between them. Each region is found by the lines it
shares with the file; the same edit of the same file always gives the same result. Where a
region fits nowhere or in several places the edit is refused, never guessed.
"""

import difflib
import re

from serai.sandboxd.errors import Unprocessable

_MARKER = re.compile(
    r"\s*(?P<open>(?://+|#+|--+|;+|%+|/\*+|<!--|\{/\*|\(\*)\s*)?(?P<dots>\.{3,}|…)?\s*"
    r"(?:(?:keep|the|all|other)\s+)*(?:existing|unchanged|remaining|rest of(?: the)?)\s+"
    r"(?:code|content|lines?|file|imports?|functions?|methods?)\b[^.…]{0,60}(?:\.{3,}|…)?\s*"
    r"(?:\*/\}?|-->|\*\))?\s*",
    re.IGNORECASE,
)
ANCHOR_LINES = 50
"""Lines of a region that are compared to find its place."""
MOST_LINES = 20_000
"""Lines of a file or an edit; comparing more would take long."""
_REACH = 500
"""Lines of a file that are searched for a region's next line."""
_MARKER_LENGTH = 120
_SIMILAR = 0.6
_OPEN, _CLOSE = "([{", ")]}"


def is_marker(line: str) -> bool:
    """Whether a line stands for unchanged code: a comment or an ellipsis that says so."""
    line = line.strip()
    match = _MARKER.fullmatch(line) if len(line) <= _MARKER_LENGTH else None
    return match is not None and bool(match["open"] or match["dots"])


def apply_edit(original: str, edit: str) -> str:
    """The file after an edit. An edit without any marker is the whole new file.

    Raises:
        Unprocessable: when a region's place is not clear, naming the region and the fix.
    """
    regions = _regions(edit)
    if len(regions) == 1:
        return edit
    if max(text.count("\n") for text in (original, edit)) > MOST_LINES:
        raise Unprocessable(f"a file of over {MOST_LINES} lines can only be written as a whole")
    merge = _Merge(original.splitlines())
    for number, region in enumerate(regions):
        if region:
            merge.place(region, number, is_last=number == len(regions) - 1)
    return merge.result(ends_line=edit.endswith("\n") or original.endswith("\n"))


def _regions(edit: str) -> list[list[str]]:
    """The texts between markers, without blank lines around them."""
    regions: list[list[str]] = [[]]
    for line in edit.splitlines():
        if is_marker(line):
            regions.append([])
        else:
            regions[-1].append(line)
    return [_trimmed(region) for region in regions]


def _trimmed(lines: list[str]) -> list[str]:
    start, end = 0, len(lines)
    while start < end and not lines[start].strip():
        start += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return lines[start:end]


def _says_something(line: str) -> bool:
    """Whether a line is more than brackets and blanks, so that it can mark a place."""
    return sum(char.isalnum() for char in line) >= 2


def _depth(line: str) -> int:
    return sum(char in _OPEN for char in line) - sum(char in _CLOSE for char in line)


class _Merge:
    """Regions placed one after the other into the lines of a file."""

    def __init__(self, original: list[str]) -> None:
        self._original = original
        self._same = [line.rstrip() for line in original]
        self._done: list[str] = []
        self._at = 0

    def result(self, *, ends_line: bool) -> str:
        """The new text."""
        lines = self._done + self._original[self._at :]
        return "\n".join(lines) + ("\n" if ends_line and lines else "")

    def place(self, region: list[str], number: int, *, is_last: bool) -> None:
        """Put a region where its lines are."""
        lines = [line.rstrip() for line in region]
        start, length = self._head(lines, number)
        if start is not None:
            self._replace(start, self._end(lines, start, length), region)
            return
        tail = self._tail(lines)
        if tail is not None:
            at, size = tail
            self._replace(at, at, region[:-size])
        elif is_last:
            self._replace(len(self._original), len(self._original), region)
        elif number == 0:
            self._replace(self._at, self._at, region)
        else:
            raise Unprocessable(
                f"edit region {number} beginning '{region[0].strip()[:60]}' shares no line with the"
                " file: repeat an unchanged line before or after it"
            )

    def _replace(self, start: int, end: int, region: list[str]) -> None:
        self._done += self._original[self._at : start] + region
        self._at = end

    def _head(self, lines: list[str], number: int) -> tuple[int | None, int]:
        """Where the region's first lines are in the file, and how many of them in a row."""
        best: list[int] = []
        longest = 0
        for at in range(self._at, len(self._same)):
            size = self._run(lines, at)
            if size > longest:
                best, longest = [at], size
            elif size and size == longest:
                best.append(at)
        if not any(_says_something(line) for line in lines[:longest]):
            return None, 0
        if len(best) > 1:
            raise Unprocessable(
                f"edit region {number} beginning '{lines[0].strip()[:60]}' fits {len(best)} places:"
                " repeat more of the unchanged lines before it"
            )
        return best[0], longest

    def _run(self, lines: list[str], at: int) -> int:
        size = 0
        most = min(len(lines), ANCHOR_LINES, len(self._same) - at)
        while size < most and lines[size] == self._same[at + size]:
            size += 1
        return size

    def _end(self, lines: list[str], start: int, length: int) -> int:
        """One past the last line of the file that the region replaces."""
        at, reach, depth = start + length, min(len(lines) + 20, _REACH), 0
        unplaced: list[str] = []
        for line in lines[length:]:
            closes = depth > 0 and not _says_something(line)
            found = None if closes or not line else self._next(line, at, reach)
            if found is None:
                depth = max(0, depth + _depth(line))
                unplaced.append(line)
            else:
                at, depth = found + 1, 0
                unplaced.clear()
        return self._past_changed(unplaced, at)

    def _next(self, line: str, at: int, reach: int) -> int | None:
        for place in range(at, min(at + reach, len(self._same))):
            if self._same[place] == line:
                return place
        return None

    def _past_changed(self, unplaced: list[str], at: int) -> int:
        """Lines at the region's end that look like the file's next ones are their new text."""
        for line in unplaced[:ANCHOR_LINES]:
            if at >= len(self._same) or not self._is_new_form(line, self._same[at]):
                break
            at += 1
        return at

    @staticmethod
    def _is_new_form(new: str, old: str) -> bool:
        if not new.strip() or len(new) - len(new.lstrip()) != len(old) - len(old.lstrip()):
            return False
        short = difflib.SequenceMatcher(None, new[:200], old[:200], autojunk=False)
        return short.ratio() >= _SIMILAR

    def _tail(self, lines: list[str]) -> tuple[int, int] | None:
        """Where the region's last lines are, and how many in a row, when that is clear."""
        last = lines[-1]
        if not _says_something(last):
            return None
        places = [at for at in range(self._at, len(self._same)) if self._same[at] == last]
        if len(places) != 1:
            return None
        at, size = places[0], 1
        while size < len(lines) and at > self._at and self._same[at - 1] == lines[-size - 1]:
            at, size = at - 1, size + 1
        while not self._same[at]:  # blank lines stay with what is above them
            at, size = at + 1, size - 1
        return at, size
