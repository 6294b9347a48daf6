-- Version 1: the tables of the catalog. Rules (triggers) and views stand in rules/*.sql and are laid anew at each migration.
--
-- Times are `*_at_ms`: milliseconds since 1970, UTC, from the wall clock. `*_clock_ms` is the catalog clock, which advances only
-- while a daemon runs. Names of counters end in `_n`. States are words. Media are never counted with a scan: what `status` shows
-- is kept in `counter`, `media_tally` and `hold_tally` by triggers.

-- What there is one of: catalog_id, min_copies, epoch (which life of the daemon), clock_ms (the catalog clock), review_after
-- (safety.py), failed_commits (connection.py).
CREATE TABLE meta (
  k TEXT PRIMARY KEY,
  v ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- A place that holds replicas. Id 0 is the local store in Lading's home. `role`: local, destination, or source (only read).
-- `probe`: what a canary has shown of it, JSON; NULL until then. `state` and what follows is the health that the daemon has
-- observed, so that `status` can tell without one: ok, throttled, unreachable, blocked (somebody must act), full.
CREATE TABLE store (
  id INTEGER PRIMARY KEY,
  uri TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK (role IN ('local', 'destination', 'source')),
  probe TEXT,
  paused INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'throttled', 'unreachable', 'blocked', 'full')),
  error_code TEXT,
  error TEXT,
  hint TEXT,
  error_n INTEGER NOT NULL DEFAULT 0,          -- failures since the last success
  error_since_ms INTEGER,
  next_try_at_ms INTEGER,
  rate_bytes_per_s INTEGER NOT NULL DEFAULT 0, -- of the last seconds in which something was sent
  rate_at_ms INTEGER
) STRICT;

-- Sets of destinations, immutable and shared: a medium points to the one that was resolved for it. `stores`: the ids, ascending,
-- as a JSON array; there is no empty set (NULL in a medium or column means: no destination).
CREATE TABLE dest_set (
  id INTEGER PRIMARY KEY,
  stores TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE dest_set_store (
  set_id INTEGER NOT NULL REFERENCES dest_set,
  store_id INTEGER NOT NULL REFERENCES store,
  PRIMARY KEY (set_id, store_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tbl (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  closing INTEGER NOT NULL DEFAULT 0           -- being dropped, in slices
) STRICT;

-- `set_given`: this column has a destination set of its own (`set_id`, NULL there = this disk only); else the global default holds.
-- `moving_after`: media of this column up to this id have been moved to the set; NULL when no move is under way.
CREATE TABLE col (
  id INTEGER PRIMARY KEY,
  tbl_id INTEGER NOT NULL REFERENCES tbl,
  name TEXT NOT NULL,
  type TEXT NOT NULL DEFAULT 'file' CHECK (type IN ('image', 'video', 'audio', 'document', 'file')),
  kind TEXT NOT NULL DEFAULT 'input' CHECK (kind IN ('input', 'computed')),
  set_given INTEGER NOT NULL DEFAULT 0,
  set_id INTEGER REFERENCES dest_set,
  moving_after INTEGER,
  UNIQUE (tbl_id, name)
) STRICT;
CREATE INDEX col_moving ON col (id) WHERE moving_after IS NOT NULL;

-- `scalars`: the row's values beside its media, a JSON object, or NULL.
CREATE TABLE row (
  id INTEGER PRIMARY KEY,
  tbl_id INTEGER NOT NULL REFERENCES tbl,
  ulid TEXT NOT NULL,                          -- (unique by its random bits; nothing looks a row up by it)
  scalars TEXT CHECK (scalars IS NULL OR json_type(scalars) = 'object')
) STRICT;

-- Immutable bytes. `sha256` is NULL only until they were first read (objects that only a source has). The counters are kept by
-- rules/30_counts.sql, `state` by rules/20_safety.sql.
CREATE TABLE object (
  id INTEGER PRIMARY KEY,
  sha256 BLOB UNIQUE CHECK (length(sha256) = 32),
  size_bytes INTEGER CHECK (size_bytes >= 0),
  media_n INTEGER NOT NULL DEFAULT 0,
  routed_n INTEGER NOT NULL DEFAULT 0,         -- of the media: those that have a destination
  pins_n INTEGER NOT NULL DEFAULT 0,           -- of the media: those that are pinned
  copies_n INTEGER NOT NULL DEFAULT 0,         -- present replicas in any store
  need_n INTEGER NOT NULL DEFAULT 0,           -- destinations that some medium needs
  safe_n INTEGER NOT NULL DEFAULT 0,           -- of these: present, with proof
  blocked_n INTEGER NOT NULL DEFAULT 0,        -- of these: not present, and somebody must act
  state TEXT NOT NULL DEFAULT 'unused'         -- unused (no media), local_only, pending, blocked, safe, lost
) STRICT;
CREATE INDEX object_lost ON object (id) WHERE media_n > 0 AND copies_n = 0;
CREATE INDEX object_open ON object (state) WHERE state IN ('pending', 'blocked', 'lost');

-- One cell (table, column, row) that holds an object. `name`: the original name; BLOB where it is not valid UTF-8. `set_given`:
-- the call named the destinations, so a change of the column's does not move this medium. `priority`: 0 urgent, 1 normal, 2 bulk.
CREATE TABLE medium (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid TEXT NOT NULL UNIQUE,
  row_id INTEGER NOT NULL REFERENCES row,
  col_id INTEGER NOT NULL REFERENCES col,
  object_id INTEGER NOT NULL REFERENCES object,
  set_id INTEGER REFERENCES dest_set,
  set_given INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL DEFAULT 1 CHECK (priority IN (0, 1, 2)),
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  name ANY NOT NULL,
  mime TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  modified_at_ms INTEGER,                      -- of the file, when it was put
  UNIQUE (row_id, col_id)
) STRICT;
CREATE INDEX medium_col ON medium (col_id);
CREATE INDEX medium_object ON medium (object_id);
CREATE INDEX medium_name ON medium (name);
CREATE INDEX medium_unrouted ON medium (id) WHERE set_id IS NULL;

-- What undelete restores, and the record that it was deleted. No foreign keys: this outlives what it names.
CREATE TABLE deleted_medium (
  id INTEGER PRIMARY KEY,
  ulid TEXT NOT NULL UNIQUE,
  row_id INTEGER NOT NULL,
  col_id INTEGER NOT NULL,
  object_id INTEGER NOT NULL,
  set_id INTEGER,
  set_given INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  pinned INTEGER NOT NULL,
  name ANY NOT NULL,
  mime TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  modified_at_ms INTEGER,
  sha256 BLOB,
  size_bytes INTEGER,
  deleted_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX deleted_medium_object ON deleted_medium (object_id);
CREATE INDEX deleted_medium_name ON deleted_medium (name);

-- The legal steps of a replica: the state machine as data. '' is: no row.
CREATE TABLE step (
  old TEXT NOT NULL,
  new TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (old, new, name)
) STRICT, WITHOUT ROWID;

-- One copy of an object in one store. In a destination the row comes before the bytes and outlives them; in the local store the
-- bytes come first. `key` is made with the row, never changes and is never used again.
--   need_n       media that ask for this object in this store (0 in the local store and in sources)
--   blocked      the last error was one that somebody must mend: tried again all the same, slowly
--   wanted_at_ms since when it is owed; due_at_ms when to try next; both 0 once present. A due time beyond now + the longest pause counts as due.
--   epoch        which life of the daemon has claimed it
--   proof_*      what was observed, see Proof in ladingd.stores.base; proof_value NULL = the object's SHA-256
--   inode, mtime_ns   local store only: of the file, when its hash was taken
--   used_at_ms   local store only: last use that the daemon knows of
--   hold         local store only, while present: what holds the copy here, see rules/20_safety.sql
CREATE TABLE replica (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  object_id INTEGER NOT NULL REFERENCES object,
  store_id INTEGER NOT NULL REFERENCES store,
  key TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('wanted', 'copying', 'present', 'dropping', 'damaged')),
  need_n INTEGER NOT NULL DEFAULT 0 CHECK (need_n >= 0),
  blocked INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL DEFAULT 1,
  attempts INTEGER NOT NULL DEFAULT 0,
  wanted_at_ms INTEGER NOT NULL DEFAULT 0,
  due_at_ms INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER,
  error_code TEXT,
  error TEXT,
  hint TEXT,
  error_since_ms INTEGER,
  proof_by TEXT,
  proof_algorithm TEXT,
  proof_value BLOB,
  verified_at_ms INTEGER,
  inode INTEGER,
  mtime_ns INTEGER,
  used_at_ms INTEGER NOT NULL DEFAULT 0,
  hold TEXT CHECK (hold IN ('unsafe', 'pinned', 'evictable', 'unused'))
) STRICT;
CREATE UNIQUE INDEX replica_live ON replica (object_id, store_id) WHERE state IN ('wanted', 'copying', 'present');
CREATE INDEX replica_gone ON replica (object_id, store_id) WHERE state IN ('dropping', 'damaged');
CREATE INDEX replica_owed ON replica (store_id, blocked, priority, due_at_ms) WHERE state = 'wanted' AND (need_n > 0 OR store_id = 0);
CREATE INDEX replica_oldest ON replica (store_id, wanted_at_ms) WHERE state = 'wanted' AND (need_n > 0 OR store_id = 0);
CREATE INDEX replica_copying ON replica (store_id) WHERE state = 'copying';
CREATE INDEX replica_dropping ON replica (store_id) WHERE state = 'dropping';
CREATE INDEX replica_damaged ON replica (store_id) WHERE state = 'damaged';
CREATE INDEX replica_evictable ON replica (used_at_ms) WHERE hold = 'evictable';

-- Nothing needs this replica any more: since when, why. Grace starts when the daemon has first seen it (`seen_clock_ms`).
CREATE TABLE tombstone (
  replica_id INTEGER PRIMARY KEY REFERENCES replica ON DELETE CASCADE,
  reason TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  seen_clock_ms INTEGER
) STRICT;
CREATE INDEX tombstone_unseen ON tombstone (replica_id) WHERE seen_clock_ms IS NULL;
CREATE INDEX tombstone_seen ON tombstone (seen_clock_ms) WHERE seen_clock_ms IS NOT NULL;

-- Replicas by store and state; media by state; local copies by what holds them here. Kept by rules/30_counts.sql.
CREATE TABLE counter (
  store_id INTEGER NOT NULL,
  state TEXT NOT NULL,
  n INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  PRIMARY KEY (store_id, state)
) STRICT, WITHOUT ROWID;
CREATE TABLE media_tally (
  state TEXT PRIMARY KEY,
  n INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE hold_tally (
  hold TEXT PRIMARY KEY,
  n INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened. `step`: put, adopt, confirm, lose, drop, forget, delete, undelete, pin, unpin, safe by triggers; what only the
-- daemon sees is written by one function (journal.py). `detail`: JSON or NULL.
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  step TEXT NOT NULL,
  object_id INTEGER,
  medium_id INTEGER,
  store_id INTEGER,
  old TEXT,
  detail TEXT
) STRICT;

INSERT INTO store (id, uri, role) VALUES (0, 'local', 'local');
INSERT INTO meta (k, v) VALUES ('min_copies', 9223372036854775807), ('epoch', 0), ('clock_ms', 0);
INSERT INTO media_tally (state, n) VALUES ('local_only', 0), ('pending', 0), ('blocked', 0), ('safe', 0), ('lost', 0), ('deleted', 0);
INSERT INTO hold_tally (hold, n, size_bytes) VALUES ('unsafe', 0, 0), ('pinned', 0, 0), ('evictable', 0, 0), ('unused', 0, 0);
