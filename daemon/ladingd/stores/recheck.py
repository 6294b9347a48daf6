"""Is a replica still whole? The store is asked again, in the cheapest way that is a proof."""

from __future__ import annotations

from lading_catalog.errors import Damaged
from ladingd.stores.base import Cached, Proof, Store
from ladingd.stores.source import drain


def recheck(store: Store, key: str, sha256: bytes, size_bytes: int, known: tuple[str, str] | None) -> Proof:
    """A fresh proof. `known`: (algorithm, lower-case hex) of the last one. By a digest that the store has computed itself where `stat`
    tells the right one (`head`), else by reading the object (`read`): another digest may only mean that the store has written it anew, as
    on a change of its encryption. Raises Missing, Damaged, and whatever else the store says."""
    stat = store.stat(key)
    if stat.size_bytes != size_bytes:
        raise Damaged(f"{store.uri}{key} has {stat.size_bytes} bytes, not {size_bytes}", key=key)
    for algorithm, wanted in (("sha256", sha256.hex()), known or ("", "")):
        if stat.digests.get(algorithm) == wanted:
            return Proof("head", algorithm, wanted, size_bytes)
    if isinstance(store, Cached):
        store.uncache(key)
    read_bytes, digest = drain(store.get(key))
    if read_bytes != size_bytes or digest.digest() != sha256:
        raise Damaged(f"{store.uri}{key} holds other bytes than were sent", key=key)
    return Proof("read", "sha256", digest.hexdigest(), size_bytes)
