"""A sandbox entry for these tests: runs shell commands sent over HTTP, nothing more.

``POST /`` with a command as body answers its exit code as status line text ``X-Exit`` and its
output as body. It stands in for the sandbox API so that the runtime is tested alone.
"""

import select
import socket
import subprocess
import threading
from typing import NoReturn


def preload() -> None:
    """Load what the standard library would import later."""
    "localhost".encode("idna")


def serve(api: socket.socket, port: socket.socket, config: dict[str, object]) -> NoReturn:
    """Answer both sockets for ever; reaps orphans as process 1 must."""
    threading.Thread(target=_accept, args=(port, _tunnel, config), daemon=True).start()
    _accept(api, _run, config)
    raise SystemExit(1)


def _accept(listener: socket.socket, handle, config: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection, config), daemon=True).start()


def _run(connection: socket.socket, config: dict[str, object]) -> None:
    with connection, connection.makefile("rb") as reader:
        request = reader.readline()
        length = 0
        while line := reader.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        command = reader.read(length).decode()
        if request.startswith(b"GET"):
            command = "true"
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=config["environment"],
            )
            code, output = done.returncode, done.stdout
        except OSError as error:
            code, output = 255, str(error).encode()
        head = f"HTTP/1.1 200 OK\r\nX-Exit: {code}\r\nContent-Length: {len(output)}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + output)


def _tunnel(connection: socket.socket, config: dict[str, object]) -> None:
    with connection:
        number = b""
        while not number.endswith(b"\n"):
            number += connection.recv(1)
        try:
            inner = socket.create_connection(("127.0.0.1", int(number)))
        except OSError as error:
            connection.sendall(f"error {error}\n".encode())
            return
        connection.sendall(b"ok\n")
        with inner:
            while True:
                for ready in select.select([connection, inner], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (inner if ready is connection else connection).sendall(data)
