"""Every key of config.toml, its type and its default. A default or a limit stands here and nowhere else."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from lading_catalog.units import Amount, Copies, Duration, Percent, Secret, Size

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Addressing = Literal["auto", "path", "virtual"]
Event = Literal[
    "media.put", "media.safe", "media.deleted", "media.undeleted", "media.purged", "media.pinned", "media.unpinned",
    "replica.present", "replica.damaged", "replica.dropping", "replica.forgotten", "local.evicted", "local.fetched",
    "destination.ok", "destination.unreachable", "destination.blocked", "destination.full", "sweep.stopped",
    "damage.found", "damage.repaired", "daemon.started", "daemon.stopped",
]  # fmt: skip


class _Seconds:
    """An accessor: the seconds of a Duration."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get__(self, settings: object, owner: type) -> float:
        duration: Duration = getattr(settings, self.key)
        return duration.s


class _Bytes:
    """An accessor: the bytes of a Size."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get__(self, settings: object, owner: type) -> int:
        size: Size = getattr(settings, self.key)
        return size.bytes


class S3(msgspec.Struct, frozen=True, kw_only=True):
    """[s3]: how s3:// is reached."""

    endpoint_url: str = ""  # "" = Amazon's
    region: str = ""
    addressing: Addressing = "auto"
    ca_bundle: str = ""


class Azure(msgspec.Struct, frozen=True, kw_only=True):
    """[azure]: the account of az://, and its key."""

    storage_account_name: str = ""  # or AZURE_STORAGE_*
    storage_account_key: Secret = Secret("")
    endpoint_url: str = ""  # Azurite, sovereign clouds


WITHOUT_EFFECT = (
    "r2_profile", "b2_profile", "tigris_profile", "api_key", "api_url", "azure", "gcs",
    "upload_limit", "download_limit", "multipart_threshold", "part_size", "verify_every", "backup_every", "url_max_size",
    "url_allow_private", "sql_memory", "on_event", "on_event_types",
)  # fmt: skip
"""Keys, or tables of keys, that this version reads and checks, and does not use yet. Setting one is no error, but it is said."""


class Gcs(msgspec.Struct, frozen=True, kw_only=True):
    """[gcs]"""

    project: str = ""
    endpoint_url: str = ""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """[endpoints.NAME]: a store reached as s3+NAME://."""

    endpoint_url: str = ""  # required
    profile: str = ""
    region: str = ""
    addressing: Addressing = "auto"
    ca_bundle: str = ""


class DestinationKeys(msgspec.Struct, frozen=True, kw_only=True):
    """[destinations."URI"]: None means the general key of the same name."""

    concurrency: Concurrency | None = None
    upload_limit: Size | None = None
    storage_class: str = ""
    sse: Literal["", "AES256", "aws:kms"] = ""
    sse_kms_key_id: str = ""
    paused: bool = False

    @property
    def upload_limit_bytes_per_s(self) -> int | None:
        return None if self.upload_limit is None else self.upload_limit.bytes


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The keys as written; what has a unit also has an accessor with the unit in its name."""

    home: str = ""  # absolute once loaded; "" = the platform's data directory
    input_media_dest: tuple[str, ...] = ()  # canonical URIs once loaded
    output_media_dest: tuple[str, ...] = ()
    s3_profile: str = ""  # "" = the SDK's own chain
    r2_profile: str = ""
    b2_profile: str = ""
    tigris_profile: str = ""
    api_key: Secret = Secret("")  # or PIXELTABLE_API_KEY
    api_url: str = "https://internal-api.pixeltable.com"

    cache_size: Amount = Amount("20%")  # of the file system
    cache_low: Percent = Percent("90%")  # of cache_size: evict down to here
    min_free: Amount = Amount("5%")  # of the file system
    evict_after: Duration = Duration("1h")  # cooldown of a fresh local copy
    min_copies: Copies = Copies("all")
    proof_max_age: Duration = Duration("7d")

    delete_after: Duration = Duration("24h")  # grace
    delete_max_count: Count = 1000
    delete_max_fraction: Percent = Percent("20%")
    delete_versions: bool = False

    concurrency: Concurrency = 16  # per destination, upper bound
    upload_limit: Size = Size("0")  # per second, 0 = none
    download_limit: Size = Size("0")
    multipart_threshold: Size = Size("16MiB")
    part_size: Size = Size("8MiB")
    retry_max: Duration = Duration("15m")  # longest pause between tries
    warn_unsafe_after: Duration = Duration("24h")
    verify_every: Duration = Duration("30d")
    backup_every: Duration = Duration("1h")
    journal_keep: Duration = Duration("30d")

    url_max_size: Size = Size("10GiB")
    url_allow_private: bool = False
    sql_time_limit: Duration = Duration("10s")
    sql_memory: Size = Size("256MiB")
    socket: str = ""  # "" = the lookup rule
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    on_event: str = ""  # a command; the event's JSON on its stdin
    on_event_types: tuple[Event, ...] = ("media.safe", "damage.found", "destination.blocked")

    s3: S3 = S3()
    azure: Azure = Azure()
    gcs: Gcs = Gcs()
    endpoints: dict[str, Endpoint] = {}
    destinations: dict[str, DestinationKeys] = {}  # by canonical URI once loaded

    def cache_size_bytes(self, total_bytes: int) -> int:
        """The budget of local copies on a file system of `total_bytes`."""
        return self.cache_size.of(total_bytes)

    def cache_low_bytes(self, total_bytes: int) -> int:
        """Where an eviction stops: `cache_low` of the budget."""
        return int(self.cache_size.of(total_bytes) * self.cache_low.fraction)

    def min_free_bytes(self, total_bytes: int) -> int:
        """What a put leaves free on a file system of `total_bytes`."""
        return self.min_free.of(total_bytes)

    @property
    def min_copies_count(self) -> int | None:
        """None: all that are needed."""
        return self.min_copies.number

    evict_after_s = _Seconds("evict_after")
    proof_max_age_s = _Seconds("proof_max_age")
    delete_after_s = _Seconds("delete_after")
    retry_max_s = _Seconds("retry_max")
    warn_unsafe_after_s = _Seconds("warn_unsafe_after")
    verify_every_s = _Seconds("verify_every")
    backup_every_s = _Seconds("backup_every")
    journal_keep_s = _Seconds("journal_keep")
    sql_time_limit_s = _Seconds("sql_time_limit")
    upload_limit_bytes_per_s = _Bytes("upload_limit")
    download_limit_bytes_per_s = _Bytes("download_limit")
    multipart_threshold_bytes = _Bytes("multipart_threshold")
    part_size_bytes = _Bytes("part_size")
    url_max_size_bytes = _Bytes("url_max_size")
    sql_memory_bytes = _Bytes("sql_memory")
