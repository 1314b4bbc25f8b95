# SPDX-License-Identifier: Apache-2.0
"""Start, measure and stop the programs of a run: the upstream and the three gateways.

Each lives in its own folder under a temporary one, listens on ports the kernel chose, is pinned
to a CPU, and is stopped by its process id when its `with` block ends.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fill(template, values):
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def family(pid):
    """The process and its descendants."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found = [pid]
    for p in found:
        found += parents.get(p, [])
    return found


class Program:
    """A child in its own folder. Subclasses say how to call it."""

    def __init__(self, name, work, cpu):
        self.name, self.cpu = name, cpu
        self.dir = pathlib.Path(work, f"{name}-{free_port()}")
        self.dir.mkdir(parents=True)
        self.port = free_port()
        self.process = None
        self.wrapper = []

    def command(self):
        raise NotImplementedError

    def __enter__(self):
        log = open(self.dir / "output.log", "wb")
        command = ["taskset", "-c", str(self.cpu), *self.wrapper, *self.command()]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.dir)
        log.close()
        try:
            self.wait_port(self.port)
            self.started()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def started(self):
        """Called once it listens."""

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in family(self.process.pid):
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()

    def output(self):
        return (self.dir / "output.log").read_text(errors="replace")[-2000:]

    def wait_port(self, port, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at start:\n{self.output()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not listen on {port}:\n{self.output()}")

    def cpu_us(self):
        """CPU time so far of all its processes and threads, in microseconds."""
        total = 0
        for pid in family(self.process.pid):
            try:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total * 1_000_000 // TICK

    def rss(self):
        """Resident bytes of all its processes; pages they share count for each."""
        total = 0
        for pid in family(self.process.pid):
            try:
                total += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
            except OSError:
                continue
        return total


class Upstream(Program):
    def __init__(self, work, cpu):
        super().__init__("upstream", work, cpu)

    def command(self):
        values = {"DIR": self.dir, "PORT": self.port, "BODY100": "x" * 100, "BODY1000": "x" * 1000}
        (self.dir / "nginx.conf").write_text(fill("upstream.conf.in", values))
        (self.dir / "100k.txt").write_bytes(b"x" * 100_000)
        return ["nginx", "-p", str(self.dir), "-c", str(self.dir / "nginx.conf")]


class GrpcUpstream(Program):
    """nghttpd: answers any call of /test.Echo/Say with a file and a status in the trailers."""

    def __init__(self, work, cpu):
        super().__init__("grpc-upstream", work, cpu)

    def command(self):
        (self.dir / "test.Echo").mkdir()
        (self.dir / "test.Echo" / "Say").write_bytes(b"\0\0\0\0\x0f" + b"x" * 15)
        return ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(self.dir), "-m", "1000",
                "--trailer=grpc-status: 0", str(self.port)]


class Certificate:
    """A self-signed one for 127.0.0.1 and its key, of a kind: "P-256" or "RSA-2048"."""

    def __init__(self, work, kind):
        folder = pathlib.Path(work, kind)
        folder.mkdir()
        self.cert, self.key, self.both = (folder / n for n in ("cert.pem", "key.pem", "both.pem"))
        options = ["rsa:2048"] if kind == "RSA-2048" else ["ec", "-pkeyopt",
                                                          "ec_paramgen_curve:P-256"]
        subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-newkey", *options,
                        "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)
        self.both.write_text(self.cert.read_text() + self.key.read_text())


class Gateway(Program):
    """paths: nginx and HAProxy serve only the paths in this file, one a line. router: Weir's kind
    of router. single: one process, for counting instructions. grpc: the port of a GrpcUpstream,
    which the gateway is for instead of upstream. tls: the Certificate that its port speaks TLS
    with, HTTP/2 or HTTP/1.1 as the client likes."""

    name = ""

    def __init__(self, work, cpu, upstream, paths=None, router="radixtree_uri", single=False,
                 grpc=None, tls=None):
        super().__init__(self.name, work, cpu)
        self.grpc, self.tls = grpc, tls
        self.upstream, self.paths, self.router, self.single = upstream, paths, router, single


class Nginx(Gateway):
    name = "nginx"

    def command(self):
        values = {"DIR": self.dir, "PORT": self.port, "UPSTREAM": self.upstream.port,
                  "MASTER": "off" if self.single else "on", "MAP": "", "CHECK": "",
                  "GRPC": self.grpc, "TLS": "", "CERTIFICATE": ""}
        if self.tls:
            values["TLS"] = " ssl http2"
            values["CERTIFICATE"] = (f"ssl_certificate {self.tls.cert}; "
                                     f"ssl_certificate_key {self.tls.key}; "
                                     "ssl_protocols TLSv1.2 TLSv1.3;")
        if self.paths:
            known = "".join(f"{line} 1;\n" for line in self.paths.read_text().splitlines())
            (self.dir / "paths.map").write_text(known)
            values["MAP"] = f"map $uri $known {{ default 0; include {self.dir}/paths.map; }}"
            values["CHECK"] = "if ($known = 0) { return 404; }"
        template = "nginx-grpc.conf.in" if self.grpc else "nginx.conf.in"
        (self.dir / "nginx.conf").write_text(fill(template, values))
        return ["nginx", "-p", str(self.dir), "-c", str(self.dir / "nginx.conf")]


class Haproxy(Gateway):
    name = "haproxy"

    def command(self):
        values = {"PORT": self.port, "UPSTREAM": self.upstream.port, "CHECK": "", "TLS": ""}
        if self.tls:
            values["TLS"] = f" ssl crt {self.tls.both} alpn h2,http/1.1"
        if self.paths:
            values["CHECK"] = f"http-request deny deny_status 404 unless {{ path -f {self.paths} }}"
        (self.dir / "haproxy.cfg").write_text(fill("haproxy.cfg.in", values))
        return ["haproxy", "-f", str(self.dir / "haproxy.cfg"), "-db"]


class Weir(Gateway):
    name = "weir"
    engine = "auto"

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.admin_port, self.metrics_port = free_port(), free_port()
        self.key = os.urandom(16).hex()

    def command(self):
        binary = os.environ.get("WEIR", str(HERE.parent / "build" / "weir"))
        values = {"DIR": self.dir, "PLAIN": self.port, "SSL": "", "ADMIN": self.admin_port,
                  "KEY": self.key, "METRICS": self.metrics_port, "ROUTER": self.router,
                  "ENGINE": self.engine}
        if self.tls:
            values["PLAIN"] = free_port()
            values["SSL"] = ("  ssl:\n    fallback_sni: localhost\n    listen:\n"
                             f"      - ip: 127.0.0.1\n        port: {self.port}\n")
        (self.dir / "config.yaml").write_text(fill("weir.yaml.in", values))
        return [binary, "run", "--config", str(self.dir / "config.yaml"), "--data",
                str(self.dir / "data")]

    def started(self):
        self.wait_port(self.admin_port)


class WeirEpoll(Weir):
    name = "weir-epoll"
    engine = "epoll"


class WeirUring(Weir):
    name = "weir-io_uring"
    engine = "io_uring"


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
