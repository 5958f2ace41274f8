"""Ordering files by how much they have to do with a question: words only, no model.

The score is BM25 without its open end: 1 would be a file full of every word asked for, 0 one
with none of them. Rare words count more, long files a little less, and a word in the file's
name as much as several in it.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from serai.sandboxd.search import Scope, readable, walk
from serai.wire.sandbox_files import RankedFile

FILE_LIMIT = 512 * 1024
"""Longer files are not looked at, in bytes."""
MOST_FILES = 5000
TOTAL_LIMIT = 32 * 1024 * 1024
"""Characters of all files together; what comes after them is not looked at."""
CHARACTERS_PER_TOKEN = 4
_NAME_WEIGHT = 5
_SATURATION, _LENGTH = 1.2, 0.75
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W\d_]+")


def words(text: str) -> Iterator[str]:
    """The stems of a text; ``readHTTPBody`` and ``read_http_body`` are three words each."""
    return (_stem(match.lower()) for match in _WORD.findall(text))


def _stem(word: str) -> str:
    """A word without its commonest English endings."""
    for ending in ("s", "ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) > 2 and not word.endswith("ss"):
            word = word.removesuffix(ending)
    return word


_COMMON = frozenset(
    words(
        "a an and are as at be by do does for from how i in is it me my of on or that the this to"
        " was we what when where which who why will with you"
    )
)


class Document(msgspec.Struct, frozen=True):
    """A file with its words counted."""

    path: str
    content: str
    counts: Counter[str]
    size: int


def documents(scope: Scope, paths: Iterable[str]) -> Iterator[Document]:
    """The text files among some paths below the scope's root."""
    left = TOTAL_LIMIT
    for path in paths:
        if scope.halted() or left <= 0:
            return
        content = readable(os.path.join(scope.root, path), FILE_LIMIT)
        if content is None:
            continue
        left -= len(content)
        counts = Counter(words(content))
        for word in words(path):
            counts[word] += _NAME_WEIGHT
        yield Document(path, content, counts, sum(counts.values()))


def candidates(scope: Scope) -> list[str]:
    """Paths of the files that may be ranked."""
    found = []
    for entry in walk(scope):
        if entry.regular:
            found.append(entry.path)
        if len(found) >= MOST_FILES:
            break
    return found


def rank(found: list[Document], query: str, threshold: float, token_limit: int) -> list[RankedFile]:
    """The files that have most to do with the query, best first, as many as the limit allows."""
    asked = {word for word in words(query) if word not in _COMMON} or set(words(query))
    weights = {word: weight for word in sorted(asked) if (weight := _rarity(word, found))}
    if not weights:
        return []
    average = sum(each.size for each in found) / len(found) or 1.0
    scored = [(_score(each, weights, average), each) for each in found]
    scored.sort(key=lambda pair: (-pair[0], pair[1].path))
    ranked: list[RankedFile] = []
    left = token_limit * CHARACTERS_PER_TOKEN
    for score, each in scored:
        if score < threshold or score <= 0:
            break
        if len(each.content) > left:
            continue
        left -= len(each.content)
        ranked.append(RankedFile(path=each.path, content=each.content, score=round(score, 4)))
    return ranked


def _rarity(word: str, found: list[Document]) -> float:
    """What a word counts; nothing when it is nowhere, as it tells no file from another."""
    holding = sum(1 for each in found if each.counts[word])
    if not holding:
        return 0.0
    return math.log(1 + (len(found) - holding + 0.5) / (holding + 0.5)) + 0.1


def _score(each: Document, weights: dict[str, float], average: float) -> float:
    length = 1 - _LENGTH + _LENGTH * each.size / average
    total = sum(
        weight * each.counts[word] / (each.counts[word] + _SATURATION * length)
        for word, weight in weights.items()
    )
    return total / sum(weights.values())
