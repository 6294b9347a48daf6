"""`lading sweep` and `lading destination adopt`: what they say, and what a word of them changes."""

from __future__ import annotations

import lading
from cli_kit import Cli
from lading_catalog import ownership, stores, sweeping
from lading_catalog.errors import Error


def deleted(cli: Cli, n: int = 3, *, seen: bool = True) -> list[str]:
    """Media that were brought and deleted; with `seen` by a daemon that knows of it."""
    cli.run("table", "set-destination", "default", "file", cli.uri)
    ids = cli.put(*(f"{i}.jpg" for i in range(n)))
    cli.deliver()
    cli.run("rm", *ids)
    if seen:
        with lading.open(cli.home) as cat, cat._conn.writing() as conn:
            sweeping.see(conn, 0, 100)
    return ids


def stop_at_cap(cli: Cli) -> str:
    with lading.open(cli.home) as cat, cat._conn.writing() as conn:
        plan = ownership.Plan("01PLAN", 1, 5, 3, 33, conn.now_ms(), None)
        ownership.make_plan(conn, plan)
        ownership.rest(
            conn, 1, ownership.CAP, Error("3 copies are to be deleted.", hint="lading sweep --confirm 01PLAN"), conn.now_ms()
        )
    return plan.id


def test_nothing_put_and_nothing_to_delete(cli: Cli) -> None:
    assert cli.run("sweep").err.startswith("Nothing has been put yet")
    cli.put("a.jpg")
    assert cli.run("sweep").out == "Nothing waits to be deleted.\n"
    assert cli.run("sweep", "--plan").out == ""
    assert cli.run("sweep", "--json").json["waiting"] == 0


def test_the_overview_says_how_much_and_when(cli: Cli) -> None:
    deleted(cli)
    done = cli.run("sweep")
    assert done.out.startswith("6 copies to delete, here and at destinations, the first in 23 h.")
    assert "No daemon is running; grace counts only while one runs." in done.err


def test_it_says_what_stays_in_a_versioned_bucket(cli: Cli) -> None:
    deleted(cli)
    assert "versioned" not in cli.run("sweep").err
    with lading.open(cli.home) as cat, cat._conn.writing() as conn:
        stores.set_probe(conn, 1, {"proof": "checksum", "versioned": True})
    assert "is a versioned bucket: old versions stay" in cli.run("sweep").err


def test_the_plan_lists_each_copy(cli: Cli) -> None:
    deleted(cli, seen=False)
    lines = cli.run("sweep", "--plan", "--json").lines
    assert len(lines) == 3
    assert {line["destination"] for line in lines} == {cli.uri}
    assert {(line["state"], line["due_at"], line["plan"], line["reason"]) for line in lines} == {
        ("present", None, None, "nothing needs it")
    }
    done = cli.run("sweep", "--plan")
    assert done.out.count("not seen yet") == 3
    assert f"{cli.uri}default/file/" in done.out


def test_a_stopped_sweep_is_shown_everywhere_and_confirmed(cli: Cli) -> None:
    deleted(cli)
    plan = stop_at_cap(cli)
    assert f"lading sweep --confirm {plan}" in cli.run("sweep").out
    assert f"lading sweep --confirm {plan}" in cli.run("sweep", "--plan").err
    assert "Deletes rest: 3 copies are to be deleted." in cli.run("status").out
    assert cli.run("status", "--json").json["deletes"]["stopped_plan"] == plan
    shape = cli.run("sweep", "--confirm", plan, "--json").json
    assert (shape["id"], shape["objects"], shape["confirmed_at"] is not None) == (plan, 3, True)
    assert cli.run("status", "--json").json["deletes"]["resting"] == []
    assert cli.run("sweep", "--confirm", "other", code=3).err
    assert cli.run("sweep", "--plan", "--confirm", plan, code=2).err


def test_adopt(cli: Cli) -> None:
    deleted(cli)
    assert "adopted" in cli.run("destination", "adopt", cli.uri).out
    assert cli.run("destination", "adopt", cli.uri, "--json").json == {"destination": cli.uri, "adopted": True}
    assert cli.run("destination", "adopt", "file:///elsewhere/", code=3).err
    with lading.open(cli.home) as cat:
        assert ownership.tokens(cat._conn, 1).now == ownership.ANY
