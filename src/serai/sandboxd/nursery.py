"""Programs at the usual priority, beside threads as quick as the API.

Where the API goes before its programs on the CPU (a negative nice value), what it forks would do
so too until somebody took that away, and not even process 1 may take it from a program that became
another user first. So the kernel does, at the fork: ``SCHED_RESET_ON_FORK``. But that counts for
each thread that has asked for it, for the threads it begins as well as for programs, across
``execve``, and cannot be taken back without a capability that no sandbox has. Therefore the main
thread, which starts programs, asks for it, and another one that has not begins all threads, and
executes the next version of this API.
"""

import concurrent.futures
import contextlib
import errno
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator

Work = Callable[[], object]


class Nursery:
    """Begins threads: in a thread of its own as soon as programs have been started.

    Until then, and where the API is no quicker than others, that costs nothing and the caller
    does it.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Work, concurrent.futures.Future[None]]]
        self._work = queue.SimpleQueue()
        self._begun = False
        self._has_thread = False

    def ready(self) -> None:
        """To be called before the calling thread starts a program; always by the same thread.

        Raises:
            OSError: the sandbox may have no more threads.
        """
        if self._begun:
            return
        if os.getpriority(os.PRIO_PROCESS, 0) < 0:
            self._begin()
        self._begun = True

    def _begin(self) -> None:
        thread = threading.Thread(target=self._serve, name="nursery", daemon=True)
        try:
            with no_signals():
                thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        self._has_thread = True
        policy = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(0))

    def _serve(self) -> None:
        while True:
            work, done = self._work.get()
            try:
                work()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

    def run(self, work: Work) -> None:
        """Do what begins threads, or replaces this process; they take no signals.

        Raises:
            Exception: what ``work`` raises.
        """
        if not self._has_thread:
            with no_signals():
                work()
            return
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._work.put((work, done))
        done.result()


@contextlib.contextmanager
def no_signals() -> Iterator[None]:
    """Block all signals in this thread; threads that it begins meanwhile keep them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
