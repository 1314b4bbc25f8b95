# SPDX-License-Identifier: Apache-2.0
"""A raw client: sends bytes in given pieces, reads answers strictly, sees how the connection ends."""
import socket
import time

import wire_strict as strict

DEADLINE = 4


class RawClient:
    """`answers` are the final ones, `interim` the 1xx before them; `rest` is what came and is no complete answer."""

    def __init__(self, address, methods=(b"GET",)):
        self.sock = socket.create_connection(address, timeout=DEADLINE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.methods = methods
        self.received = b""
        self.rest = b""
        self.answers = []
        self.interim = []
        self.eof = False
        self.reset = False
        self.violation = None

    def send(self, pieces, pause):
        """False when the peer would not take all of it."""
        try:
            for i, piece in enumerate(pieces):
                if i > 0:
                    time.sleep(pause)
                self.sock.sendall(piece)
        except OSError:
            return False
        return True

    def shutdown(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.sock.close()

    def read(self, answers, to_end=False, seconds=DEADLINE):
        """Read until there are that many final answers (and, if asked, the end); False at the deadline."""
        deadline = time.monotonic() + seconds
        while not self.eof and self.violation is None and (len(self.answers) < answers or to_end):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return False
            except OSError:
                data, self.reset = b"", True
            self.received += data
            self.rest += data
            self.eof = not data
            self._parse()
        return len(self.answers) >= answers

    def _parse(self):
        try:
            while self.rest:
                if self.answers and self.answers[-1].status == 101:
                    self.rest = b""  # a tunnel: no answers any more
                    return
                k = min(len(self.answers), len(self.methods) - 1)
                one = strict.read_response(self.rest, self.methods[k], self.eof)
                if one is None:
                    return
                message, used = one
                self.rest = self.rest[used:]
                (self.interim if message.status < 200 and message.status != 101 else self.answers).append(message)
        except strict.Violation as e:
            self.violation = str(e)
