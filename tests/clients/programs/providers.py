"""The providers' own SDKs, each at the URL of a model of its type; prints nothing but done.

Models are named ``p-TYPE``.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

import anthropic
import cohere
import httpx
import openai
from google import genai
from mistralai.client import Mistral

TEXT = "Five words come from here"
MODELS = f"{os.environ['BL_RUN_URL']}/{os.environ['BL_WORKSPACE']}/models"
KEY = os.environ["BL_API_KEY"]
HELLO = [{"role": "user", "content": "Say five words"}]
OPENAI_LIKE = (
    "openai",
    "mistral",
    "deepseek",
    "xai",
    "groq",
    "cerebras",
    "huggingface",
    "hf-private-endpoint",
    "azure-openai-service",
    "azure-ai-inference",
    "vertexai",
    "gemini",
    "cohere",
    "openrouter",
    "house",
)


def url(kind: str) -> str:
    return f"{MODELS}/p-{kind}"


def openai_chat(kind: str) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{url(kind)}/v1")
    whole = client.chat.completions.create(model="m", messages=HELLO)
    assert whole.choices[0].message.content == TEXT, whole
    assert whole.usage.total_tokens == 16
    pieces = client.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == TEXT


def openai_rest() -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{url('openai')}/v1")
    assert client.responses.create(model="m", input="Hi").output_text == TEXT
    assert client.embeddings.create(model="m", input="Hi").data[0].embedding == [0.5, 0.25]
    heard = client.audio.transcriptions.create(model="m", file=("a.wav", b"RIFF" * 50000))
    assert heard.text == TEXT


def azure() -> None:
    client = openai.AzureOpenAI(
        azure_endpoint=url("azure-dated"), api_version="2024-10-21", azure_ad_token=KEY
    )
    whole = client.chat.completions.create(model="their-name", messages=HELLO)
    assert whole.choices[0].message.content == TEXT


def anthropic_messages() -> None:
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    client = anthropic.Anthropic(api_key=KEY, base_url=url("anthropic"), default_headers=headers)
    whole = client.messages.create(model="m", max_tokens=9, messages=HELLO)
    assert whole.content[0].text == TEXT
    with client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == TEXT
        assert stream.get_final_message().usage.output_tokens == 5


def gemini() -> None:
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    options = {"base_url": url("gemini"), "headers": headers}
    client = genai.Client(api_key=KEY, http_options=options)
    whole = client.models.generate_content(model="m", contents="Hi")
    assert whole.text == TEXT
    stream = client.models.generate_content_stream(model="m", contents="Hi")
    assert "".join(piece.text for piece in stream) == TEXT


def cohere_chat() -> None:
    client = cohere.ClientV2(api_key=KEY, base_url=url("cohere"))
    assert client.chat(model="m", messages=HELLO).message.content[0].text == TEXT
    events = client.chat_stream(model="m", messages=HELLO)
    words = [e.delta.message.content.text for e in events if e.type == "content-delta"]
    assert "".join(words) == TEXT
    ranked = client.rerank(model="m", query="a", documents=["b", "c"])
    assert ranked.results[0].index == 1


def mistral() -> None:
    client = Mistral(api_key=KEY, server_url=url("mistral"))
    assert client.chat.complete(model="m", messages=HELLO).choices[0].message.content == TEXT
    with client.chat.stream(model="m", messages=HELLO) as stream:
        words = [event.data.choices[0].delta.content for event in stream if event.data.choices]
    assert "".join(word for word in words if word) == TEXT


def told(kind: type[Exception], stream: Callable[[], Iterable[object]]) -> str:
    """The message of the error that ends a stream."""
    try:
        list(stream())
    except kind as error:
        return str(error)
    raise SystemExit(f"no {kind.__name__} from a broken stream")


def broken_streams() -> None:
    """Each SDK understands the last event of a stream that breaks."""
    broken = [{"role": "user", "content": "Break off"}]
    headers = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    one = openai.OpenAI(api_key=KEY, base_url=f"{url('openai')}/v1").chat.completions
    two = anthropic.Anthropic(api_key=KEY, base_url=url("anthropic"), default_headers=headers)
    options = {"base_url": url("gemini"), "headers": headers}
    three = genai.Client(api_key=KEY, http_options=options)
    messages = (
        told(openai.APIError, lambda: one.create(model="m", messages=broken, stream=True)),
        told(
            anthropic.APIStatusError,
            lambda: two.messages.create(model="m", max_tokens=9, messages=broken, stream=True),
        ),
        told(
            genai.errors.APIError,
            lambda: three.models.generate_content_stream(model="m", contents="Break off"),
        ),
    )
    for message in messages:
        assert "closed the connection" in message, messages
    events = []
    four = cohere.ClientV2(api_key=KEY, base_url=url("cohere"))
    with contextlib.suppress(httpx.RemoteProtocolError):  # the connection is cut after it
        for event in four.chat_stream(model="m", messages=broken):
            events.append(event)
    assert events[-1].delta.finish_reason == "ERROR", events


def main() -> None:
    for kind in OPENAI_LIKE:
        openai_chat(kind)
    openai_rest()
    azure()
    anthropic_messages()
    gemini()
    cohere_chat()
    mistral()
    broken_streams()
    print("done")


if __name__ == "__main__":
    main()
