"""A proxy in this process that understands just enough HTTP/1.1 to break one request and leave the next alone.

A test appends to `proxy.faults`; the first fault whose `match` is true of a request is used up by it, `times` times.
Everything is counted in `proxy.requests`, as "METHOD /path?query". A fault that never fired is a failed test:
`proxy.unused` is what is left.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

Kind = Literal["drop_reply", "corrupt_request", "reset_body", "answer", "truncate_reply", "count"]


@dataclass
class Fault:
    """`drop_reply`: forward, then close without an answer. `corrupt_request`: flip a bit of byte `at` of the body.
    `reset_body`: reset after `at` bytes of the body. `answer`: reply with `status`, `headers` and `body`, forward
    nothing. `truncate_reply`: close after `at` bytes of the reply's body.
    """

    kind: Kind
    match: Callable[[str], bool] = lambda line: True
    times: int = 1
    at: int = 0
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class _Head:
    raw: bytes
    line: str
    headers: dict[str, str]


def _read_head(stream: BinaryIO) -> _Head | None:
    lines = []
    while True:
        line = stream.readline()
        if not line:
            return None
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            break
    headers = {}
    for item in lines[1:-1]:
        name, _, value = item.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return _Head(b"".join(lines), lines[0].decode("latin-1").rstrip(), headers)


def _body(stream: BinaryIO, head: _Head) -> Iterator[bytes]:
    """The body as it stands on the wire, chunk framing and all."""
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size_line = stream.readline()
            yield size_line
            size = int(size_line.split(b";")[0] or b"0", 16)
            yield stream.read(size + 2)
            if size == 0:
                return
    left = int(head.headers.get("content-length", "0"))
    while left:
        part = stream.read(min(left, 65536))
        if not part:
            return
        left -= len(part)
        yield part


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class FaultProxy:
    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.heads: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def unused(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.times > 0]

    def close(self) -> None:
        self._listener.close()

    def reset(self) -> None:
        with self._lock:
            self.faults.clear()
            self.requests.clear()
            self.heads.clear()

    def _take(self, head: _Head) -> Fault | None:
        line = head.line.rsplit(" ", 1)[0]
        with self._lock:
            self.requests.append(line)
            self.heads.append(head.headers)
            for fault in self.faults:
                if fault.times > 0 and fault.match(line):
                    fault.times -= 1
                    return fault
        return None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target_port)) as server:
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client.makefile("rb") as reader, server.makefile("rb") as answers, contextlib.suppress(OSError):
                while head := _read_head(reader):
                    if not self._exchange(client, reader, server, answers, head):
                        return

    def _exchange(self, client: socket.socket, reader: BinaryIO, server: socket.socket, answers: BinaryIO, head: _Head) -> bool:
        """One request and its reply. False: the connection is spent."""
        fault = self._take(head) or Fault("count")
        if fault.kind == "answer":
            for _ in _body(reader, head):
                pass
            self._answer(client, head, fault)
            return True
        server.sendall(head.raw)
        if head.headers.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        sent = 0
        for part in _body(reader, head):
            data = part
            if fault.kind == "corrupt_request" and sent <= fault.at < sent + len(part):
                offset = fault.at - sent
                data = part[:offset] + bytes([part[offset] ^ 1]) + part[offset + 1 :]
            if fault.kind == "reset_body" and sent + len(part) >= fault.at:
                server.sendall(part[: max(0, fault.at - sent)])
                _reset(client)
                _reset(server)
                return False
            server.sendall(data)
            sent += len(part)
        reply = _read_head(answers)
        while reply is not None and reply.line.split(" ")[1] == "100":
            reply = _read_head(answers)
        if reply is None or fault.kind == "drop_reply":
            return False
        client.sendall(reply.raw)
        if head.line.startswith("HEAD ") or reply.line.split(" ")[1] in ("204", "304"):
            return True
        passed = 0
        for part in _body(answers, reply):
            if fault.kind == "truncate_reply" and passed + len(part) >= fault.at:
                client.sendall(part[: max(0, fault.at - passed)])
                return False
            client.sendall(part)
            passed += len(part)
        return reply.headers.get("connection", "").lower() != "close"

    def _answer(self, client: socket.socket, head: _Head, fault: Fault) -> None:
        extra = "".join(f"{name}: {value}\r\n" for name, value in fault.headers.items())
        reply = f"HTTP/1.1 {fault.status} Fault\r\nContent-Length: {len(fault.body)}\r\n{extra}\r\n".encode()
        client.sendall(reply if head.line.startswith("HEAD ") else reply + fault.body)


@contextlib.contextmanager
def fault_proxy(target_port: int) -> Iterator[FaultProxy]:
    proxy = FaultProxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
