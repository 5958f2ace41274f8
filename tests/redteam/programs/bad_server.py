"""Answers HTTP requests in ways that no honest server would, one way per port from 9001 on."""

import socket
import threading
import time

OK = b"HTTP/1.1 200 OK\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Evil: 1\r\n\r\nEVIL"


def endless(client, begin, piece, pause=0.0):
    client.sendall(begin)
    while True:
        client.sendall(piece)
        time.sleep(pause)


def both_lengths(client):
    client.sendall(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL)


def two_lengths(client):
    client.sendall(OK + b"Content-Length: 2\r\nContent-Length: 90\r\n\r\nok" + EVIL)


def two_answers(client):
    client.sendall(OK + b"Content-Length: 2\r\n\r\nok" + EVIL)


def longer_than_said(client):
    client.sendall(OK + b"Content-Length: 2\r\n\r\nok" + EVIL * 1000)


def shorter_than_said(client):
    client.sendall(OK + b"Content-Length: 2000\r\n\r\nok")


def negative_length(client):
    client.sendall(OK + b"Content-Length: -1\r\n\r\nok")


def huge_length(client):
    client.sendall(OK + b"Content-Length: 99999999999999999999999999\r\n\r\nok")


def bad_chunks(client):
    client.sendall(
        OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nok\r\n0\r\n\r\n" + EVIL
    )


def strange_coding(client):
    client.sendall(OK + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")


def header_injection(client):
    client.sendall(OK + b"X-A: b\rX-Evil: 1\r\nContent-Length: 2\r\n\r\nok")


def null_in_header(client):
    client.sendall(OK + b"X-A: b\0c\r\nContent-Length: 2\r\n\r\nok")


def no_http(client):
    client.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n" * 10)


def switches_unasked(client):
    client.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: Upgrade\r\n\r\n" + EVIL
    )


def strange_status(client):
    client.sendall(b"HTTP/1.1 999 Evil\r\nContent-Length: 2\r\n\r\nok")


def our_cookies(client):
    client.sendall(
        OK
        + b"Set-Cookie: serai-session=evil; Path=/\r\nSet-Cookie: __Host-serai=evil; Path=/\r\n"
        + b'Clear-Site-Data: "*"\r\nService-Worker-Allowed: /\r\nContent-Length: 2\r\n\r\nok'
    )


def hangs_up(client):
    client.close()


def endless_headers(client):
    endless(client, OK, b"X-Filler: " + b"x" * 4000 + b"\r\n")


def endless_header_line(client):
    endless(client, OK + b"X-Filler: ", b"x" * 65536)


def endless_interim(client):
    endless(client, b"", b"HTTP/1.1 102 Processing\r\n\r\n")


def endless_body(client):
    endless(
        client, OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"
    )


def endless_trailers(client):
    begin = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
    endless(client, begin, b"X-Filler: " + b"x" * 4000 + b"\r\n")


def drop_by_drop(client):
    endless(client, OK, b"X", 0.2)


def silent(client):
    time.sleep(600)


WAYS = [value for value in globals().values() if callable(value) and value is not endless]


def serve(client, way):
    try:
        client.recv(65536)
        way(client)
    except OSError:
        pass
    finally:
        client.close()


def listen(port, way):
    server = socket.create_server(("127.0.0.1", port), backlog=64)
    while True:
        client, _ = server.accept()
        threading.Thread(target=serve, args=(client, way), daemon=True).start()


if __name__ == "__main__":
    for number, each in enumerate(WAYS):
        threading.Thread(target=listen, args=(9001 + number, each), daemon=True).start()
    print(" ".join(each.__name__ for each in WAYS), flush=True)
    time.sleep(600)
