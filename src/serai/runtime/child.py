"""The first process to be, as its midwife has it."""

import contextlib
import os
import signal
import socket


class Child:
    """Its pid, a pipe to hear it, and a socket to talk to it. It dies unless it was ``born``."""

    def __init__(self, pid: int, heard: int, line: socket.socket) -> None:
        self.pid = pid
        self.heard = heard
        self.line = line
        self.born = False

    def leave(self) -> None:
        """Nothing more to say to it."""
        if not self.born:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
        self.forget()

    def forget(self) -> None:
        """It is somebody else's affair."""
        os.close(self.heard)
        self.line.close()
