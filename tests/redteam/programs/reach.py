"""Connects to everything named on the command line; prints what answered, as JSON.

Arguments are ``host:port`` or ``@abstract-name``. A connection alone is nothing: the egress of
sandboxes takes every one, and refuses then. What counts is an answer that is not its own.
"""

import json
import socket
import sys
import threading

reached = []


def connect(place):
    try:
        if place.startswith("@"):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect("\0" + place[1:])
                answer = b"a socket of the host"
        else:
            host, _, port = place.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), 2) as client:
                client.settimeout(2)
                client.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
                answer = client.recv(4096)
    except OSError:
        return
    if answer and b"Proxy-Error" not in answer:
        reached.append(place)


threads = [threading.Thread(target=connect, args=(place,)) for place in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.stdout.write(json.dumps(reached) + "\n")
