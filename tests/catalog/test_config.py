import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading_catalog import config
from lading_catalog.config import Config, load
from lading_catalog.config_keys import Settings
from lading_catalog.errors import ConfigError
from lading_catalog.units import Amount, Copies, Duration, Percent, Secret, Size

# Every key with its default, as the documentation prints it.
DOCUMENTED: dict[str, Any] = {
    "input_media_dest": [], "output_media_dest": [],
    "s3_profile": "", "r2_profile": "", "b2_profile": "", "tigris_profile": "", "api_key": "",
    "api_url": "https://internal-api.pixeltable.com",
    "cache_size": "20%", "cache_low": "90%", "min_free": "5%", "evict_after": "1h", "min_copies": "all",
    "proof_max_age": "7d", "delete_after": "24h", "delete_max_count": 1000, "delete_max_fraction": "20%",
    "delete_versions": False, "concurrency": 16, "upload_limit": "0", "download_limit": "0",
    "multipart_threshold": "16MiB", "part_size": "8MiB", "retry_max": "15m", "warn_unsafe_after": "24h",
    "verify_every": "30d", "backup_every": "1h", "journal_keep": "30d", "url_max_size": "10GiB",
    "url_allow_private": False, "sql_time_limit": "10s", "sql_memory": "256MiB", "socket": "", "log_level": "info",
    "log_format": "auto", "on_event": "",
    "on_event_types": ["media.safe", "damage.found", "destination.blocked"],
    "s3.endpoint_url": "", "s3.region": "", "s3.addressing": "auto", "s3.ca_bundle": "",
    "azure.storage_account_name": "", "azure.storage_account_key": "", "azure.endpoint_url": "",
    "gcs.project": "", "gcs.endpoint_url": "",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


def write(home: str, text: str, mode: int = 0o600) -> str:
    path = Path(home) / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def refused(home: str, environ: dict[str, str] | None = None, overrides: dict[str, Any] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(home, environ or {}, overrides)
    assert caught.value.exit_code == 78
    assert caught.value.detail.isprintable()
    return caught.value


def test_the_defaults_are_the_documented_ones(home: str) -> None:
    shown = config.show(load(home, {}))
    assert shown[0] == {"key": "home", "value": home, "origin": "call"}
    assert {it["key"]: it["value"] for it in shown[1:]} == DOCUMENTED
    assert {it["origin"] for it in shown[1:]} == {"default"}


def test_values_in_their_units(home: str) -> None:
    cfg = load(home, {})
    assert (cfg.retry_max_s, cfg.delete_after_s, cfg.verify_every_s, cfg.sql_time_limit_s) == (
        900,
        86400,
        30 * 86400,
        10,
    )
    assert (cfg.evict_after_s, cfg.proof_max_age_s, cfg.warn_unsafe_after_s) == (3600, 7 * 86400, 86400)
    assert (cfg.backup_every_s, cfg.journal_keep_s) == (3600, 30 * 86400)
    assert (cfg.multipart_threshold_bytes, cfg.part_size_bytes) == (16 << 20, 8 << 20)
    assert (cfg.url_max_size_bytes, cfg.sql_memory_bytes) == (10 << 30, 256 << 20)
    assert (cfg.upload_limit_bytes_per_s, cfg.download_limit_bytes_per_s) == (0, 0)
    assert cfg.min_free.of(1000) == cfg.min_free_bytes(1000) == 50
    assert (cfg.cache_size_bytes(1000), cfg.cache_low_bytes(1000)) == (200, 180)
    assert cfg.delete_max_fraction.fraction == 0.2
    assert cfg.min_copies_count is None
    assert load(home, {}, {"cache_size": "50GiB"}).cache_low_bytes(10) == 45 << 30


def test_call_before_environment_before_file_before_default(home: str) -> None:
    path = write(home, 'retry_max = "1m"\nconcurrency = 4\nlog_level = "debug"\n')
    cfg = load(home, {"LADING_RETRY_MAX": "2m", "LADING_CONCURRENCY": "5"}, {"retry_max": "3m", "log_level": None})
    assert (cfg.retry_max, cfg.origin("retry_max")) == ("3m", "call")
    assert (cfg.concurrency, cfg.origin("concurrency")) == (5, "environment LADING_CONCURRENCY")
    assert (cfg.log_level, cfg.origin("log_level")) == ("debug", f"file {path}")
    assert cfg.origin("cache_size") == "default"


def test_nested_keys_from_everywhere(home: str) -> None:
    write(home, '[s3]\nregion = "a"\naddressing = "path"\n')
    cfg = load(home, {"LADING_S3__ENDPOINT_URL": "http://h:9000"}, {"s3.region": "b", "gcs": {"project": "p"}})
    assert (cfg.s3.region, cfg.s3.addressing, cfg.s3.endpoint_url, cfg.gcs.project) == (
        "b",
        "path",
        "http://h:9000",
        "p",
    )
    cfg = load(home, {"LADING_ENDPOINTS__MINIO__ENDPOINT_URL": "https://m"})
    assert cfg.endpoints["minio"].endpoint_url == "https://m"


def test_endpoints_and_destinations(home: str) -> None:
    write(
        home,
        """
        input_media_dest = "s3+minio://bkt/p"
        [endpoints.minio]
        endpoint_url = "https://minio.local:9000"
        addressing = "path"
        [destinations."s3+minio://bkt/p"]
        concurrency = 8
        upload_limit = "10MB"
        sse = "aws:kms"
        [destinations."gs://bucket"]
        """,
    )
    cfg = load(home, {})
    assert cfg.input_media_dest == ("s3+minio://bkt/p/",)
    mine = cfg.destination("s3+minio://bkt/p/")
    assert (mine.concurrency, mine.upload_limit_bytes_per_s, mine.sse, mine.paused) == (8, 10_000_000, "aws:kms", False)
    assert cfg.destination("s3://else/").concurrency == 16
    assert list(cfg.destinations) == ["s3+minio://bkt/p/", "gs://bucket/"]
    keys = {it["key"]: it["origin"] for it in config.show(cfg)}
    assert keys['destinations."s3+minio://bkt/p/".concurrency'] == f"file {home}/config.toml"
    assert keys["endpoints.minio.region"] == "default"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("s3://b", ("s3://b-1/",)),
        ('["s3://b-1/", "gs://bbb/x"]', ("s3://b-1/", "gs://bbb/x/")),
        ('["s3://b-1/", "s3://b-1"]', ("s3://b-1/",)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_lists_from_the_environment(home: str, given: str, found: tuple[str, ...]) -> None:
    given = given.replace("s3://b", "s3://b-1") if given == "s3://b" else given
    assert load(home, {"LADING_INPUT_MEDIA_DEST": given}).input_media_dest == found


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('cache_size = "5 elephants"', "must be a size or percentage"),
        ("cache_size = 5", "must be a size or percentage"),
        ('cache_size = "101%"', "percentage"),
        ('cache_low = "50GiB"', "must be a percentage"),
        ('cache_low = "0%"', "more than 0%"),
        ('upload_limit = "1"', "must be a size"),
        ('upload_limit = "20%"', "must be a size"),
        ('retry_max = "900"', "must be a duration with its unit"),
        ("retry_max = 900", "must be a duration with its unit"),
        ('retry_max = "0s"', "at least 1s"),
        ('delete_after = "99999w"', "100 years"),
        ('sql_memory = "99999PiB"', "beyond any disk"),
        ("min_copies = 0", "at least 1"),
        ('min_copies = "0"', "at least 1"),
        ("min_copies = true", "at least 1"),
        ('min_copies = "some"', "at least 1"),
        ("concurrency = 0", "from 1 to 1024"),
        ('concurrency = "4"', "from 1 to 1024"),
        ("concurrency = true", "from 1 to 1024"),
        ("delete_max_count = 1.5", "whole number"),
        ('delete_versions = "true"', "true or false"),
        ("s3_profile = 1", "must be text"),
        ('log_level = "loud"', 'one of "debug"'),
        ('on_event_types = ["media.gone"]', 'one of "media.put"'),
        ("on_event_types = 1", "list"),
        ('part_size = "1MiB"', "5MiB to 5GiB"),
        ('multipart_threshold = "6GiB"', "at most 5GiB"),
        ('socket = "here.sock"', "absolute"),
        ('api_url = "example.org"', "must be an address"),
        ('s3 = "x"', "must be a table"),
        ('endpoints = "x"', "must be a table"),
        ("destinations = 1", "must be a table"),
        ('[s3]\nendpoint_url = "ftp://h"', "must be an address"),
        ('[s3]\naddressing = "none"', 'one of "auto"'),
        ('[endpoints.M_x]\nendpoint_url = "https://h"', "a-z, 0-9"),
        ('[endpoints.minio]\nregion = "x"', "no endpoint_url"),
        ('[destinations."/mnt/x"]\npaused = true', "plain path"),
        ('[destinations."s3://bbb/"]\nsse = "none"', 'one of ""'),
        ('[destinations."s3://bbb/"]\npaused=true\n[destinations."s3://bbb"]\npaused=false', "twice"),
        ('input_media_dest = "s3://"', "names no bucket"),
        ('input_media_dest = "s3+minio://bbb/"', "not configured"),
        ('input_media_dest = ["s3://bbb/", "s3://bbb/x"]', "inside the other"),
        ('input_media_dest = "s3://bbb/"\noutput_media_dest = "s3://bbb/x"', "inside the other"),
        ("cache_size = ", "is no TOML"),
        ("cach_size = 1", "no key cach_size"),
        ('[s3]\nregoin = "x"', "no key s3.regoin"),
        ('[destinations."s3://bbb/"]\nconcurency = 1', "concurency"),
        ("[endpoints.minio.more]\nx = 1", "no key"),
        ("[cache_size]\nx = 1", "no key"),
    ],
)
def test_a_wrong_file_is_refused(home: str, line: str, says: str) -> None:
    path = write(home, "# a comment\n" + line + "\n")
    error = refused(home)
    assert says in error.detail
    assert path in error.detail
    problems = config.check(path)
    assert error.detail in [it.detail for it in problems]


def test_the_sentence_names_key_value_and_line(home: str) -> None:
    path = write(home, '# x\n\n[s3]\nregion = "a"\naddressing = "none"\n')
    assert refused(home).detail == f's3.addressing = "none" ({path}:5) must be one of "auto", "path", "virtual".'
    error = refused(home + "2", {"LADING_CACHE_SIZE": "5 elephants"})
    assert error.detail.startswith('cache_size = "5 elephants" (the environment variable LADING_CACHE_SIZE) must be')
    assert refused(home + "2", {}, {"concurrency": 0}).detail.startswith("concurrency = 0 (the call) must be")


def test_unknown_keys_get_a_suggestion(home: str) -> None:
    path = write(home, '\ncach_size = "1GB"\n')
    error = refused(home)
    assert error.detail == f"There is no key cach_size ({path}:2)."
    assert error.hint == "Did you mean cache_size?"
    write(home, 'region = "x"')
    assert refused(home).hint == "Did you mean s3.region?"
    write(home, '[destinations."s3://bbb/"]\nconcurency = 1\n')
    assert refused(home).hint == 'Did you mean destinations."s3://bbb/".concurrency?'
    write(home, "")
    assert refused(home, {}, {"zzz": 1}).hint == "lading config show lists all keys."


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LADING_CACH_SIZE", "LADING_CACHE_SIZE"),
        ("LADING_S3_REGION", "LADING_S3__REGION"),
        ("LADING_CONFIGS", "LADING_CONFIG"),
        ("LADING_ENDPOINTS__MINIO__REGIN", "LADING_ENDPOINTS__MINIO__REGION"),
    ],
)
def test_unknown_variables_are_refused(home: str, name: str, hint: str) -> None:
    error = refused(home, {name: "1"})
    assert name in error.detail
    assert error.hint == f"Did you mean {hint}?"


