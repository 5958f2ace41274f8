"""What the platform tells the API in a box about tasks of jobs, and hears of them.

These calls are the platform's own: no client of a sandbox knows them.
"""

from serai.wire.common import Wire


class TaskRequest(Wire, kw_only=True):
    """A task to run.

    Attributes:
        name: unique among all that the box ever ran.
        command: words; no shell reads them.
        environment: variables on top of the box's own.
        working_dir: absolute; that of the box when absent.
        timeout: seconds after which it is asked to end.
        grace: seconds that it has for ending when asked to, before it is killed.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    working_dir: str | None = None
    timeout: float
    grace: float


class TaskEnd(Wire, omit_defaults=False):
    """How a task ended: the last event of its stream.

    Attributes:
        code: exit code; -1 when a signal ended it.
        late: its time limit ended it.
        stopped: it was asked to end, by the limit or otherwise.
    """

    code: int
    late: bool
    stopped: bool


class TaskDataPlace(Wire):
    """Where programs in the box find the parameters of all tasks: ``BL_EXECUTION_DATA_URL``."""

    url: str
