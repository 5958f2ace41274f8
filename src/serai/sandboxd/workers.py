"""Threads for what may block."""

import concurrent.futures
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers(concurrent.futures.ThreadPoolExecutor):
    """Works on when the sandbox may have no more threads, because programs have used them up.

    Then the threads that there are do the work, and if there is none, the caller.
    """

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> "concurrent.futures.Future[T]":
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        try:
            super().submit(work)
        except RuntimeError:
            # Queued all the same, but nobody may be there to take it.
            if not self._threads:
                self._work_queue.get_nowait()
                work()
        return future