def test_variables_that_are_no_keys(home: str, tmp_path: Path) -> None:
    path = write(home, 'log_level = "debug"')
    other = str(tmp_path / "other")
    cfg = load(
        None,
        {"LADING_CONFIG": path, "LADING_SOCKET": "/run/x.sock", "LADING_HOME": other, "HOME": "/x", "AWS_PROFILE": "x"},
    )
    assert (cfg.home, cfg.log_level, cfg.socket) == (other, "debug", "/run/x.sock")
    assert cfg.origin("home") == "environment LADING_HOME"
    error = refused(home, {"LADING_DESTINATIONS__X__PAUSED": "true"})
    assert "cannot come from the environment" in error.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [("CONCURRENCY", "many"), ("DELETE_VERSIONS", "yes"), ("INPUT_MEDIA_DEST", "[x"), ("MIN_COPIES", "0")],
)
def test_wrong_variables(home: str, name: str, value: str) -> None:
    assert f"the environment variable LADING_{name}" in refused(home, {f"LADING_{name}": value}).detail


def test_typed_variables(home: str) -> None:
    cfg = load(home, {"LADING_DELETE_VERSIONS": "true", "LADING_MIN_COPIES": "2", "LADING_ON_EVENT_TYPES": '["media.put"]'})
    assert (cfg.delete_versions, cfg.min_copies_count, cfg.on_event_types) == (True, 2, ("media.put",))
    write(home, "min_copies = 3")
    assert load(home, {}).min_copies_count == 3


