"""What every provider of the tests says, in terms of none of their protocols."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ASKED, SAID = 11, 5
"""Tokens of every question, and of every answer."""
WORDS = ["Five", " words", " come", " from", " here"]
TOOL = "weather"
ARGUMENTS = {"city": "Paris"}
RAW = json.dumps(ARGUMENTS)

Event = tuple[str, Any]
"""A server-sent event: its name, which may be empty, and its data."""


class Turn(NamedTuple):
    """What to say next: words, or, where there are none, a call of the tool."""

    words: list[str]

    @property
    def text(self) -> str:
        """The words in one piece."""
        return "".join(self.words)


class Answer(NamedTuple):
    """What a protocol makes of a request: a whole answer, or the events of a stream."""

    whole: Any = None
    events: Iterator[Event] | None = None
    lines: bool = False
    """The events are lines of JSON instead of server-sent ones."""


class Refused(Exception):
    """A request that the provider does not take.

    Attributes:
        status: HTTP status.
        body: the error as the provider words it.
    """

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body))
        self.status, self.body = status, body


class Protocol(NamedTuple):
    """One operation of a provider.

    Attributes:
        path: its path below the provider's base URL, as a regular expression.
        header: the header that carries the key, and what it must hold.
        answer: answers a decoded body; whether to stream, where the path says so.
        error: the provider's error for a status and a message.
    """

    path: str
    header: tuple[str, str]
    answer: Callable[[dict[str, Any], bool], Answer]
    error: Callable[[int, str], dict[str, Any]]


def next_turn(tools: list[str], results: list[str]) -> Turn:
    """The tool is called once where it is offered; then its result is told.

    Args:
        tools: names of the tools that the request offers.
        results: what tools have answered since the last question.
    """
    if results:
        return Turn(["The", " tool", " said", ": ", results[-1]])
    return Turn([] if TOOL in tools else WORDS)
