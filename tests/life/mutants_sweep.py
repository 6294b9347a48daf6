"""Bugs planted in deleting, in a copy of the packages, one at a time: some test has to turn red for each (see mutants_put.py).

python tests/life/mutants_sweep.py [NAME…]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from life.mutants_put import Mutant, main

SWEEP = "daemon/ladingd/workers/sweep.py"
GRAVES = "daemon/ladingd/workers/graves.py"
CLOCK = "daemon/ladingd/catalog_clock.py"
OWNERSHIP = "catalog/lading_catalog/ownership.py"
SWEEPING = "catalog/lading_catalog/sweeping.py"
SAFETY = "catalog/lading_catalog/rules/20_safety.sql"
NEEDS = "catalog/lading_catalog/rules/40_needs.sql"
KEYS = "catalog/lading_catalog/keys.py"
CAP = "daemon/ladingd/cap.py"
OWNER = "daemon/ladingd/owner.py"
REPLICAS = "catalog/lading_catalog/replicas.py"
TESTS = "tests/daemon/test_sweep.py"
GUARD = "tests/catalog/test_drop_guard.py"


def _one(name: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(name, ((file, old, new),), test)


MUTANTS = (
    _one(
        "delete what a list shows and nobody knows", SWEEP, "            keys = [d.key for d in batch]\n",
        "            keys = [d.key for d in batch]\n"
        "            keys += [e.key for e in store.entries() if not e.key.startswith('.lading/')][:1]\n",
        f"{TESTS}::test_a_list_that_lies_changes_nothing_of_what_is_deleted",
    ),
    _one(
        "grace by the wall clock", CLOCK, "min(wall_ms - self._wall_ms, mono_ms - self._monotonic_ms)", "wall_ms - self._wall_ms",
        f"{TESTS}::test_a_wall_clock_that_jumps_shortens_no_grace",
    ),
    _one(
        "grace also runs while the machine sleeps", CLOCK, "min(wall_ms - self._wall_ms, mono_ms - self._monotonic_ms)",
        "max(wall_ms - self._wall_ms, mono_ms - self._monotonic_ms)",
        f"{TESTS}::test_a_machine_that_slept_or_a_daemon_that_was_away_shortens_no_grace",
    ),
    _one("no grace", SWEEP, "upto = self.clock.ms - self.rules.grace_ms", "upto = self.clock.ms", f"{TESTS}::test_a_deleted_medium_goes"
         "_when_its_grace_is_over_and_not_before"),
    _one(
        "a key is used again", KEYS, "return key[: len(key) - len(parsed.ext) - 2 * NONCE_BYTES] + nonce.hex() + parsed.ext",
        "return key", "tests/catalog/test_steps.py",
    ),
    _one(
        "one nonce for all", KEYS,
        'return f"{_safe_path(table)}/{_safe(column)}/{digest[:2]}/{_safe(stem)}.{digest}-{nonce.hex()}{ending}"',
        'return f"{_safe_path(table)}/{_safe(column)}/{digest[:2]}/{_safe(stem)}.{digest}-{bytes(8).hex()}{ending}"',
        f"{TESTS}::test_put_and_delete_of_the_same_bytes_in_any_order_keep_what_lives",
    ),
    _one(
        "whatever the marker holds", OWNERSHIP, "return self.now == ANY or found == self.now or found == self.before", "return True",
        f"{TESTS}::test_another_token_stops_the_sweep",
    ),
    _one(
        "a marker that is gone is ours", OWNERSHIP, "return self.now == ANY or found == self.now or found == self.before",
        "return self.now == ANY or found in (self.now, self.before, None)", f"{TESTS}::test_a_marker_that_is_gone_stops_the_sweep",
    ),
    _one(
        "a marker without sense is none", OWNER, "return token if isinstance(token, str) and token else f", "return token or None and f",
        f"{TESTS}::test_a_fresh_catalog_stops_at_a_marker_that_is_there",
    ),
    _one(
        "the token never changes", SWEEP, "        fresh = owner.fresh_token()\n", '        fresh = "always the same"\n',
        f"{TESTS}::test_the_first_sweep_writes_a_marker_and_each_one_a_fresh_token",
    ),
    _one(
        "the marker is written before the token is committed", SWEEP,
        "            ownership.renew(conn, self.row.id, found.token, fresh)\n", "            pass\n",
        f"{TESTS}::test_a_crash_around_the_write_of_the_marker_is_no_foreign_owner",
    ),
    _one(
        "a copied catalog keeps its tokens", OWNERSHIP, "    if known is None:\n        return True\n", "    return True\n",
        f"{TESTS}::test_a_catalog_in_another_file_forgets_its_tokens",
    ),
    _one(
        "no cap", CAP, "return total >= FLOOR_N and", "return False and",
        f"{TESTS}::test_above_the_cap_nothing_goes_before_somebody_confirms_the_plan",
    ),
    _one(
        "a confirmed plan covers whatever is due", SWEEP, "            upto = min(upto, plan.upto_clock_ms)\n", "            pass\n",
        f"{TESTS}::test_a_confirmed_plan_covers_no_later_tombstone",
    ),
    _one(
        "the cap forgets", OWNERSHIP, "(store_id, clock_ms // HOUR_MS - WINDOW_HOURS),", "(store_id, clock_ms // HOUR_MS),",
        f"{TESTS}::test_the_cap_counts_a_rolling_day",
    ),
    _one(
        "keys that failed are forgotten", SWEEP, "self._gone.extend(d.replica_id for d in batch if d.key not in errors)",
        "self._gone.extend(d.replica_id for d in batch)",
        f"{TESTS}::test_keys_that_failed_in_a_batch_are_tried_again_and_the_others_are_done",
    ),
    _one(
        "what may yet arrive is forgotten", REPLICAS, "isinstance(f.error, Unavailable),", "False,",
        f"{TESTS}::test_an_attempt_that_ended_without_a_word_is_deleted_again_later",
    ),
    _one(
        "a delete does not wait for the last attempt", SWEEP,
        "one.held is None and not (one.claimed and abs(now_ms - one.ended_at_ms) < sweeping.SETTLE_MS)", "one.held is None",
        f"{TESTS}::test_a_delete_waits_until_the_last_attempt_has_been_over_for_a_while",
    ),
    _one(
        "clocks may differ", OWNER, "if offset_s is not None and abs(offset_s) > SKEW_MAX_S:", "if False:",
        f"{TESTS}::test_a_store_whose_clock_is_off_rests",
    ),
    _one(
        "an error while reading is no marker", SWEEP,
        "            self._stop(found.reason, found, now_ms)\n            return\n        if self._skewed",
        "            found = owner.Marker(None, None)\n        if self._skewed",
        f"{TESTS}::test_an_error_anywhere_before_the_first_delete_stops_the_sweep",
    ),
    _one(
        "old copies go before the new ones are there", SAFETY, "          WHEN o.need_n > 0 THEN o.safe_n < o.need_n\n",
        "          WHEN o.need_n > 0 THEN 0\n", f"{TESTS}::test_old_copies_go_only_once_the_new_ones_are_there",
    ),
    _one("what is needed may go", SAFETY, "      WHEN r.need_n > 0 THEN 'still needed'\n", "", GUARD),
    _one(
        "no tombstone is asked for", SAFETY,
        "        AND NOT EXISTS (SELECT 1 FROM tombstone WHERE replica_id = r.id AND seen_clock_ms IS NOT NULL) THEN 'no tombstone'\n",
        "        AND 0 THEN 'no tombstone'\n", GUARD,
    ),
    _one(
        "a need leaves the tombstone", NEEDS, "  DELETE FROM tombstone WHERE replica_id = NEW.id AND NEW.need_n > 0;\n", "",
        "tests/catalog/test_deleting.py",
    ),
    _one(
        "forgotten before it is gone", SWEEPING, "(NOT unsure OR gone_clock_ms <= ?)", "(1 OR gone_clock_ms <= ?)",
        f"{TESTS}::test_an_attempt_that_ended_without_a_word_is_deleted_again_later",
    ),
    _one(
        "a local copy that somebody reads goes", GRAVES,
        "                elif os.path.lexists(self.home / one.key):\n                    continue\n", "",
        "tests/daemon/test_graves.py",
    ),
)  # fmt: skip
SHORT = (
    "delete what a list shows and nobody knows",
    "grace by the wall clock",
    "one nonce for all",
    "a marker that is gone is ours",
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], MUTANTS))
