"""Rules about the tree itself. Each is a function from text to what is wrong with it; a control shows that it sees."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = {"lading_catalog": ROOT / "catalog", "lading": ROOT / "client", "ladingd": ROOT / "daemon"}
MAY_IMPORT = {
    "lading_catalog": {"lading_catalog"},
    "lading": {"lading", "lading_catalog"},
    "ladingd": {"ladingd", "lading", "lading_catalog"},
}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def tree() -> Iterator[tuple[str, str]]:
    """Path and text of every file that is, or is about to be, under version control."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # no text, or deleted but not yet committed


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((PACKAGES[package] / package).rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_bytes(), filename=str(path))


# --- no path of somebody's machine

MACHINE_PATH = re.compile(r"(?<![\w.~}>)-])/(?:(?:work|root)/|home/[a-z]\w*|Users/[A-Za-z]\w*|opt/(?:pypi|wheels))")


def machine_paths(text: str) -> list[str]:
    return [match[0] for match in MACHINE_PATH.finditer(text)]


def test_no_file_names_a_path_of_one_machine() -> None:
    found = {name: paths for name, text in tree() if (paths := machine_paths(text))}
    assert found == {}


def test_machine_paths_are_seen() -> None:
    slash = "/"  # so that this file itself stays clean
    for path in (slash + "work/main", slash + "root/.cache", slash + "home/ann", f"file://{slash}home/ann/x"):
        assert machine_paths(f"see {path}."), path
    for path in ("s3://bucket/work/x", "$HOME/work/x", "~/root/x", "/homes", "docs/work/x"):
        assert machine_paths(f"see {path}.") == [], path


# --- requirements: pins and hashes, nothing about where they came from

LOCK_LINE = re.compile(
    r"""
      [a-z0-9]+(-[a-z0-9]+)*==[\w.!+]+(\ ;\ [^/\\]+)?\ \\   # name==version, maybe a marker
    | \ \ \ \ --hash=sha256:[0-9a-f]{64}(\ \\)?
    | \ \ \ \ \#\ +(via\ )?(-c\ requirements/\w+\.txt|[\w-]+(\ \([^/]*\))?)?
    | \ \ \ \ \#\ via
    | \#\ The\ following\ packages\ are\ considered\ to\ be\ unsafe.*
    |
    """,
    re.VERBOSE,
)


def odd_lock_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not LOCK_LINE.fullmatch(line)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_file_holds_pins_and_hashes_only(lock: Path) -> None:
    assert odd_lock_lines(lock.read_text()) == []


def test_odd_lock_lines_are_seen() -> None:
    for line in (
        "--index-url https://registry.example/simple",
        "--find-links wheels",
        "boto3>=1.36",
        "boto3==1.36",  # no hash follows
        "boto3 @ file:///tmp/boto3.whl",
        "    # via -r /tmp/dev.in",
        "    # from https://registry.example/simple",
    ):
        assert odd_lock_lines(line) == [line]


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements" / lock).read_text(), flags=re.MULTILINE))


