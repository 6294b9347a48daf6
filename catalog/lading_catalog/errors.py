"""Every error that Lading raises, as one small tree. Each says what happened, to what, and what to do next (`hint`).

    Error
    ├── NotFound            nothing has that id, name or digest
    ├── Ambiguous           several media match; the ids are in `about["ids"]`
    ├── BadRequest          a query, filter or parameter is wrong
    ├── NotSafeYet          a wait ended before everything was safe (also a TimeoutError); carries the partial receipt
    ├── NoDaemon            the request needs a running daemon
    ├── Refused             the store says no, and will until somebody acts: permissions, credentials, no such bucket
    ├── Unavailable         cannot be reached or asks us to slow down: try again later
    ├── Missing             the store has no such object
    ├── Damaged             the bytes are not what the catalog says
    ├── Full                no space left, here or there
    ├── Archived            the object has to be restored from cold storage first
    ├── CatalogError        the catalog cannot be used as it is
    │   ├── CatalogFull     its disk is full
    │   └── CatalogUpgraded another process has migrated it meanwhile: reopen
    └── ConfigError         a setting, option or URI is wrong

`reason` is a word of the closed list that `lading why` speaks (REASONS). Errors that come from a store are translated once, by
the table at the top of each provider; nothing outside a provider knows a foreign exception.
"""

from __future__ import annotations

from typing import Any

REASONS = (
    "done", "queued", "copying", "no_daemon", "paused", "offline", "unreachable", "throttled", "refused", "no_credentials",
    "no_bucket", "full", "damaged", "archived", "source_changed", "no_destination", "deleted",
)  # fmt: skip


class Error(Exception):
    """Something went wrong that Lading can explain.

    `detail` is one sentence for a person. `hint` is what to do next: a command or a short sentence, "" if there is nothing.
    `about` holds fields for programs (`id`, `path`, …); they are part of the JSON form.
    """

    urn = "error"
    title = "Error"
    status = 500  # HTTP status on the socket
    exit_code = 1
    reason = "unreachable"
    permanent = False  # True: trying again changes nothing until somebody acts; it is tried again all the same, slowly

    def __init__(self, detail: str, *, hint: str = "", **about: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.about = about

    def problem(self) -> dict[str, Any]:
        """The error as problem details (RFC 9457) with our `hint`, as on the socket and with `--json`."""
        return {
            "type": f"urn:lading:{self.urn}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint or None,
            **self.about,
        }


class NotFound(Error):
    urn, title, status, exit_code = "not-found", "Not found", 404, 3


class Ambiguous(Error):
    urn, title, status, exit_code = "ambiguous", "More than one match", 409, 2


class BadRequest(Error):
    urn, title, status, exit_code = "bad-request", "Bad request", 400, 2


class NotSafeYet(Error, TimeoutError):
    """A wait ended before everything was safe. `receipt` is the partial receipt (lading.receipt/1, docs/shapes.md)."""

    urn, title, status, exit_code = "not-safe-yet", "Not safe yet", 409, 4

    def __init__(self, detail: str, *, hint: str = "", receipt: Any = None, **about: Any) -> None:
        super().__init__(detail, hint=hint, **about)
        self.receipt = receipt


class NoDaemon(Error):
    urn, title, status, exit_code = "no-daemon", "No daemon is running", 503, 5


class StoreError(Error):
    """What a store answered, in our words. Not raised itself."""

    urn, title, status = "store", "Store error", 502


class Refused(StoreError):
    """The store says no until somebody acts. `reason`: refused, no_credentials or no_bucket."""

    urn, title, status, permanent = "refused", "Refused", 403, True

    def __init__(self, detail: str, *, reason: str = "refused", hint: str = "", **about: Any) -> None:
        super().__init__(detail, hint=hint, **about)
        self.reason = reason


class Unavailable(StoreError):
    """Cannot be reached, or asks us to slow down. `reason`: unreachable or throttled. `retry_after_s`: what the store asked for."""

    urn, title, status = "unavailable", "Unavailable", 503

    def __init__(
        self, detail: str, *, reason: str = "unreachable", retry_after_s: float | None = None, hint: str = "", **about: Any
    ) -> None:
        super().__init__(detail, hint=hint, **about)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Missing(StoreError):
    urn, title, status, reason = "missing", "Missing", 404, "damaged"


class Damaged(StoreError):
    """The bytes are not what the catalog says. `reason`: damaged (there) or source_changed (here, since the put)."""

    urn, title, status, reason = "damaged", "Damaged", 502, "damaged"

    def __init__(self, detail: str, *, reason: str = "damaged", hint: str = "", **about: Any) -> None:
        super().__init__(detail, hint=hint, **about)
        self.reason = reason
        self.permanent = reason == "source_changed"


class Full(StoreError):
    urn, title, status, reason, permanent = "full", "No space left", 507, "full", True


class Archived(StoreError):
    urn, title, status, reason, permanent = "archived", "Archived", 409, "archived", True


class CatalogError(Error):
    urn, title, status = "catalog", "Catalog error", 500


class CatalogFull(CatalogError):
    urn, title, status = "catalog-full", "The catalog's disk is full", 507


class CatalogUpgraded(CatalogError):
    urn, title, status = "catalog-upgraded", "The catalog was upgraded", 409


class ConfigError(Error):
    urn, title, status, exit_code = "config", "Wrong configuration", 400, 78
    reason, permanent = "refused", True  # to a daemon that meets one at a destination
