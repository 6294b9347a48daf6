"""What the local socket can be asked to do; what it can be asked to tell stands in api.py. A body is not needed and not read."""

from __future__ import annotations

import contextlib
import threading

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import lading
from lading.evict import evict
from lading.fetch import TooLate
from lading_catalog.errors import BadRequest
from lading_catalog.ids import medium_ulid
from ladingd.reply import reply

WAIT_MAX_S = 300.0
WAITS_AT_MOST = 16  # of the 40 helper threads


class Actions:
    """One method a route; the table below them. Each runs in a helper thread and may wait. Errors of ours become problem details."""

    def __init__(self, catalog: lading.Catalog) -> None:
        self._catalog = catalog
        self._waits = threading.BoundedSemaphore(WAITS_AT_MOST)

    def _medium(self, request: Request) -> lading.Medium:
        return self._catalog.medium(request.path_params["id"])

    def pin(self, request: Request) -> Response:
        """lading.media/1, with its copy kept on this disk from now on."""
        medium = self._medium(request)
        medium.pin()
        return reply(medium.refresh().shape)

    def unpin(self, request: Request) -> Response:
        """lading.media/1, with its copy free to be evicted."""
        medium = self._medium(request)
        medium.unpin()
        return reply(medium.refresh().shape)

    def evict(self, request: Request) -> Response:
        """lading.media/1, without its copy on this disk. 409 says what holds it there."""
        medium = self._medium(request)
        evict(self._catalog, medium.id[2:], renew_s=0.0)
        return reply(medium.refresh().shape)

    def delete(self, request: Request) -> Response:
        """lading.media/1 of the deleted medium, by its id only: `purge_at` says until when it can be brought back."""
        if medium_ulid(request.path_params["id"]) is None:
            raise BadRequest("Media are deleted by id.")
        medium = self._medium(request)
        medium.delete()
        return reply(medium.refresh().shape)

    def undelete(self, request: Request) -> Response:
        """lading.media/1, living again."""
        return reply(self._medium(request).undelete().shape)

    def confirm_sweep(self, request: Request) -> Response:
        """lading.plan/1: a sweep that stopped at the cap is carried out."""
        return reply(self._catalog.sweeps.confirm(request.path_params["plan"]))

    def fetch(self, request: Request) -> Response:
        """Bring its copy to this disk: lading.media/1, with 202 while it is on its way and 200 once it is here. Query: wait (seconds, at
        most 300): answer when it is here, or with what went wrong."""
        medium = self._medium(request)
        wait_s = _seconds(request.query_params.get("wait", "0"))
        waits = wait_s > 0 and self._waits.acquire(blocking=False)  # else it would be the last helper thread that waits
        try:
            with contextlib.suppress(TooLate):
                medium.fetch(timeout=wait_s if waits else 0)
        finally:
            if waits:
                self._waits.release()
        return reply(medium.refresh().shape, 200 if medium.cached else 202)

    def table(self) -> list[Route]:
        return [
            Route("/v1/sweep/{plan}/confirm", self.confirm_sweep, methods=["POST"]),
            Route("/v1/media/{id:path}/fetch", self.fetch, methods=["POST"]),
            Route("/v1/media/{id:path}/evict", self.evict, methods=["POST"]),
            Route("/v1/media/{id:path}/pin", self.pin, methods=["POST"]),
            Route("/v1/media/{id:path}/unpin", self.unpin, methods=["POST"]),
            Route("/v1/media/{id:path}/undelete", self.undelete, methods=["POST"]),
            Route("/v1/media/{id:path}", self.delete, methods=["DELETE"]),
        ]


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or len(text) > 18:
        raise BadRequest(f"wait is a number of seconds, not {text[:40]!r}.")
    return min(float(text), WAIT_MAX_S)
