-- Needs: which medium asks for which object in which destination, and what follows when that changes. Want first, leave afterwards.

-- A need, and at the same time the one way to make and to take away a need: INSERT INTO need, DELETE FROM need.
CREATE VIEW need AS
  SELECT m.id AS medium_id, m.object_id, d.store_id FROM medium m JOIN dest_set_store d ON d.set_id = m.set_id;

CREATE TRIGGER need_in INSTEAD OF INSERT ON need
BEGIN
  UPDATE replica SET need_n = need_n + 1, priority = min(priority, (SELECT priority FROM medium WHERE id = NEW.medium_id))
    WHERE object_id = NEW.object_id AND store_id = NEW.store_id AND state IN ('wanted', 'copying', 'present');
  INSERT INTO replica (object_id, store_id, key, state, need_n, priority, wanted_at_ms, due_at_ms)
    SELECT o.id, NEW.store_id, lading_key(t.name, c.name, o.sha256, m.name), 'wanted', 1, m.priority, lading_now(), lading_now()
    FROM medium m JOIN col c ON c.id = m.col_id JOIN tbl t ON t.id = c.tbl_id JOIN object o ON o.id = NEW.object_id
    WHERE m.id = NEW.medium_id AND o.sha256 IS NOT NULL AND NOT EXISTS
      (SELECT 1 FROM replica r WHERE r.object_id = NEW.object_id AND r.store_id = NEW.store_id AND r.state IN ('wanted', 'copying', 'present'));
END;
CREATE TRIGGER need_out INSTEAD OF DELETE ON need
BEGIN
  UPDATE replica SET need_n = need_n - 1
    WHERE object_id = OLD.object_id AND store_id = OLD.store_id AND state IN ('wanted', 'copying', 'present');
END;

-- The one way to give a replica its tombstone: INSERT INTO grave. One that has one keeps it.
CREATE VIEW grave AS SELECT replica_id, reason FROM tombstone;
CREATE TRIGGER grave_in INSTEAD OF INSERT ON grave
BEGIN
  INSERT INTO tombstone (replica_id, store_id, reason, at_ms)
    SELECT id, store_id, NEW.reason, lading_now() FROM replica WHERE id = NEW.replica_id
      AND NOT EXISTS (SELECT 1 FROM tombstone WHERE replica_id = NEW.replica_id);
END;

-- A replica that is needed again loses its tombstone; one that nothing needs any more gets one.
CREATE TRIGGER replica_need AFTER UPDATE OF need_n ON replica
WHEN (OLD.need_n > 0) <> (NEW.need_n > 0)
BEGIN
  DELETE FROM tombstone WHERE replica_id = NEW.id AND NEW.need_n > 0;
  INSERT INTO grave (replica_id, reason) SELECT NEW.id, 'nothing needs it' WHERE NEW.need_n = 0 AND NEW.state <> 'damaged';
END;

