"""The clients of OpenAI and Anthropic against models that fall back and keep answers.

Models are named ``down-KIND``, whose provider cannot be reached, and ``steady-KIND``, to which the
former falls back and which has a cache. The clients try nothing again themselves.
"""

import os

import anthropic
import openai

MODELS = f"{os.environ['BL_RUN_URL']}/{os.environ['BL_WORKSPACE']}/models"
KEY = os.environ["BL_API_KEY"]
HELLO = [{"role": "user", "content": "Say five words"}]
FIVE = "Five words come from here"


def openai_at(name: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{MODELS}/{name}/v1", max_retries=0)


def anthropic_at(name: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=KEY, base_url=f"{MODELS}/{name}", max_retries=0)


def said_by_openai(name: str) -> str:
    chunks = openai_at(name).chat.completions.create(model="m", messages=HELLO, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def said_by_anthropic(name: str) -> str:
    with anthropic_at(name).messages.stream(model="m", messages=HELLO, max_tokens=9) as stream:
        return stream.get_final_text()


def falls_back() -> None:
    raw = openai_at("down-openai").chat.completions.with_raw_response.create(
        model="m", messages=HELLO
    )
    assert raw.parse().choices[0].message.content == FIVE
    assert raw.headers["x-serai-model"] == "steady-openai"
    assert raw.headers["x-serai-attempts"] == "3"
    assert said_by_openai("down-openai") == FIVE
    assert said_by_anthropic("down-anthropic") == FIVE


def answers_again() -> None:
    for _ in range(3):
        assert said_by_openai("steady-openai") == FIVE
        assert said_by_anthropic("steady-anthropic") == FIVE
    states = []
    for _ in range(2):
        raw = openai_at("steady-openai").embeddings.with_raw_response.create(model="m", input="x")
        assert raw.parse().data[0].embedding
        states.append((raw.headers["x-serai-cache"], raw.headers["x-serai-attempts"]))
    assert states == [("miss", "1"), ("hit", "0")], states


def keeps_time() -> None:
    client = openai_at("down-openai").with_options(default_headers={"x-serai-timeout-ms": "none"})
    told = ""
    try:
        client.chat.completions.create(model="m", messages=HELLO)
    except openai.BadRequestError as problem:
        told = str(problem)
    assert "x-serai-timeout-ms" in told, "a senseless deadline was taken"


def writes_down() -> None:
    client = openai_at("down-openai")
    told = client.audio.transcriptions.create(model="m", file=("a.wav", b"RIFF" * 1000))
    assert told.text == FIVE


falls_back()
answers_again()
keeps_time()
writes_down()
print("done")
