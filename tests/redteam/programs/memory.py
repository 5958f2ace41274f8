"""Takes memory in the ways named until it is stopped or has taken the megabytes given."""

import ctypes
import json
import mmap
import os
import socket
import sys
import time

STEP = 1 << 20


def plain(most):
    kept = []
    for _ in range(most):
        kept.append(bytearray(os.urandom(1024)) * 1024)


def many_small(most):
    """Each smaller than the sandbox's API, and none that wants to be the first to go."""
    for path, score in (("/proc/self/oom_score_adj", "0"), ("/proc/self/oom_adj", "0")):
        try:
            with open(path, "w") as file:
                file.write(score)
        except OSError:
            pass
    for _ in range(most // 8):
        if os.fork() == 0:
            held = bytearray(b"x") * (8 * STEP)
            time.sleep(3)
            os._exit(len(held) & 1)
    time.sleep(3)


def shared_folder(most):
    with open("/dev/shm/bomb", "wb") as file:
        for _ in range(most):
            file.write(bytes(STEP))


def memfd(most):
    descriptor = os.memfd_create("bomb")
    for _ in range(most):
        os.write(descriptor, bytes(STEP))


def anonymous_shared(most):
    kept = []
    for _ in range(most):
        kept.append(mmap.mmap(-1, STEP))
        kept[-1].write(b"x" * STEP)


def system_v(most):
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    for _ in range(most // 16):
        number = libc.shmget(0, ctypes.c_size_t(16 * STEP), 0o1666)
        if number < 0:
            raise OSError
        ctypes.memset(ctypes.c_void_p(libc.shmat(number, None, 0)), 1, 16 * STEP)


def unix_sockets(most):
    kept, sent = [], 0
    while sent < most * STEP:
        kept.append(socket.socketpair())
        kept[-1][0].setblocking(False)
        try:
            while True:
                sent += kept[-1][0].send(bytes(4096))
        except OSError:
            pass


def tcp_sockets(most):
    kept, sent = [], 0
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    deadline = time.monotonic() + 4
    while sent < most * STEP and time.monotonic() < deadline:
        sender = socket.create_connection(listener.getsockname(), 2)
        kept += [sender, listener.accept()[0]]
        sender.settimeout(0.01)
        try:
            while time.monotonic() < deadline:
                sent += sender.send(bytes(65536))
        except OSError:
            pass
    sys.stdout.write(json.dumps({"taken": sent // STEP}) + "\n")
    sys.exit(0)


globals()[sys.argv[1]](int(sys.argv[2]))
sys.stdout.write(json.dumps({"taken": int(sys.argv[2])}) + "\n")
