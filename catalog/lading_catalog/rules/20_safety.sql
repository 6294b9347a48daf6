-- What is safe, what may be dropped, what may be evicted. These are the last line of defence: the guard is checked inside the
-- transaction that drops.

-- The one rule of safety: at least one destination is needed, and all needed ones (or `min_copies` of them) are present with proof.
-- None of those counted has a tombstone, because a need takes the tombstone away (40_needs.sql).
CREATE VIEW safe AS
  SELECT * FROM object
  WHERE need_n > 0 AND media_n > 0 AND safe_n >= min(need_n, (SELECT v FROM meta WHERE k = 'min_copies'));

-- Zero would call everything safe that is not there yet.
CREATE TRIGGER min_copies_is_one BEFORE UPDATE ON meta
WHEN NEW.k = 'min_copies' AND (typeof(NEW.v) <> 'integer' OR NEW.v < 1)
BEGIN
  SELECT RAISE(ABORT, 'min_copies is at least 1');
END;

-- Must be empty: media whose object has no copy anywhere.
CREATE VIEW lost AS SELECT * FROM object WHERE media_n > 0 AND copies_n = 0;

-- The state that an object should have, from its counters; `object.state` follows it.
CREATE VIEW object_state AS
  SELECT id, CASE
      WHEN media_n = 0 THEN 'unused'
      WHEN copies_n = 0 THEN 'lost'
      WHEN need_n = 0 THEN 'local_only'
      WHEN safe_n >= min(need_n, (SELECT v FROM meta WHERE k = 'min_copies')) THEN 'safe'
      WHEN blocked_n > 0 THEN 'blocked'
      ELSE 'pending' END AS state
  FROM object;

CREATE TRIGGER object_follow AFTER UPDATE OF media_n, copies_n, need_n, safe_n, blocked_n ON object
WHEN NEW.state <> (SELECT state FROM object_state WHERE id = NEW.id)
BEGIN
  UPDATE object SET state = (SELECT state FROM object_state WHERE id = NEW.id) WHERE id = NEW.id;
END;

-- What holds a replica back from `dropping`; `why` NULL: nothing. Only what nothing needs may go, for a tombstone the daemon has seen, and
-- never so that the last good copy goes. A local copy of an object that still has media needs no tombstone: that is eviction. Neither does
-- one that is only wanted here: there are no bytes yet, and a put takes a fetch's place.
CREATE VIEW held AS
  SELECT r.id AS replica_id, CASE
      WHEN (SELECT role FROM store WHERE id = r.store_id) = 'source' THEN 'a source is only read'
      WHEN r.need_n > 0 THEN 'still needed'
      WHEN (r.store_id <> 0 OR r.state = 'damaged' OR o.media_n = 0 AND r.state <> 'wanted')
        AND NOT EXISTS (SELECT 1 FROM tombstone WHERE replica_id = r.id AND seen_clock_ms IS NOT NULL) THEN 'no tombstone'
      WHEN r.store_id = 0 AND r.state = 'present' AND o.pins_n > 0 THEN 'pinned'
      WHEN o.media_n > 0 AND r.state = 'present' AND CASE
          WHEN r.store_id = 0 THEN NOT EXISTS (SELECT 1 FROM safe WHERE id = o.id)
          WHEN o.need_n > 0 THEN o.safe_n < o.need_n
          ELSE NOT EXISTS (SELECT 1 FROM replica l WHERE l.object_id = o.id AND l.store_id = 0
                           AND l.state IN ('wanted', 'copying', 'present') AND l.state = 'present') END THEN 'not safe elsewhere'
      END AS why
  FROM replica r JOIN object o ON o.id = r.object_id;

CREATE TRIGGER replica_drop BEFORE UPDATE OF state ON replica
WHEN NEW.state = 'dropping' AND OLD.state <> 'dropping'
BEGIN
  SELECT RAISE(ABORT, why) FROM held WHERE replica_id = OLD.id AND why IS NOT NULL;
END;

-- What holds a present local copy here: `unsafe` (its object is not safe elsewhere), `pinned`, `unused` (no media: it goes with its
-- tombstone), or nothing: `evictable`. The view `evictable` is what the evictor walks, by use.
CREATE VIEW local_hold AS
  SELECT r.id AS replica_id, CASE
      WHEN r.state <> 'present' THEN NULL
      WHEN o.media_n = 0 THEN 'unused'
      WHEN o.state <> 'safe' THEN 'unsafe'
      WHEN o.pins_n > 0 THEN 'pinned'
      ELSE 'evictable' END AS hold
  FROM replica r JOIN object o ON o.id = r.object_id;

CREATE VIEW evictable AS SELECT * FROM replica WHERE hold = 'evictable';

CREATE TRIGGER object_hold AFTER UPDATE OF state, pins_n ON object
WHEN (OLD.state = 'safe') <> (NEW.state = 'safe') OR (OLD.state = 'unused') <> (NEW.state = 'unused')
  OR (OLD.pins_n > 0) <> (NEW.pins_n > 0)
BEGIN
  UPDATE replica SET hold = (SELECT hold FROM local_hold WHERE replica_id = replica.id)
  WHERE object_id = NEW.id AND store_id = 0 AND state IN ('wanted', 'copying', 'present');
END;
CREATE TRIGGER replica_hold_new AFTER INSERT ON replica
WHEN NEW.store_id = 0 AND NEW.state = 'present'
BEGIN
  UPDATE replica SET hold = (SELECT hold FROM local_hold WHERE replica_id = NEW.id) WHERE id = NEW.id;
END;
CREATE TRIGGER replica_hold AFTER UPDATE OF state ON replica
WHEN NEW.store_id = 0 AND OLD.state <> NEW.state
BEGIN
  UPDATE replica SET hold = (SELECT hold FROM local_hold WHERE replica_id = NEW.id) WHERE id = NEW.id;
END;
