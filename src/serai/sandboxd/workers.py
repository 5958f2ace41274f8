"""Threads for what may block."""

import concurrent.futures
import signal
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers(concurrent.futures.ThreadPoolExecutor):
    """Works on when the sandbox may have no more threads, because programs have used them up.

    Then the threads that there are do the work, and if there is none, the caller.

    They take no signals. Of process 1 the kernel keeps those that it does not handle away, but not
    while one thread blocks them, as starting a program does, and another one does not: then they
    end all of it, whoever sent them.
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
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            super().submit(work)  # may start a thread, which takes over what is blocked
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _starts_none(self) -> bool:
        """Whether work that is submitted now, from the only thread that does so, starts no thread.

        Blocking signals takes longer than the work that is handed over here for each piece of a
        file, and is needed for eight threads in all.
        """
        if len(self._threads) >= self._max_workers:
            return True
        waits = self._idle_semaphore.acquire(blocking=False)
        if waits:
            self._idle_semaphore.release()
        return waits
