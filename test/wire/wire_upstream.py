# SPDX-License-Identifier: Apache-2.0
"""A raw upstream: records every byte, reads requests strictly, answers each with its number or with bytes of a script."""
import socket
import threading
import time

import wire_strict as strict

PROBE = b"/wire-probe/"


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.pending = b""  # the part of a request that has arrived
        self.closed = False


class RawUpstream:
    """`requests` are the complete ones in the order of arrival, probes left out; `violations` what no request was."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.changed = threading.Condition()
        self.connections = []
        self.reset()
        threading.Thread(target=self._accept, daemon=True).start()

    @staticmethod
    def free_port():
        with socket.create_server(("127.0.0.1", 0)) as s:
            return s.getsockname()[1]

    def reset(self, answers=None, close=False):
        """Forget what was seen. answers: raw bytes for the first, second... request; None: a plain 200 for each."""
        with self.changed:
            self.requests = []
            self.received = b""
            self.violations = []
            self.answers = list(answers or [])
            self.close_after = close
            self.connections = [c for c in self.connections if not c.closed]

    def wait(self, condition, seconds=3):
        with self.changed:
            return self.changed.wait_for(condition, seconds)

    def half_requests(self):
        """Connections that hold a part of a request."""
        return [c for c in self.connections if c.pending and not c.closed]

    def stop(self):
        self.listener.close()
        for c in self.connections:
            c.sock.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            with self.changed:
                self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, c):
        try:
            while data := c.sock.recv(65536):
                with self.changed:
                    if PROBE not in data:
                        self.received += data
                    c.pending += data
                    keep = self._read_all(c)
                    self.changed.notify_all()
                if not keep:
                    break
        except OSError:
            pass
        c.sock.close()
        with self.changed:
            c.closed = True
            self.changed.notify_all()

    def _read_all(self, c):
        """Answer every complete request; False when the connection is to be closed."""
        try:
            while c.pending and (one := strict.read_request(c.pending)):
                message, used = one
                c.pending = c.pending[used:]
                answer, keep = self._answer(message)
                c.sock.sendall(answer)
                if not keep:
                    return False
        except strict.Violation as e:
            self.violations.append(f"{e} in {c.pending[:300]!r}")
            c.pending = b""
            return False
        return True

    def _answer(self, message):
        if message.target.startswith(PROBE):
            return self._plain(message, b"probe"), True
        self.requests.append(message)
        if self.answers:
            # The last one serves a gateway that tries again.
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], not self.close_after
        return self._plain(message, str(len(self.requests)).encode()), b"close" not in (message.get(b"connection") or b"").lower()

    def _plain(self, message, number):
        body = b"" if message.method == b"HEAD" else b"hello from upstream"
        return (b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\nX-Number: " + number + b"\r\nX-Target: " + message.target + b"\r\n\r\n" + body)


def until(condition, seconds=3):
    """Poll a condition that nobody announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
