"""How long a client is willing to wait for its sandbox."""

from serai.kernel.errors import BadRequest, SeraiError

HEADER = "X-Blaxel-Creation-Timeout"
SECONDS_MAX = 50


class CreationTimeout(SeraiError):
    """A sandbox was not ready in time; nothing is left of it (408)."""

    status = 408
    code = "CREATION_TIMEOUT"


class CreationDeadline:
    """Passed or not; asked at the points where a creation can be undone."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.passed = False

    def check(self) -> None:
        """Go on while there is time.

        Raises:
            CreationTimeout: the time is over.
        """
        if self.passed:
            raise self.problem()

    def problem(self) -> CreationTimeout:
        """What the client is told."""
        return CreationTimeout(
            f"The sandbox was not ready within {self.seconds} s; its creation was cancelled and "
            "the name is free again. Allow more time in the X-Blaxel-Creation-Timeout header."
        )


def deadline_of(value: str | None) -> CreationDeadline | None:
    """The deadline that a request's header sets, if any.

    Raises:
        BadRequest: not a whole number from 1 to 50.
    """
    if value is None or not value.strip():
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= SECONDS_MAX:
        return CreationDeadline(int(text))
    raise BadRequest(
        f"{HEADER} {text[:20]!r} is not a whole number of seconds from 1 to {SECONDS_MAX}."
    )
