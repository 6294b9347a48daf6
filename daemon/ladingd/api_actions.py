"""What the local socket can be asked to do; what it can be asked to tell stands in api.py. A body is not needed and not read."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import lading
from ladingd.reply import reply


class Actions:
    """One method a route; the table below them. Each runs in a helper thread and may wait. Errors of ours become problem details."""

    def __init__(self, catalog: lading.Catalog) -> None:
        self._catalog = catalog

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

    def confirm_sweep(self, request: Request) -> Response:
        """lading.plan/1: a sweep that stopped at the cap is carried out."""
        return reply(self._catalog.sweeps.confirm(request.path_params["plan"]))

    def table(self) -> list[Route]:
        return [
            Route("/v1/sweep/{plan}/confirm", self.confirm_sweep, methods=["POST"]),
            Route("/v1/media/{id:path}/pin", self.pin, methods=["POST"]),
            Route("/v1/media/{id:path}/unpin", self.unpin, methods=["POST"]),
        ]