def test_which_file(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert config.file_path(None, {}) == (str(tmp_path / "conf/lading/config.toml"), False)
        assert load(None, {}).home == str(tmp_path / "data/lading")
    assert load(None, {}, {"home": home}).path == home + "/config.toml"
    assert load("~/h", {}).home == str(tmp_path / "h")
    assert refused(home, {"LADING_CONFIG": "/nowhere/x.toml"}).detail.startswith(
        "The configuration /nowhere/x.toml cannot be read"
    )
    write(home, f'home = "{tmp_path}/elsewhere"')
    assert load(home, {}).home == home, "the call is stronger"
    assert load(None, {"LADING_CONFIG": home + "/config.toml"}).home == f"{tmp_path}/elsewhere"


def test_a_home_in_a_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "xdg")
    for home in ("/var/cache/lading", "~/.cache/lading", str(tmp_path / "xdg"), str(tmp_path / "link/h")):
        assert "cache directory" in refused(home).detail
    assert load(str(tmp_path / ".cachet"), {}).home.endswith(".cachet")


def test_a_file_with_a_secret_must_be_private(home: str) -> None:
    for text in ('api_key = "hunter2"', '[azure]\nstorage_account_key = "hunter2"'):
        path = write(home, text, 0o640)
        error = refused(home)
        assert "holds a secret" in error.detail
        assert error.hint == f"chmod 600 {path}"
        assert [it.detail for it in config.check(path)] == [error.detail]
        os.chmod(path, 0o600)
        assert load(home, {}).path == path
    write(home, 'api_key = ""\nlog_level = "debug"', 0o644)
    assert load(home, {}).log_level == "debug"