def unmet(wanted: list[str], pinned: dict[str, str]) -> list[str]:
    requirements = [Requirement(line) for line in wanted]
    return [
        str(requirement)
        for requirement in requirements
        if (version := pinned.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(version, prereleases=True)
    ]


def test_the_locks_fit_pyproject() -> None:
    """If this fails: make lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = project["project"]["dependencies"]
    dev = project["project"]["optional-dependencies"]["dev"]
    build = project["build-system"]["requires"]
    assert unmet(runtime, pins("runtime.txt")) == []
    assert unmet(build, pins("build.txt")) == []
    assert unmet(runtime + dev + build, pins("dev.txt")) == []


def test_dev_holds_the_same_versions_as_runtime_and_build() -> None:
    """`make setup` and `make demo` share one environment; neither may change what the other installed."""
    dev = pins("dev.txt").items()
    assert pins("runtime.txt").items() <= dev
    assert pins("build.txt").items() <= dev


def test_a_pin_that_does_not_fit_is_seen() -> None:
    assert unmet(["click>=8.1", "rich"], {"click": "8.0"}) == ["click>=8.1", "rich"]


# --- imports go one way


def imported(module: ast.Module) -> set[str]:
    """Top-level names of all absolute imports, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def wrong_way(package: str, module: ast.Module) -> set[str]:
    return (imported(module) & PACKAGES.keys()) - MAY_IMPORT[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    found = {name: names for name, module in modules(package) if (names := wrong_way(package, module))}
    assert found == {}


def test_an_import_against_the_direction_is_seen() -> None:
    source = ast.parse("import json\ndef f():\n    from ladingd.stores import base\n    import lading.api")
    assert wrong_way("lading_catalog", source) == {"lading", "ladingd"}
    assert wrong_way("lading", source) == {"ladingd"}
    assert wrong_way("ladingd", source) == set()


# --- SQL lives in the catalog

SQL = re.compile(
    r"""\s*(?:
      SELECT\s | PRAGMA\s+\w | VACUUM\b | ATTACH\s
    | INSERT\s+(?:INTO|OR)\b | REPLACE\s+INTO\b | UPDATE\s+(?:\w|$) | DELETE\s+FROM\b
    | (?:CREATE|DROP|ALTER)\s+(?:TEMP\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|INDEX|VIEW|TRIGGER)\b
    | (?:BEGIN|COMMIT|ROLLBACK|SAVEPOINT)(?:\s+\w+)*\s*;?\s*$
    | WITH\s+(?:RECURSIVE\s+)?\w+.*\sAS\s
    )""",
    re.VERBOSE | re.DOTALL,
)


def statements(module: ast.Module) -> list[tuple[int, str]]:
    """Line and beginning of each string that is SQL. Prose (a string that stands alone) is left out."""
    prose = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value.strip()[:60])
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
        if SQL.match(node.value)
    ]


@pytest.mark.parametrize("package", ["lading", "ladingd"])
def test_sql_lives_in_the_catalog_package(package: str) -> None:
    found = {name: lines for name, module in modules(package) if (lines := statements(module))}
    assert found == {}


def test_sql_outside_is_seen() -> None:
    for text in (
        "SELECT 1",
        "\\n  INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "CREATE UNIQUE INDEX i ON t (a)",
        "PRAGMA user_version",
        "BEGIN IMMEDIATE",
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ):
        assert statements(ast.parse(f'run("{text}")')), text
        assert statements(ast.parse(f'run(f"{text} {{x}}")')) or text.startswith("BEGIN"), text
    for text in ("DELETE", "DELETE /v1/media/{id}", "Select a file", "BEGINNING", "Update it"):
        assert statements(ast.parse(f'run("{text}")')) == [], text
    assert statements(ast.parse('"""SELECT in a docstring."""')) == []


# --- cloud SDKs load when a destination needs them, not before

SDKS = ("boto3", "botocore", "google.cloud", "google.auth", "google.api_core", "azure", "obstore")
PROBE = """
import importlib, sys
before = set(sys.modules)  # .pth files may have loaded some already
importlib.import_module(sys.argv[1])
print(*sorted(name for name in set(sys.modules) - before if name.startswith(tuple(sys.argv[2:]))))
"""


def sdks_loaded_by(module: str, *extra_path: Path) -> list[str]:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, [*PACKAGES.values(), *extra_path])))
    run = subprocess.run(
        [sys.executable, "-c", PROBE, module, *SDKS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.parametrize(
    ("module", "file"),
    [("lading", "client/lading/__init__.py"), ("ladingd.__main__", "daemon/ladingd/__main__.py")],
)
def test_importing_loads_no_cloud_sdk(module: str, file: str) -> None:
    if not (ROOT / file).exists():
        pytest.skip(f"no {file} yet")
    assert sdks_loaded_by(module) == []


def test_a_loaded_sdk_is_seen(tmp_path: Path) -> None:
    (tmp_path / "eager.py").write_text("import obstore\n")
    assert "obstore" in sdks_loaded_by("eager", tmp_path)
