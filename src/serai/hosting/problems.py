"""Why a workload cannot answer."""

from serai.kernel.errors import NotFound

TAIL_LINES = 8
TAIL_CHARACTERS = 600


class WorkloadUnavailable(NotFound):
    """The workload is there, and nothing of it serves (404, as the contract has it).

    ``details`` has ``reason``, one word for programs.
    """

    code = "WORKLOAD_UNAVAILABLE"


class SessionEnded(NotFound):
    """The instance that knew a session is gone (404, as MCP has it)."""

    code = "SESSION_NOT_FOUND"


ENDED = "This session has ended, with the instance that knew it: initialize a new one."


class StartFailed(Exception):
    """An instance does not serve.

    Attributes:
        reason: ``image``, ``no_entrypoint``, ``runtime``, ``crashed``, ``wrong_port``,
            ``never_listened`` or ``policy``.
        message: for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def unavailable(reason: str, message: str, retry_after: int | None = None) -> WorkloadUnavailable:
    """The answer to a request for a workload of which nothing serves."""
    problem = WorkloadUnavailable(message)
    problem.details["reason"] = reason
    if retry_after is not None:
        problem.headers["Retry-After"] = str(max(1, retry_after))
    return problem


def with_tail(message: str, tail: list[str]) -> str:
    """A message and the last lines of what failed."""
    kept = "\n".join(tail[-TAIL_LINES:])[-TAIL_CHARACTERS:]
    return f"{message} Its last output:\n{kept}" if kept else f"{message} It printed nothing."
