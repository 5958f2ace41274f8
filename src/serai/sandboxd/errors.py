"""Errors only this API has, and operating system errors as answers."""

import os

from serai.kernel.errors import Conflict, SeraiError


class Unprocessable(SeraiError):
    """The request is well formed, but the system refuses to carry it out (422)."""

    status = 422
    code = "UNPROCESSABLE"


class HeadersTooLarge(SeraiError):
    """Request line and headers are over the limit (431)."""

    status = 431
    code = "HEADERS_TOO_LARGE"


class AlreadyExists(Conflict):
    """A copy may not replace what is there (409); the answer carries this code."""

    code = "FILE_ALREADY_EXISTS"


class Unavailable(SeraiError):
    """Well asked, but this sandbox cannot do it (500, as the contract has it)."""

    status = 500
    code = "UNAVAILABLE"


def reason(error: OSError) -> str:
    """What went wrong in the system's words, lower case: ``no space left on device``."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def refused(what: str, action: str, path: str, error: OSError) -> Unprocessable:
    """A 422 such as ``error writing file: open /x: permission denied``."""
    return Unprocessable(f"{what}: {action} {path}: {reason(error)}")
