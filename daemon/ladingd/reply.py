"""An answer of the local socket: JSON."""

from __future__ import annotations

import json

from starlette.responses import Response

from lading_catalog.shapes import Json


def reply(body: Json, status: int = 200, kind: str = "application/json") -> Response:
    # json, not msgspec: names that are not UTF-8 hold lone surrogates, which only ASCII escapes carry over
    return Response(json.dumps(body).encode(), status, media_type=kind)
