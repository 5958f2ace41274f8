"""Uses up what a kernel has a number of, in the way named; then holds it for some seconds."""

import ctypes
import json
import os
import pty
import signal
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
kept = []


def descriptors():
    """In many processes, each up to its limit."""
    for _ in range(6):
        if os.fork() == 0:
            break
    try:
        while True:
            kept.append(os.pipe())
    except OSError:
        pass
    return len(kept)


def terminals():
    try:
        while True:
            kept.append(pty.openpty())
    except OSError:
        return len(kept)


def watches():
    """inotify instances."""
    for number in range(4096):
        if libc.inotify_init1(os.O_CLOEXEC) < 0:
            return number
    return 4096


def locked():
    """Locked memory."""
    size = 0
    while size < 64 << 20:
        block = ctypes.create_string_buffer(1 << 20)
        if libc.mlock(block, 1 << 20) < 0:
            return size
        kept.append(block)
        size += 1 << 20
    return size


def queues():
    """Bytes of message queues."""
    real = ctypes.CDLL("librt.so.1", use_errno=True)
    attributes = (ctypes.c_long * 8)(0, 10, 8192, 0)
    for number in range(300):
        if real.mq_open(b"/bomb%d" % number, os.O_CREAT | os.O_RDWR, 0o600, attributes) < 0:
            return number
    return 300


def signals():
    """Signals that wait to be delivered."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN})
    for number in range(200_000):
        if libc.sigqueue(os.getpid(), signal.SIGRTMIN, None) < 0:
            return number
    return 200_000


def threads():
    try:
        while True:
            thread = threading.Thread(target=time.sleep, args=(6,), daemon=True)
            thread.start()
            kept.append(thread)
    except RuntimeError:
        return len(kept)


def zombies():
    """Ended children that nobody collects, and orphans for process 1 to collect."""
    for _ in range(1000):
        if os.fork() == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
    return 1000


number = globals()[sys.argv[1]]()
sys.stdout.write(json.dumps({"taken": number}) + "\n")
sys.stdout.flush()
time.sleep(float(sys.argv[2]))
os._exit(0)
