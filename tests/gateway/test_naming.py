"""What operations are called, and what that keeps in memory."""

import tracemalloc

import pytest

from serai.gateway.models.naming import operation_of


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        (b"/v1/chat/completions", "chat"),
        (b"/v1/chat/completions///", "chat"),
        (b"/openai/deployments/" + b"d" * 300 + b"/chat/completions", "chat"),
        (b"/v1/completions", "text_completion"),
        (b"/completions", "text_completion"),
        (b"/v1beta/models/gemini:streamGenerateContent", "generate_content"),
        (b"/v1/audio/transcriptions", "transcription"),
        (b"/v1/images/generations/", "image_generation"),
        (b"/v1/files/chat", "chat"),
        (b"/v1/batches", "other"),
        (b"/" * 16_000, "other"),
        (b"", "other"),
        (b"/v1/\xff\xfe/rerank", "rerank"),
    ],
)
def test_the_end_of_a_path_tells(rest: bytes, name: str) -> None:
    assert operation_of(rest) == name


def test_long_paths_are_not_kept() -> None:
    """A client may make up a path of 16 KiB for each of its calls."""
    tracemalloc.start()
    try:
        for number in range(1000):
            operation_of(b"/%d/" % number + b"x" * 16_000)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000
