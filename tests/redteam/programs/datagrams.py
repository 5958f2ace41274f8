"""Sends a datagram to each ``host:port`` given, from its own and from foreign addresses."""

import contextlib
import socket
import sys

FREE_BIND = 15
SOURCES = (None, "203.0.113.7", "127.0.0.1", "10.0.0.1", "192.168.1.1")

for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    for source in SOURCES:
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, FREE_BIND, 1)
            if source:
                sender.bind((source, 0))
            sender.sendto(b"evil", (host, int(port)))
sys.stdout.write("null\n")
