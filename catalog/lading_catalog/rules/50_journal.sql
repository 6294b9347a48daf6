-- The journal: what happened, written where it happens. Not want, claim, release: they say nothing a user would ask for.

CREATE TRIGGER journal_replica AFTER UPDATE OF state ON replica
WHEN OLD.state <> NEW.state AND NEW.state IN ('present', 'damaged', 'dropping')
BEGIN
  INSERT INTO journal (at_ms, step, object_id, store_id, old)
    SELECT lading_now(), name, NEW.object_id, NEW.store_id, OLD.state FROM step WHERE old = OLD.state AND new = NEW.state;
END;
CREATE TRIGGER journal_adopt AFTER INSERT ON replica
WHEN NEW.state = 'present' AND NEW.store_id <> 0
BEGIN
  INSERT INTO journal (at_ms, step, object_id, store_id, old) VALUES (lading_now(), 'adopt', NEW.object_id, NEW.store_id, '');
END;
CREATE TRIGGER journal_forget AFTER DELETE ON replica
BEGIN
  INSERT INTO journal (at_ms, step, object_id, store_id, old) VALUES (lading_now(), 'forget', OLD.object_id, OLD.store_id, OLD.state);
END;
CREATE TRIGGER journal_safe AFTER UPDATE OF state ON object
WHEN NEW.state = 'safe' AND OLD.state <> 'safe'
BEGIN
  INSERT INTO journal (at_ms, step, object_id) VALUES (lading_now(), 'safe', NEW.id);
END;
-- An undelete puts a medium back under its id.
CREATE TRIGGER journal_put AFTER INSERT ON medium
BEGIN
  INSERT INTO journal (at_ms, step, object_id, medium_id)
    SELECT lading_now(), iif(EXISTS (SELECT 1 FROM deleted_medium WHERE id = NEW.id), 'undelete', 'put'), NEW.object_id, NEW.id;
END;
CREATE TRIGGER journal_delete AFTER DELETE ON medium
BEGIN
  INSERT INTO journal (at_ms, step, object_id, medium_id) VALUES (lading_now(), 'delete', OLD.object_id, OLD.id);
END;
CREATE TRIGGER journal_pin AFTER UPDATE OF pinned ON medium
WHEN OLD.pinned <> NEW.pinned
BEGIN
  INSERT INTO journal (at_ms, step, object_id, medium_id)
    VALUES (lading_now(), iif(NEW.pinned, 'pin', 'unpin'), NEW.object_id, NEW.id);
END;
CREATE TRIGGER journal_purge AFTER UPDATE OF purged_at_ms ON deleted_medium
WHEN NEW.purged_at_ms IS NOT NULL AND OLD.purged_at_ms IS NULL
BEGIN
  INSERT INTO journal (at_ms, step, object_id, medium_id) VALUES (lading_now(), 'purge', NEW.object_id, NEW.id);
END;
