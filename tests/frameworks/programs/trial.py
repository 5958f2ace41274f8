"""Three ways to ask a model through a framework, for each model named; writes what came of it.

Arguments of a program: where to write, a line of JSON for each model and way; then
``MODEL=WAY,WAY`` for each model.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

QUESTION = "Say five words"
TOOL_QUESTION = "What is the weather in Paris?"
SECONDS = 60


def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


Way = Callable[[str], Awaitable[list[str]]]
"""Asks a model of that name; the pieces of its answer."""


async def run(ways: Mapping[str, Way]) -> None:
    """Try each way with each model of the command line."""
    outcomes, *models = sys.argv[1:]
    for model, _, chosen in (argument.partition("=") for argument in models):
        for name in chosen.split(","):
            found = {"model": model, "way": name, "pieces": [], "error": ""}
            try:
                found["pieces"] = await asyncio.wait_for(ways[name](model), SECONDS)
            except Exception as error:
                found["error"] = f"{type(error).__name__}: {error}"[:600]
            with Path(outcomes).open("a") as file:
                print(json.dumps(found), file=file)
    os._exit(0)  # frameworks leave threads behind, which would be waited for
