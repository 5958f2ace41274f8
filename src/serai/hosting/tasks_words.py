"""What people are told of an attempt that ended."""

from serai.compute.task_records import TaskRow
from serai.compute.task_states import Ended, Verdict

SIGNAL = "was ended by a signal (did it need more memory than spec.runtime.memory?)"


def told(task: TaskRow, ended: Ended, verdict: Verdict) -> str:
    """One sentence on the attempt, one on what follows, and the last lines it printed."""
    what = {
        "exited": _exited(ended),
        "timeout": "reached its time limit",
        "lost": "was lost with what it ran in",
        "unstartable": "could not be started",
    }[ended.outcome]
    if verdict.phase == "cancelled":
        what = "was ended, as the execution was cancelled"
    follows = ""
    if verdict.phase == "pending":
        follows = f" It is started again after {verdict.wait.total_seconds():g} s."
    text = f"Attempt {task.attempt} {what}.{follows}"
    if verdict.phase != "succeeded" and ended.detail:
        text += f"\n{ended.detail}"
    return text


def _exited(ended: Ended) -> str:
    if ended.code is None:
        return "ended before it began"
    return SIGNAL if ended.code < 0 else f"ended with exit code {ended.code}"
