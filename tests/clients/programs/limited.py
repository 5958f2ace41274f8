"""The clients of OpenAI and Anthropic against models with rate limits; prints nothing but done.

Models are named ``limited-openai`` and ``limited-anthropic``: two requests a second, by key.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

import anthropic
import openai

E = TypeVar("E", bound=Exception)

MODELS = f"{os.environ['BL_RUN_URL']}/{os.environ['BL_WORKSPACE']}/models"
KEY = os.environ["BL_API_KEY"]
HELLO = [{"role": "user", "content": "Say five words"}]


def openai_client(retries: int) -> openai.OpenAI:
    url = f"{MODELS}/limited-openai/v1"
    return openai.OpenAI(api_key=KEY, base_url=url, max_retries=retries)


def anthropic_client(retries: int) -> anthropic.Anthropic:
    url = f"{MODELS}/limited-anthropic"
    return anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=retries)


def ask_openai(retries: int) -> dict[str, str]:
    raw = openai_client(retries).chat.completions.with_raw_response.create(
        model="m", messages=HELLO, max_tokens=10
    )
    assert raw.parse().usage.total_tokens == 16
    return dict(raw.headers)


def ask_anthropic(retries: int) -> dict[str, str]:
    raw = anthropic_client(retries).messages.with_raw_response.create(
        model="m", messages=HELLO, max_tokens=10
    )
    assert raw.parse().usage.output_tokens == 5
    return dict(raw.headers)


def refusal(call: Callable[[int], object], kind: type[E]) -> E:
    try:
        call(0)
    except kind as problem:
        return problem
    raise AssertionError("the third call of a second was let through")


def refused_then_retried() -> None:
    told = [ask_openai(0)["x-ratelimit-remaining-requests"] for _ in range(2)]
    assert told == ["1", "0"], told
    problem = refusal(ask_openai, openai.RateLimitError)
    assert problem.code == "RATE_LIMITED", problem.body
    assert 0 < int(problem.response.headers["retry-after-ms"]) <= 1100
    assert problem.response.headers["x-ratelimit-remaining-requests"] == "0"
    begun = time.monotonic()
    ask_openai(2)  # its own retry waits as long as it was told
    assert time.monotonic() - begun > 0.1


def refused_then_retried_by_anthropic() -> None:
    told = [ask_anthropic(0)["anthropic-ratelimit-requests-remaining"] for _ in range(2)]
    assert told == ["1", "0"], told
    problem = refusal(ask_anthropic, anthropic.RateLimitError)
    assert "rate limit of 2 requests per second" in str(problem)
    assert problem.response.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    ask_anthropic(2)


def streamed_with_tokens() -> None:
    """A stream under a limit of tokens is whole, and says how the limit stands."""
    time.sleep(1.1)
    raw = openai_client(0).chat.completions.with_raw_response.create(
        model="m", messages=HELLO, max_tokens=10, stream=True
    )
    assert raw.headers["x-ratelimit-limit-tokens"] == "100000"
    assert sum(1 for _ in raw.parse()) > 1


refused_then_retried()
refused_then_retried_by_anthropic()
streamed_with_tokens()
print("done")
