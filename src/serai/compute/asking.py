"""Questions of the platform to the API in a sandbox."""

import asyncio
import re

SUBMIT_SECONDS = 30.0
ANSWER_MAX = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")


async def ask(
    path: str,
    method: str,
    target: str,
    body: bytes,
    most: int = ANSWER_MAX,
    seconds: float = SUBMIT_SECONDS,
) -> tuple[int, bytes]:
    """Ask the sandbox API; what is inside is not trusted, so time and size are bounded.

    Returns:
        The status, and the beginning of the body: ``most`` bytes with the head.

    Raises:
        OSError: it cannot be reached, did not answer in time, or not with HTTP.
    """
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            answer = bytearray()
            while len(answer) < most and (data := await reader.read(most)):
                answer += data
        finally:
            writer.close()
    status = STATUS_LINE.match(answer)
    if status is None:
        raise OSError("its API did not answer with HTTP")
    return int(status[1]), bytes(answer).partition(b"\r\n\r\n")[2]