def test_no_secret_is_ever_shown(home: str) -> None:
    write(home, 'api_key = "hunter2"\n[azure]\nstorage_account_key = "hunter2"')
    cfg = load(home, {})
    shown = {it["key"]: it["value"] for it in config.show(cfg)}
    assert shown["api_key"] == shown["azure.storage_account_key"] == "set, not shown"
    assert cfg.api_key == "hunter2"
    assert "hunter2" not in repr(cfg) + repr(shown)
    write(home, 'api_key = ["hunter2"]')
    assert "hunter2" not in repr(refused(home).problem())
    write(home, 'input_media_dest = "s3://u:hunter2@bbb/"\n[s3]\nendpoint_url = "https://u:hunter2@h"')
    assert "hunter2" not in repr(refused(home).problem())
    assert len(config.check(home + "/config.toml")) == 2


def test_pixeltables_key_fills_in(home: str) -> None:
    cfg = load(home, {"PIXELTABLE_API_KEY": "k"})
    assert (cfg.api_key, cfg.origin("api_key")) == ("k", "environment PIXELTABLE_API_KEY")
    assert load(home, {"PIXELTABLE_API_KEY": "k", "LADING_API_KEY": "own"}).api_key == "own"


def test_all_problems_at_once(home: str) -> None:
    path = write(home, 'cach_size = 1\nretry_max = 1\nlog_level = "x"\n')
    assert len(config.check(path)) == 3
    assert len(refused(home).about["problems"]) == 3
    assert config.check(write(home, 'log_level = "info"')) == []
    assert len(config.check("/nowhere")) == 1


