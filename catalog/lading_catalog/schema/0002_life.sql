-- Version 2: what fetching, evicting and deleting have to remember.

-- replica:
--   ended_at_ms    when its last attempt to send ended (0: none has). A DELETE waits a while after that: an attempt may still be on its way
--   unsure         an attempt ended without the store's word: its bytes may arrive later, so what was deleted is deleted once more
--   gone_clock_ms  dropping: when the store first said that it is gone (catalog clock)
--   reused         local store: it was used again after it had come, see ladingd.workers.evict
--   verified_at_ms is set in the local store too from now on: when the bytes came here and were hashed
ALTER TABLE replica ADD COLUMN ended_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replica ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replica ADD COLUMN gone_clock_ms INTEGER;
ALTER TABLE replica ADD COLUMN reused INTEGER NOT NULL DEFAULT 0;
UPDATE replica SET unsure = 1 WHERE attempts > 1 AND store_id <> 0;  -- nobody wrote down how they ended
-- object.last_used_ms: when a local copy that was evicted had been used last; one that is used again soon after that is used more than once
ALTER TABLE object ADD COLUMN last_used_ms INTEGER;
DROP INDEX replica_dropping;
CREATE INDEX replica_dropping ON replica (store_id, due_at_ms) WHERE state = 'dropping';
DROP INDEX replica_evictable;
CREATE INDEX replica_evictable ON replica (reused, used_at_ms) WHERE hold = 'evictable';

-- Tombstones are found by the store that they concern, the longest seen first.
ALTER TABLE tombstone ADD COLUMN store_id INTEGER;
UPDATE tombstone SET store_id = (SELECT store_id FROM replica WHERE id = replica_id);
DROP INDEX tombstone_seen;
CREATE INDEX tombstone_due ON tombstone (store_id, seen_clock_ms) WHERE seen_clock_ms IS NOT NULL;

-- store: who may delete there, and why nothing is deleted now.
--   owner_token, owner_before  what the marker holds after our last write, and before it; a first write has nothing before it
--   rest_*         why deletes rest: code (owner, clock, cap, or an error's reason), text, hint, since when; NULL while they go on
ALTER TABLE store ADD COLUMN owner_token TEXT;
ALTER TABLE store ADD COLUMN owner_before TEXT;
ALTER TABLE store ADD COLUMN rest_code TEXT;
ALTER TABLE store ADD COLUMN rest_text TEXT;
ALTER TABLE store ADD COLUMN rest_hint TEXT;
ALTER TABLE store ADD COLUMN rest_since_ms INTEGER;

-- A sweep that would exceed the cap waits for somebody to confirm its plan: the tombstones of one store that the daemon has seen up to
-- `upto_clock_ms`, and no later ones. One plan a store.
CREATE TABLE sweep_plan (
  id TEXT NOT NULL UNIQUE,
  store_id INTEGER PRIMARY KEY REFERENCES store,
  upto_clock_ms INTEGER NOT NULL,
  n INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  made_at_ms INTEGER NOT NULL,
  confirmed_at_ms INTEGER
) STRICT;
-- How many copies a store has lost to sweeps without a plan, by hours of the catalog clock: what the cap counts.
CREATE TABLE sweep_tally (
  store_id INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (store_id, hour)
) STRICT, WITHOUT ROWID;

-- A column that is being dropped (1), or was (2): it takes no new media, and those it has are deleted in slices. Dropped tables and columns
-- are called `name"ULID`, which nobody can name, so that the name is free; an undelete gives it back.
ALTER TABLE col ADD COLUMN closing INTEGER NOT NULL DEFAULT 0;
CREATE INDEX col_closing ON col (id) WHERE closing = 1;

-- When the last copy of a deleted medium had gone: from then on no undelete brings it back.
ALTER TABLE deleted_medium ADD COLUMN purged_at_ms INTEGER;

-- Of the copies that could be evicted, those used but once. (`delete_after_ms`: the grace, as the daemon has it from its configuration.)
INSERT INTO hold_tally (hold, n, size_bytes) SELECT 'once', n, size_bytes FROM hold_tally WHERE hold = 'evictable';
INSERT INTO meta (k, v) VALUES ('delete_after_ms', 86400000);
