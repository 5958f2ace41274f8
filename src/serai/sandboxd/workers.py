"""Threads for what may block."""

import concurrent.futures
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from serai.sandboxd.nursery import Nursery

P = ParamSpec("P")
T = TypeVar("T")


class Workers(concurrent.futures.ThreadPoolExecutor):
    """Works on when the sandbox may have no more threads, because programs have used them up.

    Then the threads that there are do the work, and if there is none, the caller.

    They take no signals. Of process 1 the kernel keeps those that it does not handle away, but not
    while one thread blocks them, as starting a program does, and another one does not: then they
    end all of it, whoever sent them.

    Args:
        nursery: begins them.
        most: how many.
        name: what their names begin with.
    """

    def __init__(self, nursery: Nursery, most: int, name: str = "") -> None:
        super().__init__(most, name)
        self._nursery = nursery

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
            self._enqueue(work)
        except RuntimeError:
            # Queued all the same, but nobody may be there to take it.
            if not self._threads:
                self._work_queue.get_nowait()
                work()
        return future

    def _enqueue(self, work: Callable[[], None]) -> None:
        if self._starts_none():
            super().submit(work)
            return
        submit = super().submit
        self._nursery.run(lambda: submit(work))  # may start a thread

    def _starts_none(self) -> bool:
        """Whether work that is submitted now, from the only thread that does so, starts no thread.

        Having one started takes longer than the work that is handed over here for each piece of a
        file, and is needed for eight threads in all.
        """
        if len(self._threads) >= self._max_workers:
            return True
        waits = self._idle_semaphore.acquire(blocking=False)
        if waits:
            self._idle_semaphore.release()
        return waits
