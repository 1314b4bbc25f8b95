# SPDX-License-Identifier: Apache-2.0
"""grpctest: a real gRPC server and client (Debian's python3-grpcio) for the service of echo.proto.

    with Server() as up:
        gw.put("/routes/1", {"uri": "/*", "upstream": up.nodes()})
        with up.channel(gw.port) as echo:
            assert echo.Say(pb.Request(text="a")).text == "a"
"""
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc  # noqa: E402

import weirtest  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PROTO = open(os.path.join(HERE, "echo.proto")).read()


def load_messages():
    """The Python classes of echo.proto, made by protoc."""
    folder = tempfile.mkdtemp(prefix="weir-proto-")
    subprocess.run(["protoc", "-I", HERE, f"--python_out={folder}", "echo.proto"], check=True)
    sys.path.insert(0, folder)
    import echo_pb2
    return echo_pb2


pb = load_messages()
# method -> are requests, are answers a stream
METHODS = {"Say": (False, False), "Split": (False, True), "Join": (True, False), "Chat": (True, True)}


def reply_to(request, number=0):
    return pb.Reply(text=request.text * max(request.times, 1), number=number, big=request.big, mood=request.mood, numbers=request.numbers,
                    inner=request.inner if request.HasField("inner") else None, counts=request.counts, blob=request.blob)


def status_details(code, message):
    """google.rpc.Status with one detail of type test.Inner, by hand: tag, length, bytes."""
    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data
    any_value = field(1, b"t/test.Inner") + field(2, pb.Inner(name="detail").SerializeToString())
    return bytes([1 << 3, code]) + field(2, message.encode()) + field(3, any_value)


class Service:
    """What the server does; every call's metadata are remembered."""

    def __init__(self):
        self.calls = []

    def enter(self, name, context):
        self.calls.append((name, dict(context.invocation_metadata()), context))
        for key, value in context.invocation_metadata():
            if key == "ask-initial":
                context.send_initial_metadata((("initial", value),))
            if key == "ask-trailing":
                context.set_trailing_metadata((("trailing", value), ("trailing-bin", b"\x00\xff")))

    def refuse(self, request, context):
        code = next(c for c in grpc.StatusCode if c.value[0] == request.fail)
        if request.details:
            context.set_trailing_metadata((("grpc-status-details-bin", status_details(request.fail, "no: " + request.text)),))
        context.abort(code, "no: " + request.text)

    def wait(self, request, context):
        end = time.monotonic() + request.wait_ms / 1000
        while time.monotonic() < end and context.is_active():
            time.sleep(0.005)

    def Say(self, request, context):
        self.enter("Say", context)
        self.wait(request, context)
        if request.fail:
            self.refuse(request, context)
        return reply_to(request)

    def Split(self, request, context):
        self.enter("Split", context)
        for i in range(request.times):
            if request.fail and i == request.fail_after:
                self.refuse(request, context)
            if i > 0:
                self.wait(request, context)
            yield pb.Reply(text=request.text, number=i, blob=request.blob)
        if request.fail:
            self.refuse(request, context)

    def Join(self, requests, context):
        self.enter("Join", context)
        texts = [r.text for r in requests]
        return pb.Reply(text="".join(texts), number=len(texts))

    def Chat(self, requests, context):
        self.enter("Chat", context)
        for i, r in enumerate(requests):
            if r.fail:
                self.refuse(r, context)
            self.wait(r, context)
            yield reply_to(r, i)


class Echo:
    """The client's methods on a channel."""

    def __init__(self, channel):
        for name, (ups, downs) in METHODS.items():
            kind = ("stream" if ups else "unary") + "_" + ("stream" if downs else "unary")
            setattr(self, name, getattr(channel, kind)("/test.Echo/" + name, request_serializer=pb.Request.SerializeToString,
                                                       response_deserializer=pb.Reply.FromString))


class Server:
    """A gRPC server on a free port; cert: with TLS, client_ca: for clients that show a certificate of it."""

    def __init__(self, workers=64, options=(), port=0, cert=None, client_ca=None):
        self.service = Service()
        handlers = {}
        for name, (ups, downs) in METHODS.items():
            kind = ("stream" if ups else "unary") + "_" + ("stream" if downs else "unary")
            handlers[name] = getattr(grpc, kind + "_rpc_method_handler")(
                getattr(self.service, name), request_deserializer=pb.Request.FromString, response_serializer=pb.Reply.SerializeToString)
        self.server = grpc.server(futures.ThreadPoolExecutor(workers), options=[("grpc.so_reuseport", 0), *options])
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
        self.scheme = "grpcs" if cert else "grpc"
        if cert:
            credentials = grpc.ssl_server_credentials([(cert.key_pem.encode(), cert.pem.encode())], client_ca and client_ca.pem.encode(), bool(client_ca))
            self.port = self.server.add_secure_port(f"127.0.0.1:{port}", credentials)
        else:
            self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()

    @property
    def calls(self):
        return self.service.calls

    def nodes(self, **more):
        return {"type": "roundrobin", "scheme": self.scheme, "nodes": {f"127.0.0.1:{self.port}": 1}, **more}


class Channel:
    """A client towards a port of the gateway; ca: with TLS, for a server called name."""

    def __init__(self, port, options=(), ca=None, name="a.test"):
        options = [("grpc.enable_http_proxy", 0), *options]
        if ca:
            options.append(("grpc.ssl_target_name_override", name))
            self.channel = grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(ca.pem.encode()), options)
        else:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)

    def __enter__(self):
        return Echo(self.channel)

    def __exit__(self, *_):
        self.channel.close()


class Barrier:
    """An iterator of requests whose next one is given by the test: client streams that wait."""

    def __init__(self):
        self.items = []
        self.ended = False
        self.changed = threading.Condition()

    def give(self, request):
        with self.changed:
            self.items.append(request)
            self.changed.notify()

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.ended, 15 * weirtest.SLOW)
            if self.items:
                return self.items.pop(0)
            raise StopIteration
