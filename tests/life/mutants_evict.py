"""Bugs planted in evicting, in a copy of the packages, one at a time: some test has to turn red for each (see mutants_put.py).

python tests/life/mutants_evict.py [NAME…]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from life.mutants_put import Mutant, main

EVICTING = "catalog/lading_catalog/evicting.py"
LEASES = "catalog/lading_catalog/leases.py"
SAFETY = "catalog/lading_catalog/rules/20_safety.sql"
EVICT = "daemon/ladingd/workers/evict.py"
POLICY = "daemon/ladingd/cache_policy.py"
RECHECKS = "daemon/ladingd/rechecks.py"
RECHECK = "daemon/ladingd/stores/recheck.py"
REHASHES = "daemon/ladingd/rehashes.py"
RULES = "tests/catalog/test_evicting.py"
TESTS = "tests/daemon/test_evict.py"
SIMULATION = "tests/daemon/test_cache_policy.py"

_UNSAFE = "          WHEN r.store_id = 0 THEN NOT EXISTS (SELECT 1 FROM safe WHERE id = o.id)\n"
_UNLINK = "        unlink_dropped(home, [c.key for c in result.gone])\n"
_DROP = "        with writing(len(sound), True) as conn:\n            taken = drop(conn, sound, age)\n"
_FORGET = "        if result.gone:\n            with writing(len(result.gone), False) as conn:\n"


def _one(name: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(name, ((file, old, new),), test)


MUTANTS = (
    Mutant(
        "evict the only copy",
        (
            (SAFETY, _UNSAFE, "          WHEN r.store_id = 0 THEN 0\n"),
            (SAFETY, "      WHEN o.state <> 'safe' THEN 'unsafe'\n", ""),
            (EVICTING, "        f\" AND {_FRESH} RETURNING", "        f\" AND (1 OR {_FRESH}) RETURNING"),
            (EVICTING, "f\" WHERE NOT {_FRESH} AND", "f\" WHERE 0 AND NOT {_FRESH} AND"),
        ),
        f"{TESTS}::test_where_all_is_unsafe_nothing_is_freed",
    ),
    _one("the guard of the schema is gone", SAFETY, _UNSAFE, "          WHEN r.store_id = 0 THEN 0\n", "tests/catalog/test_drop_guard.py"),
    Mutant(
        "evict by what the catalog said a while ago",
        (
            (EVICTING, " AND replica.state = 'present' AND replica.hold = 'evictable'\"\n", " AND replica.state = 'present'\"\n"),
            (EVICTING, "        \" AND replica.inode = j.value ->> 2 AND replica.mtime_ns = j.value ->> 3 AND"
                       " replica.used_at_ms = j.value ->> 4\"\n", ""),
        ),
        f"{TESTS}::test_the_drop_checks_every_condition_itself",
    ),
    _one("no lock", LEASES, "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "",
         f"{TESTS}::test_a_copy_that_another_process_reads_stays_until_that_one_is_gone"),
    _one("the lock is given up before the unlink", EVICTING, "held.callback(os.close, seized[0])", "os.close(seized[0])",
         f"{RULES}::test_the_lock_is_held_until_the_file_is_gone"),
    _one("a reader does not look whether the name is gone", LEASES,
         "        if stat.S_ISREG(found.st_mode) and _named(path, found):\n            return fd, found\n    except BaseException:",
         "        if stat.S_ISREG(found.st_mode):\n            return fd, found\n    except BaseException:",
         "tests/catalog/test_fetching.py"),
    _one("a proof is good for ever", EVICTING, "p.verified_at_ms BETWEEN :oldest AND :newest", "(1 OR :oldest < :newest)",
         f"{TESTS}::test_a_proof_that_is_too_old_is_renewed_first"),
    _one("the drop does not look at the proofs again", EVICTING,
         "        f\" AND {_FRESH} RETURNING", "        f\" AND (1 OR {_FRESH}) RETURNING",
         f"{RULES}::test_which_proofs_are_to_be_looked_at"),
    _one("a proof from the future is fresh", EVICTING, "now_ms + CLOCK_SLACK_MS)", "1 << 62)",
         f"{RULES}::test_a_proof_from_the_future_is_none"),
    _one("a proof that nothing needs counts", EVICTING, "p.store_id <> 0 AND p.need_n > 0 AND", "p.store_id <> 0 AND",
         f"{RULES}::test_a_proof_that_nothing_needs_does_not_count"),
    _one("the unlink comes before the drop", EVICTING, _DROP + "        result.gone",
         "        unlink_dropped(home, [c.key for c in sound])\n" + _DROP + "        result.gone",
         f"{TESTS}::test_a_crash_leaves_a_whole_file_or_one_that_can_be_fetched"),
    _one("the drop is not durable", EVICTING, "writing(len(sound), True)", "writing(len(sound), False)",
         f"{RULES}::test_the_drop_is_durable_before_the_unlink_and_that_before_the_row_goes"),
    _one("the unlink is not synced", EVICTING, "            localstore.sync_path(folder)\n", "            pass\n",
         f"{RULES}::test_the_drop_is_durable_before_the_unlink_and_that_before_the_row_goes"),
    _one("forgotten before it is unlinked", EVICTING, _UNLINK + _FORGET,
         "        if result.gone:\n            with writing(0, False) as conn:\n"
         "                forget(conn, taken)\n" + _UNLINK + _FORGET,
         f"{RULES}::test_the_drop_is_durable_before_the_unlink_and_that_before_the_row_goes"),
    _one("what was dropped stays where it is after a crash", EVICT, "            self._finish_dropped(now_ms)\n", "",
         f"{TESTS}::test_a_crash_leaves_a_whole_file_or_one_that_can_be_fetched"),
    _one("whatever file stands there goes", EVICTING,
         "    return (found.st_size, found.st_ino, found.st_mtime_ns) == (one.size_bytes, one.inode, one.mtime_ns)\n", "    return True\n",
         f"{TESTS}::test_bytes_that_changed_are_never_evicted"),
    _one("a changed file is taken as it is", REHASHES, "found is not None and found.sha256 == sha256", "found is not None",
         f"{TESTS}::test_bytes_that_changed_are_never_evicted"),
    Mutant(
        "a pin holds nothing",
        (
            (SAFETY, "      WHEN o.pins_n > 0 THEN 'pinned'\n", ""),
            (SAFETY, "      WHEN r.store_id = 0 AND r.state = 'present' AND o.pins_n > 0 THEN 'pinned'\n", ""),
        ),
        f"{TESTS}::test_pinned_copies_stay",
    ),
    _one("no cooldown", POLICY, "if 0 <= now_ms - one.arrived_at_ms < limits.cooldown_ms:", "if False:",
         f"{TESTS}::test_the_cooldown_keeps_what_came_just_now"),
    _one("a size is a proof", RECHECK, "    read_bytes, digest = drain(store.get(key))\n    if read_bytes",
         "    return Proof('read', 'sha256', sha256.hex(), size_bytes)\n    read_bytes, digest = drain(store.get(key))\n    if read_bytes",
         f"{TESTS}::test_where_the_destination_has_lost_it_the_local_copy_stays"),
    _one("one look loses a copy", RECHECKS, "if 0 <= now_ms - first_ms < SECOND_LOOK_MS:", "if False:",
         f"{TESTS}::test_where_the_destination_has_lost_it_the_local_copy_stays"),
    _one("a store that does not answer has lost it", RECHECKS, "        if not isinstance(look.error, (Missing, Damaged)):\n",
         "        if False:\n",
         f"{TESTS}::test_a_destination_that_does_not_answer_delays_and_others_go_on"),
    _one("a store that does not answer is asked for each copy", RECHECKS, "            self._away.add(one.store_id)\n",
         "            pass\n",
         f"{TESTS}::test_a_store_that_does_not_answer_is_asked_once_a_minute"),
    _one("the low watermark is forgotten", EVICT, "self.limits.low_bytes if self._begun else self.limits.budget_bytes",
         "self.limits.budget_bytes", f"{TESTS}::test_the_low_watermark_is_reached_in_many_steps_too"),
    _one("copies in use are met again and again", EVICT, "        self._walk.in_use |= {c.replica_id for c in done.busy}\n", "",
         f"{TESTS}::test_many_copies_in_use_end_a_walk"),
    _one("what waits does not count", EVICT, "target - sum(self._waiting.values())", "target",
         f"{TESTS}::test_no_more_copies_wait_for_a_look_than_have_to_go"),
    _one("what is too young ends no walk", EVICT, "                if queue is False:  # those", "                if False:  # those",
         f"{TESTS}::test_fresh_copies_are_not_walked_over"),
    _one("a walk rests in its middle", EVICT, "        self._not_before_ms = 0  # a walk", "        pass  # a walk",
         f"{TESTS}::test_a_walk_that_began_before_its_time_goes_on"),
    _one("what was used is not looked at again", EVICT, "        if moves:\n            walk.ended.discard(True)",
         "        if False:\n            walk.ended.discard(True)",
         f"{TESTS}::test_where_all_was_used_the_longest_unused_go"),
    _one("what moved back is passed", EVICT, "            if queue and moves and one.used_at_ms", "            if False and one.used_at_ms",
         f"{TESTS}::test_where_all_was_used_the_longest_unused_go"),
    _one("evicting is a reason to rest", EVICT, "if self._walk.freed_bytes == freed_bytes:", "if True:",
         f"{TESTS}::test_a_long_eviction_is_no_reason_to_rest"),
    _one("what the disk shows is all that counts", EVICT, "            free = max(free, goal)\n", "            pass\n",
         f"{TESTS}::test_a_disk_that_does_not_show_what_was_freed_does_not_empty_the_cache"),
    _one("uses are not seen", POLICY, "    if used_again(one, atime_ms, now_ms):\n        return \"used\"\n", "",
         f"{TESTS}::test_one_pass_over_everything_leaves_what_is_used_daily"),
    _one("one queue", POLICY, "    return once_bytes * ONCE_SHARE > evictable_bytes\n", "    return once_bytes > 0\n", SIMULATION),
    _one("a return counts from the eviction", EVICTING, "[(c.used_at_ms, c.object_id) for c in gone",
         "[(1 << 60, c.object_id) for c in gone",
         f"{RULES}::test_an_object_remembers_its_last_use"),
)  # fmt: skip
# Run by default: what would lose bytes.
SHORT = (
    "evict the only copy", "evict by what the catalog said a while ago", "no lock", "a proof is good for ever",
    "the unlink comes before the drop", "the drop is not durable", "whatever file stands there goes",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], MUTANTS))
