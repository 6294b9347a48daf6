"""The owner marker in a destination: what is read before anything is deleted there, and what is written then. What the tokens mean:
lading_catalog.ownership."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from lading_catalog.errors import Error
from ladingd.stores.base import Store

FOLDER = ".lading/owners"
SKEW_MAX_S = 300.0
TOKEN_BYTES = 16


class ForeignOwner(Error):
    urn, title, status, reason = "foreign-owner", "Another life of this catalog deletes here", 409, "refused"


class ClockSkew(Error):
    urn, title, status, reason = "clock-skew", "The clocks differ", 409, "refused"


@dataclass(frozen=True, slots=True)
class Marker:
    """What the marker holds; `token` None: there is none. `clock_offset_s`: how far the store's clock is ahead of ours, None if it
    tells no time."""

    token: str | None
    clock_offset_s: float | None


def key(catalog_id: str) -> str:
    return f"{FOLDER}/{catalog_id}"


def fresh_token() -> str:
    return secrets.token_hex(TOKEN_BYTES)


def read(store: Store, catalog_id: str) -> Marker:
    """One GET. Raises the store's errors; what stands there and is no marker counts as a foreign token: never as none."""
    data = store.read(key(catalog_id))
    return Marker(None if data is None else _token(data), store.clock_offset_s)


def _token(data: bytes) -> str:
    try:
        told = json.loads(data)
        token = told["token"]
    except (ValueError, KeyError, TypeError):
        token = None
    return token if isinstance(token, str) and token else f"unreadable {data[:32].hex()}"


def write(store: Store, catalog_id: str, token: str) -> None:
    """One PUT. Whether it holds is seen by the next sweep, which reads it."""
    store.write(key(catalog_id), json.dumps({"schema": "lading.owner/1", "catalog": catalog_id, "token": token}).encode())


def refuse_skew(uri: str, offset_s: float | None) -> None:
    """Raise ClockSkew where the store's clock and ours differ by more than SKEW_MAX_S: one of them is wrong, and grace is a matter of
    time."""
    if offset_s is not None and abs(offset_s) > SKEW_MAX_S:
        ahead = "ahead of" if offset_s > 0 else "behind"
        raise ClockSkew(
            f"{uri}: its clock is {abs(offset_s) / 60:.0f} minutes {ahead} this machine's: nothing is deleted there.",
            hint="Set this machine's clock (NTP).",
        )


def foreign(uri: str, found: str | None) -> ForeignOwner:
    what = "is gone" if found is None else "holds another token than ours"
    return ForeignOwner(
        f"{uri}: the owner marker of this catalog {what}: another life of it may be at work there, so nothing is deleted.",
        hint=f"If this catalog is the one that goes on: lading destination adopt {uri}",
    )
