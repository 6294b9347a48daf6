"""The local socket: HTTP/1.1 and JSON over a Unix socket, served by a thread of its own on its own connection. What it can be asked to
do: api_actions.py.

Mode 0600 in a 0700 folder; besides, each peer's uid is looked at: our own or root, else the connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import lading
from lading_catalog.config import Config
from lading_catalog.errors import BadRequest, Error, NotFound
from lading_catalog.finding import PAGE_MAX
from ladingd import socket_path
from ladingd.api_actions import Actions
from ladingd.reply import reply

log = structlog.get_logger()

PAGE_DEFAULT = 100
HEAD_S, HEAD_MAX_BYTES = 5.0, 64 << 10
STATES = ("local_only", "pending", "blocked", "safe", "lost")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Error)
    return reply(error.problem(), error.status, "application/problem+json")


async def _http_problem(request: Request, error: Exception) -> Response:
    """What starlette itself says no to: an unknown route, a method that a route has not."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await _problem(request, NotFound(f"There is nothing at {request.url.path}."))
    ours = BadRequest(f"{request.method} {request.url.path}: {error.detail}.")
    return reply({**ours.problem(), "status": error.status_code}, error.status_code, "application/problem+json")


class Routes:
    """One method a route; the table below them."""

    def __init__(self, catalog: lading.Catalog) -> None:
        self._catalog = catalog

    def healthz(self, request: Request) -> Response:
        """200 as long as the process serves."""
        return reply({"status": "ok", "version": lading.__version__})

    def status(self, request: Request) -> Response:
        """lading.status/1"""
        return reply(self._catalog.status())

    def media(self, request: Request) -> Response:
        """A page of lading.media/1. Query: table, column, state, name, sha256, deleted, limit (100, at most 1000), after (the cursor)."""
        query = dict(request.query_params)
        unknown = set(query) - {"table", "column", "state", "name", "sha256", "deleted", "limit", "after"}
        if unknown:
            raise BadRequest(f"Unknown filter: {', '.join(sorted(unknown))}.")
        if query.get("state") not in (None, *STATES):
            raise BadRequest(f"state is one of {', '.join(STATES)}.")
        limit = _number(query, "limit", PAGE_DEFAULT)
        if limit < 1:
            raise BadRequest("limit is at least 1.")
        items, cursor = self._catalog.page(
            table=query.get("table"), column=query.get("column"), state=query.get("state"), name=query.get("name"),
            sha256=_digest(query.get("sha256")), deleted=query.get("deleted") in ("1", "true"),
            after=query.get("after", ""), limit=min(limit, PAGE_MAX),
        )  # fmt: skip
        return reply({"items": items, "next": cursor})

    def medium(self, request: Request) -> Response:
        """lading.media/1; the id may be a digest or an unambiguous name."""
        return reply(self._catalog.medium(request.path_params["id"]).shape)

    def why(self, request: Request) -> Response:
        """lading.why/1"""
        return reply(self._catalog.medium(request.path_params["id"]).why())

    def sweep(self, request: Request) -> Response:
        """lading.sweeps/1: what waits to be deleted, and the plans that wait for a confirmation."""
        return reply(self._catalog.sweeps.overview())

    def table(self) -> list[Route]:
        return [
            Route("/healthz", self.healthz),
            Route("/v1/status", self.status),
            Route("/v1/sweep", self.sweep),
            Route("/v1/media", self.media),
            Route("/v1/media/{id:path}/why", self.why),  # path: a name may hold slashes
            Route("/v1/media/{id:path}", self.medium),
        ]


def _number(query: dict[str, str], key: str, default: int) -> int:
    text = query.get(key, str(default))
    if not text.isdecimal() or len(text) > 18:
        raise BadRequest(f"{key} is a whole number, not {text[:40]!r}.")
    return int(text)


def _digest(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise BadRequest("sha256 is 64 hex digits.")
    return digest


class _Guarded(HttpToolsProtocol):
    """Connections of other users are closed before a byte of theirs is read. The head of a request has to come within HEAD_S and
    HEAD_MAX_BYTES; uvicorn itself would wait, and keep, for ever."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid not in (None, 0, os.getuid()):
            log.warning("socket.refused", uid=uid)
            transport.abort()
            return
        self._head_timer = self.loop.call_later(HEAD_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        if self._head_timer is None:  # another request on the same connection
            self._head_timer, self._head_bytes = self.loop.call_later(HEAD_S, self.transport.abort), 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._end_of_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_head()
        super().connection_lost(exc)

    def _end_of_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def peer_uid(sock: Any) -> int | None:
    """The uid at the other end; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


class _Server(uvicorn.Server):
    """uvicorn looks ten times a second whether it should end; ours waits to be told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told: asyncio.Event | None = None

    async def main_loop(self) -> None:
        self.told = asyncio.Event()
        if not self.should_exit:
            await self.told.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield  # signals are the service's


class Api:
    """`start()` binds and serves; `path` is the socket. Raises OSError if it cannot bind."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.path = socket_path.choose(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # the lock is ours, so whoever bound it is dead
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self._socket.bind(os.fspath(self.path))
        finally:
            os.umask(mask)
        self._socket.listen(128)
        self._catalog = lading.open(config=self._config, make=False)
        routes = [*Actions(self._catalog).table(), *Routes(self._catalog).table()]
        app = Starlette(routes=routes, exception_handlers={Error: _problem, HTTPException: _http_problem})
        self._server = _Server(
            uvicorn.Config(
                app, http=_Guarded, loop="asyncio", lifespan="off", log_config=None, access_log=False, date_header=False,
                server_header=False, timeout_keep_alive=5, h11_max_incomplete_event_size=64 << 10, limit_concurrency=64,
            )
        )  # fmt: skip
        self._thread = threading.Thread(target=self._serve, name="socket", daemon=True)
        self._thread.start()
        socket_path.publish(self._config_home(), self.path)

    def stop(self) -> None:
        if self._thread is None:
            return
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell)
        self._thread.join(timeout=2)
        socket_path.remove(self.path)
        self._catalog.close()

    def _tell(self) -> None:
        self._server.should_exit = True
        if self._server.told is not None:
            self._server.told.set()

    def _serve(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())

    def _config_home(self) -> Any:
        return self._catalog.home
