"""Lading: put a media file, and it is safe on this disk now and at its destinations soon.

import lading

with lading.open() as cat:
    photo = cat.put("IMG_0042.jpg")   # durable on this disk when this returns; no daemon, no network needed
    photo.wait(timeout=60)            # a Receipt once every destination has it, else NotSafeYet
"""

from lading.batch import Batch, PutOptions
from lading.catalog import Catalog, open  # noqa: A004  (lading.open is the contract, like gzip.open)
from lading.medium import Medium, Proof, Receipt, Replica
from lading_catalog.errors import (
    Ambiguous,
    Archived,
    CatalogError,
    CatalogUpgraded,
    ConfigError,
    Damaged,
    Error,
    Full,
    Missing,
    NoDaemon,
    NotFound,
    NotSafeYet,
    Refused,
    Unavailable,
)

__version__ = "0.1.0"

__all__ = [
    "Ambiguous",
    "Archived",
    "Batch",
    "Catalog",
    "CatalogError",
    "CatalogUpgraded",
    "ConfigError",
    "Damaged",
    "Error",
    "Full",
    "Medium",
    "Missing",
    "NoDaemon",
    "NotFound",
    "NotSafeYet",
    "Proof",
    "PutOptions",
    "Receipt",
    "Refused",
    "Replica",
    "Unavailable",
    "open",
]
