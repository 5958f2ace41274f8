"""The process that sandboxes are forked from. It does nothing else.

A fork shares each page of memory with its parent until one of them writes to it, and keeps the
old one for itself when it is the parent that writes. So whatever a parent does between two
forks costs the first of them memory: this one only waits, and forks. The first process of a
sandbox is its child, not the midwife's, whose memory it would keep a copy of.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn, Protocol

from serai.runtime import linux
from serai.runtime.child import Child

First = Callable[[bytes, int, socket.socket], NoReturn]
_WITH_CHILD, _ALONE = b"c", b"a"


class Attend(Protocol):
    """What each fork does with an order; it must not return."""

    def __call__(self, body: bytes, answer: int, child: Child | None, /) -> NoReturn: ...


class Mould:
    """The launcher's side."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def fileno(self) -> int:
        """Readable only when the process is gone."""
        return self._line.fileno()

    def fork(self, body: bytes, answer: int, *, with_child: bool) -> None:
        """Have a new process attend to ``body``, and write to (a copy of) ``answer``.

        Args:
            with_child: make the first process of a new pid namespace for it too.

        Raises:
            OSError: the mould is gone.
        """
        order = os.memfd_create("order")
        try:
            os.write(order, body)
            word = _WITH_CHILD if with_child else _ALONE
            socket.send_fds(self._line, [word], [order, answer])
        finally:
            os.close(order)


def start(attend: Attend, first: First, *unwanted: int) -> Mould:
    """Make the mould of what this process is now.

    Args:
        first: what the first process of a pid namespace does, with a pipe to talk to its midwife
            and a socket to hear her; it must not return.
        unwanted: descriptors that are this process's own business.
    """
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        for descriptor in unwanted:
            os.close(descriptor)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to collect its children
        _serve(theirs, attend, first)
    theirs.close()
    return Mould(ours)


def _serve(line: socket.socket, attend: Attend, first: First) -> NoReturn:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    while True:
        word, descriptors, _, _ = socket.recv_fds(line, 1, 2)
        if not word:
            os._exit(0)  # the launcher is gone
        order, answer = descriptors
        child = None
        with contextlib.suppress(OSError):  # then the midwife tries, and tells why it fails
            if word == _WITH_CHILD:
                child = _child(line, own, order, answer, first)
        with contextlib.suppress(OSError):  # no more processes: the launcher sees no answer
            if os.fork() == 0:
                _settle(line, own)
                attend(_contents(order), answer, child)
        if child is not None:
            child.forget()
        os.close(order)
        os.close(answer)


def _child(line: socket.socket, own: int, order: int, answer: int, first: First) -> Child:
    heard, says = os.pipe()
    ours, theirs = socket.socketpair()
    try:
        linux.unshare(linux.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            for descriptor in (heard, answer, ours.detach()):
                os.close(descriptor)
            _settle(line, own)
            first(_contents(order), says, theirs)
        linux.enter(own, linux.CLONE_NEWPID)
        return Child(pid, heard, ours)
    except OSError:
        os.close(heard)
        ours.close()
        raise
    finally:
        os.close(says)
        theirs.close()


def _settle(line: socket.socket, own: int) -> None:
    """In a fork: leave the mould's affairs."""
    line.close()
    os.close(own)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _contents(file: int) -> bytes:
    data = os.pread(file, os.fstat(file).st_size, 0)
    os.close(file)
    return data