def test_set_key_keeps_all_other_lines(home: str) -> None:
    text = '# mine\ncache_size = "1GB"   # small\n\n[s3]\nregion = "a" # here\n'
    path = write(home, text, 0o644)
    config.set_key(path, "cache_size", "50GiB")
    config.set_key(path, "s3.region", "b")
    config.set_key(path, "concurrency", "8")
    config.set_key(path, "delete_versions", True)
    config.set_key(path, "min_copies", "2")
    config.set_key(path, 'destinations."s3://bbb/".paused', "true")
    config.set_key(path, "input_media_dest", "s3://bbb/x.y/")
    config.set_key(path, "on_event_types", '["media.put"]')
    lines = Path(path).read_text().splitlines()
    assert lines[:2] == ["# mine", 'cache_size = "50GiB"   # small']
    assert 'region = "b" # here' in lines
    cfg = load(home, {})
    assert (cfg.concurrency, cfg.delete_versions, cfg.min_copies_count, cfg.s3.region) == (8, True, 2, "b")
    assert cfg.destination("s3://bbb/").paused
    assert (cfg.input_media_dest, cfg.on_event_types) == (("s3://bbb/x.y/",), ("media.put",))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(home) == ["config.toml"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cache_size", "x"),
        ("cach_size", "1GB"),
        ("concurrency", "x"),
        ("s3", "x"),
        ("a b", "1"),
        ("x\ny", 1),
        ("min_copies", 0),
        ("endpoints.minio.region", "x"),  # would leave an endpoint without its address
        ("input_media_dest", "/mnt"),
    ],
)
def test_set_key_refuses_and_leaves_the_file(home: str, key: str, value: Any) -> None:
    path = write(home, 'cache_size = "1GB"\n')
    with pytest.raises(ConfigError):
        config.set_key(path, key, value)
    assert Path(path).read_text() == 'cache_size = "1GB"\n'
    assert os.listdir(home) == ["config.toml"]


def test_set_key_makes_the_file_repairs_it_and_follows_links(home: str, tmp_path: Path) -> None:
    config.set_key(home + "/config.toml", "s3.region", "a")
    assert load(home, {}).s3.region == "a"
    path = write(home, "concurrency = 0\nretry_max = 1\n")
    config.set_key(path, "concurrency", 4)
    assert [it.about["key"] for it in config.check(path)] == ["retry_max"], "one wrong line is no obstacle for another"
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    config.set_key(str(link), "retry_max", "2m")
    assert link.is_symlink()
    assert load(home, {}).retry_max_s == 120


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("0B", 0),
        ("512 B", 512),
        ("10MB", 10**7),
        ("10mb", 10**7),
        ("1KiB", 1024),
        ("1.5GiB", 3 << 29),
        ("2TB", 2 * 10**12),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert Size(text).bytes == size_bytes
    assert Amount(text).of(7) == size_bytes
    assert str(Size(text)) == text


@pytest.mark.parametrize("text", ["", "1", "-1B", "1XB", "B", "1e3B", "٣MB", "1MB\n", "1 000MB", 10, None, True])
def test_no_sizes(text: Any) -> None:
    for kind in (Size, Amount):
        with pytest.raises(ValueError, match="must be a size"):
            kind(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h", 3600), ("1h30m", 5400), ("1h 30m", 5400), ("500ms", 0.5), ("2w", 1209600), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration(text).s == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1H", "1hour", "1h x", "1h\n", 60, None])
def test_no_durations(text: Any) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        Duration(text)


@given(st.integers(0, 100), st.integers(0, 2**62))
def test_percentages(percent: int, total_bytes: int) -> None:
    assert Percent(f"{percent}%").fraction == percent / 100
    assert 0 <= Amount(f"{percent}%").of(total_bytes) <= total_bytes * 1.01
    assert Copies(percent + 1).number == percent + 1


def test_every_key_is_checked_when_it_is_made() -> None:
    for kind, wrong in ((Percent, "120%"), (Percent, "20"), (Copies, "none"), (Secret, 1)):
        with pytest.raises(ValueError):
            kind(wrong)
    assert isinstance(load("/tmp/lading-none", {}), Config)
    assert set(Settings.__struct_fields__) <= set(Config.__struct_fields__)
    with pytest.raises(AttributeError):
        load("/tmp/lading-none", {}).concurrency = 3  # type: ignore[misc]
    assert msgspec.structs.asdict(Settings())["cache_size"] == "20%"


def test_importing_it_stays_cheap() -> None:
    late = ("platformdirs", "tomlkit", "difflib", "tomllib", "json")
    code = f"import sys, lading_catalog.config; print([it for it in {late} if it in sys.modules])"
    env = {**os.environ, "PYTHONPATH": str(Path(config.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout == "[]\n"
