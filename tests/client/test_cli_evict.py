"""`lading evict`: what goes, what stays and why."""

from __future__ import annotations

import lading
from cli_kit import Cli


def safe(cli: Cli, *names: str, table: str = "default") -> list[str]:
    """Media that are in their destination."""
    ids = cli.put(*names, table=table, destination=cli.uri)
    cli.deliver()
    return ids


def cached(cli: Cli, *ids: str) -> list[bool]:
    with lading.open(cli.home) as cat:
        return [cat.medium(i).cached for i in ids]


def test_what_is_safe_goes_and_the_rest_says_why_it_stays(cli: Cli) -> None:
    a, b, c = safe(cli, "a", "b", "c")
    (new,) = cli.put("new", destination=cli.uri)
    (here,) = cli.put("here")
    cli.run("pin", b)
    done = cli.run("evict", "a", b, new, here, c, code=4)
    assert done.out == f"{a}  evicted  a\n{c}  evicted  c\n"
    assert "It is pinned." in done.err
    assert f"lading unpin {b}" in done.err
    assert done.err.count("It is not safe elsewhere.") == 2
    assert "no destination" in done.err
    assert f"lading why {new}" in done.err
    assert cached(cli, a, b, c, new, here) == [False, True, False, True, True]
    assert cli.run("show", a, "--json").json["state"] == "safe"
    assert "On this disk: no copy." in cli.run("why", a).out
    types = [row["type"] for row in cli.run("sql", "SELECT type FROM events WHERE type LIKE 'local.%'", "--json").lines]
    assert types == ["local.evicted"] * 2


def test_twice_is_no_error_and_unknown_is(cli: Cli) -> None:
    (a,) = safe(cli, "a")
    assert cli.run("evict", a, "--json").json["cached"] is False
    assert cli.run("evict", a, "--json").json["cached"] is False
    assert cli.run("evict", "nope", a, code=3).out == f"{a}  evicted  a\n"
    (problem,) = cli.run("evict", "nope", "--json", code=3).lines
    assert (problem["exit"], problem["type"]) == (3, "urn:lading:not-found")


def test_a_refusal_is_a_problem_with_its_reason(cli: Cli) -> None:
    (new,) = cli.put("new", destination=cli.uri)
    problem = cli.run("evict", new, "--json", code=4).json
    assert (problem["exit"], problem["status"], problem["type"], problem["reason"]) == (4, 409, "urn:lading:held", "not_safe")
    assert problem["id"] == new


def test_a_whole_table(cli: Cli) -> None:
    ids = safe(cli, "a", "b", table="trips/2026")
    (other,) = safe(cli, "c")
    assert len(cli.run("evict", "--table", "trips/2026", "--json").lines) == 2
    assert cached(cli, *ids, other) == [False, False, True]
    assert cli.run("evict", "--table", "trips/2026").out == ""
    cli.run("evict", code=2)
    cli.run("evict", "a", "--table", "default", code=2)
    cli.run("evict", "--table", "nowhere", code=3)


def test_an_old_proof_waits_for_the_daemon(cli: Cli) -> None:
    """Asked for with none running: the next one looks again, and lets it go, whatever the budget says."""
    (a,) = cli.put("a", destination=cli.uri)
    cli.daemon()
    with lading.open(cli.home) as cat:
        cat._conn._db.execute("UPDATE replica SET verified_at_ms = 1 WHERE store_id <> 0")
    done = cli.run("evict", a, code=4)
    assert "for more than 7d" in done.err
    assert "lading daemon" in done.err
    assert cached(cli, a) == [True]
    cli.daemon()
    assert cached(cli, a) == [False]
    assert (cli.nas / cli.run("show", a, "--json").json["replicas"][0]["uri"].removeprefix(cli.uri)).exists()
