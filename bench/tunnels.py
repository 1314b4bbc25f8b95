#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Both ends of many WebSocket tunnels, in a process of its own: two descriptors a tunnel.

    tunnels.py PORT N      answers each line of its input with one of its output:
                           "open": N tunnels through the gateway on PORT; "check": a message each way
                           through each of them

The first line of output is the port of the upstream end.
"""

import resource
import socket
import sys

REQUEST = (b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nOrigin: http://127.0.0.1\r\n"
           b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
ANSWER = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
HELLO, ECHO = b"\x81\x85abcd\x09\x07\x0f\x08\x0e", b"\x81\x05hello"


def until(s, end):
    data = b""
    while not data.endswith(end):
        more = s.recv(4096)
        if not more:
            raise EOFError(data)
        data += more
    return data


def opened(listener, port):
    client = socket.create_connection(("127.0.0.1", port), 30)
    client.sendall(REQUEST)
    upstream, _ = listener.accept()
    upstream.settimeout(30)
    until(upstream, b"\r\n\r\n")
    upstream.sendall(ANSWER)
    if b" 101 " not in until(client, b"\r\n\r\n"):
        raise EOFError("no tunnel")
    return client, upstream


def main(port, n):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    tunnels = []
    for line in sys.stdin:
        if line == "open\n":
            tunnels += [opened(listener, port) for _ in range(n)]
        else:
            for client, upstream in tunnels:
                client.sendall(HELLO)
                until(upstream, HELLO)
                upstream.sendall(ECHO)
                until(client, ECHO)
        print(line, end="", flush=True)


main(*(int(a) for a in sys.argv[1:]))
