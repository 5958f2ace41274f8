"""Ignores every signal that can be ignored, blocks the rest, and starts copies of itself."""

import os
import signal
import sys
import time

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
if len(sys.argv) > 1 and os.fork() == 0:  # one that is no child of anybody's any more
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
sys.stdout.write("begun\n")
sys.stdout.flush()
time.sleep(600)