-- In which order needs come and go: what is not there yet comes first and goes last; the medium itself comes last and goes first. Else
-- an object would look safe in between, and the journal would say so.
CREATE TRIGGER medium_in AFTER INSERT ON medium
BEGIN
  DELETE FROM tombstone WHERE replica_id IN
    (SELECT id FROM replica WHERE object_id = NEW.object_id AND store_id = 0 AND state IN ('wanted', 'copying', 'present'));
  INSERT INTO need (medium_id, object_id, store_id)
    SELECT NEW.id, NEW.object_id, d.store_id FROM dest_set_store d WHERE d.set_id = NEW.set_id
    ORDER BY EXISTS (SELECT 1 FROM replica r WHERE r.object_id = NEW.object_id AND r.store_id = d.store_id
                     AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present');
  UPDATE object SET media_n = media_n + 1, routed_n = routed_n + (NEW.set_id IS NOT NULL), pins_n = pins_n + NEW.pinned
    WHERE id = NEW.object_id;
END;

-- The medium goes first, then its needs: an object that loses its last medium must not look safe for a moment.
CREATE TRIGGER medium_out BEFORE DELETE ON medium
BEGIN
  UPDATE object SET media_n = media_n - 1, routed_n = routed_n - (OLD.set_id IS NOT NULL), pins_n = pins_n - OLD.pinned
    WHERE id = OLD.object_id;
  DELETE FROM need WHERE medium_id = OLD.id AND EXISTS
    (SELECT 1 FROM replica r WHERE r.object_id = OLD.object_id AND r.store_id = need.store_id
     AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present');
  DELETE FROM need WHERE medium_id = OLD.id AND NOT EXISTS
    (SELECT 1 FROM replica r WHERE r.object_id = OLD.object_id AND r.store_id = need.store_id
     AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present');
  INSERT INTO grave (replica_id, reason)
    SELECT r.id, 'nothing needs it' FROM object o JOIN replica r ON r.object_id = o.id
    WHERE o.id = OLD.object_id AND o.media_n = 0
      AND (r.state IN ('wanted', 'copying', 'present') AND r.store_id = 0 OR r.state IN ('dropping', 'damaged') AND r.state = 'damaged');
  INSERT INTO deleted_medium (id, ulid, row_id, col_id, object_id, set_id, set_given, priority, pinned, name, mime,
                              created_at_ms, modified_at_ms, sha256, size_bytes, deleted_at_ms)
    SELECT OLD.id, OLD.ulid, OLD.row_id, OLD.col_id, OLD.object_id, OLD.set_id, OLD.set_given, OLD.priority, OLD.pinned, OLD.name,
           OLD.mime, OLD.created_at_ms, OLD.modified_at_ms, o.sha256, o.size_bytes, lading_now()
    FROM object o WHERE o.id = OLD.object_id
    -- An undelete put it back under its id; now it is deleted again, as it is now.
    ON CONFLICT (id) DO UPDATE SET row_id = excluded.row_id, set_id = excluded.set_id, set_given = excluded.set_given,
      priority = excluded.priority, pinned = excluded.pinned, name = excluded.name, sha256 = excluded.sha256, size_bytes = excluded.size_bytes,
      deleted_at_ms = excluded.deleted_at_ms, purged_at_ms = NULL;
END;

CREATE TRIGGER row_out BEFORE DELETE ON row
BEGIN
  DELETE FROM medium WHERE row_id = OLD.id;
END;

-- BEFORE, because `need` still shows the old set then.
CREATE TRIGGER medium_move BEFORE UPDATE OF set_id ON medium
WHEN OLD.set_id IS NOT NEW.set_id
BEGIN
  UPDATE object SET routed_n = routed_n + (NEW.set_id IS NOT NULL) - (OLD.set_id IS NOT NULL) WHERE id = NEW.object_id;
  INSERT INTO need (medium_id, object_id, store_id)
    SELECT NEW.id, NEW.object_id, d.store_id FROM dest_set_store d WHERE d.set_id = NEW.set_id
    ORDER BY EXISTS (SELECT 1 FROM replica r WHERE r.object_id = NEW.object_id AND r.store_id = d.store_id
                     AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present');
  DELETE FROM need WHERE medium_id = OLD.id AND EXISTS
    (SELECT 1 FROM replica r WHERE r.object_id = OLD.object_id AND r.store_id = need.store_id
     AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present');
  DELETE FROM need WHERE medium_id = OLD.id AND NOT EXISTS
    (SELECT 1 FROM replica r WHERE r.object_id = OLD.object_id AND r.store_id = need.store_id
     AND r.state IN ('wanted', 'copying', 'present') AND r.state = 'present');
END;
CREATE TRIGGER medium_pin AFTER UPDATE OF pinned ON medium
WHEN OLD.pinned <> NEW.pinned
BEGIN
  UPDATE object SET pins_n = pins_n + NEW.pinned - OLD.pinned WHERE id = NEW.object_id;
END;
CREATE TRIGGER medium_identity BEFORE UPDATE OF id, ulid, row_id, col_id, object_id ON medium
WHEN OLD.id <> NEW.id OR OLD.ulid <> NEW.ulid OR OLD.row_id <> NEW.row_id OR OLD.col_id <> NEW.col_id
  OR (OLD.object_id <> NEW.object_id AND (SELECT sha256 FROM object WHERE id = OLD.object_id) IS NOT NULL)
BEGIN
  SELECT RAISE(ABORT, 'a medium never changes its cell or its bytes');
END;

CREATE TRIGGER dest_set_fixed BEFORE UPDATE ON dest_set_store
BEGIN
  SELECT RAISE(ABORT, 'a set of destinations never changes');
END;
CREATE TRIGGER dest_set_kept BEFORE DELETE ON dest_set_store
BEGIN
  SELECT RAISE(ABORT, 'a set of destinations never changes');
END;

-- A damaged copy is set aside with its key and its bytes; the need moves to a new replica with a new key. The need is taken off in
-- the same statement: in two, the object would look safe in between.
CREATE TRIGGER replica_lose_need BEFORE UPDATE OF state ON replica
WHEN NEW.state = 'damaged' AND NEW.need_n > 0
BEGIN
  SELECT RAISE(ABORT, 'a damaged copy has no need: set need_n = 0 with the state');
END;
CREATE TRIGGER replica_lose AFTER UPDATE OF state ON replica
WHEN NEW.state = 'damaged' AND OLD.state <> 'damaged' AND OLD.need_n > 0
BEGIN
  INSERT INTO replica (object_id, store_id, key, state, need_n, priority, wanted_at_ms, due_at_ms)
    VALUES (NEW.object_id, NEW.store_id, lading_key_again(OLD.key), 'wanted', OLD.need_n, 0, lading_now(), lading_now());
END;
-- The damaged copy may go once there is a good one in its store. The statement stands in a view's trigger, because a trigger on a table
-- knows INSERT or UPDATE, and a good copy comes by either.
CREATE VIEW repaired AS SELECT object_id, store_id FROM replica WHERE state = 'present';
CREATE TRIGGER repaired_in INSTEAD OF INSERT ON repaired
BEGIN
  INSERT INTO grave (replica_id, reason)
    SELECT id, 'a good copy has replaced it' FROM replica
    WHERE object_id = NEW.object_id AND store_id = NEW.store_id AND state IN ('dropping', 'damaged') AND state = 'damaged';
END;
CREATE TRIGGER replica_repaired AFTER UPDATE OF state ON replica
WHEN NEW.state = 'present' AND OLD.state <> 'present'
BEGIN
  INSERT INTO repaired (object_id, store_id) VALUES (NEW.object_id, NEW.store_id);
END;
CREATE TRIGGER replica_repaired_new AFTER INSERT ON replica
WHEN NEW.state = 'present'
BEGIN
  INSERT INTO repaired (object_id, store_id) VALUES (NEW.object_id, NEW.store_id);
END;

-- The bytes are here again, by a put or by a fetch: what waited for them is due at once.
CREATE TRIGGER replica_source_new AFTER INSERT ON replica
WHEN NEW.store_id = 0 AND NEW.state = 'present'
BEGIN
  INSERT INTO source_back (object_id) VALUES (NEW.object_id);
END;
CREATE TRIGGER replica_source_back AFTER UPDATE OF state ON replica
WHEN NEW.store_id = 0 AND NEW.state = 'present' AND OLD.state <> 'present'
BEGIN
  INSERT INTO source_back (object_id) VALUES (NEW.object_id);
END;
CREATE VIEW source_back AS SELECT object_id FROM replica WHERE store_id = 0 AND state = 'present';
CREATE TRIGGER source_back_in INSTEAD OF INSERT ON source_back
BEGIN
  UPDATE replica SET due_at_ms = lading_now(), blocked = 0
    WHERE object_id = NEW.object_id AND state IN ('wanted', 'copying', 'present') AND state = 'wanted'
      AND (error_code IS NULL OR error_code = 'source_changed') AND due_at_ms > lading_now();
END;

-- The last copy of something that was deleted has gone: from now on no undelete brings it back.
CREATE TRIGGER replica_purged AFTER DELETE ON replica
WHEN (SELECT media_n FROM object WHERE id = OLD.object_id) = 0
  AND NOT EXISTS (SELECT 1 FROM replica WHERE object_id = OLD.object_id AND state IN ('wanted', 'copying', 'present'))
  AND NOT EXISTS (SELECT 1 FROM replica WHERE object_id = OLD.object_id AND state IN ('dropping', 'damaged'))
BEGIN
  UPDATE deleted_medium SET purged_at_ms = lading_now() WHERE object_id = OLD.object_id AND purged_at_ms IS NULL;
END;

-- What is owed: the work of the copier. A wanted local replica (a fetch) has no need.
CREATE VIEW owed AS SELECT * FROM replica WHERE state = 'wanted' AND (need_n > 0 OR store_id = 0);

-- What nothing needs: the work of the collector. A replica in copying waits for confirm or release.
CREATE VIEW unwanted AS
  SELECT r.*, t.reason, t.at_ms AS tombstone_at_ms, t.seen_clock_ms
  FROM tombstone t CROSS JOIN replica r ON r.id = t.replica_id
  WHERE r.state IN ('wanted', 'present', 'damaged') AND r.need_n = 0;
