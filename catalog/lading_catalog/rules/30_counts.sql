-- Counters, so that no question costs a scan. Each trigger adds what is new and takes away what was, and nothing else writes them.

-- What a replica adds to its object. Written thrice because a trigger knows NEW, OLD or both; the expressions are the same:
--   copies: present | need: needed | safe: needed and present | blocked: needed, not present, somebody must act
CREATE TRIGGER replica_count_new AFTER INSERT ON replica
BEGIN
  UPDATE object SET
    copies_n = copies_n + (NEW.state = 'present'),
    need_n = need_n + (NEW.need_n > 0),
    safe_n = safe_n + (NEW.need_n > 0 AND NEW.state = 'present'),
    blocked_n = blocked_n + (NEW.need_n > 0 AND NEW.blocked AND NEW.state IN ('wanted', 'copying'))
  WHERE id = NEW.object_id;
END;
CREATE TRIGGER replica_count AFTER UPDATE OF state, need_n, blocked ON replica
WHEN (OLD.state = 'present') <> (NEW.state = 'present') OR (OLD.need_n > 0) <> (NEW.need_n > 0)
  OR (OLD.blocked AND OLD.state IN ('wanted', 'copying')) <> (NEW.blocked AND NEW.state IN ('wanted', 'copying'))
BEGIN
  UPDATE object SET
    copies_n = copies_n + (NEW.state = 'present') - (OLD.state = 'present'),
    need_n = need_n + (NEW.need_n > 0) - (OLD.need_n > 0),
    safe_n = safe_n + (NEW.need_n > 0 AND NEW.state = 'present') - (OLD.need_n > 0 AND OLD.state = 'present'),
    blocked_n = blocked_n + (NEW.need_n > 0 AND NEW.blocked AND NEW.state IN ('wanted', 'copying'))
                          - (OLD.need_n > 0 AND OLD.blocked AND OLD.state IN ('wanted', 'copying'))
  WHERE id = NEW.object_id;
END;

-- Replicas by store and state. What is wanted but no longer needed is nobody's debt: it counts as `unneeded` until it is dropped.
CREATE TRIGGER counter_new AFTER INSERT ON replica
BEGIN
  INSERT INTO counter (store_id, state, n, size_bytes)
    SELECT NEW.store_id, iif(NEW.state = 'wanted' AND NEW.need_n = 0 AND NEW.store_id <> 0, 'unneeded', NEW.state), 1, coalesce(size_bytes, 0)
    FROM object WHERE id = NEW.object_id
    ON CONFLICT DO UPDATE SET n = n + 1, size_bytes = size_bytes + excluded.size_bytes;
END;
CREATE TRIGGER counter_move AFTER UPDATE OF state, need_n ON replica
WHEN OLD.state <> NEW.state OR (NEW.state = 'wanted' AND (OLD.need_n = 0) <> (NEW.need_n = 0) AND NEW.store_id <> 0)
BEGIN
  INSERT INTO counter (store_id, state, n, size_bytes)
    SELECT NEW.store_id, iif(NEW.state = 'wanted' AND NEW.need_n = 0 AND NEW.store_id <> 0, 'unneeded', NEW.state), 1, coalesce(size_bytes, 0)
    FROM object WHERE id = NEW.object_id
    ON CONFLICT DO UPDATE SET n = n + 1, size_bytes = size_bytes + excluded.size_bytes;
  UPDATE counter SET n = n - 1, size_bytes = size_bytes - (SELECT coalesce(size_bytes, 0) FROM object WHERE id = NEW.object_id)
    WHERE store_id = OLD.store_id
      AND state = iif(OLD.state = 'wanted' AND OLD.need_n = 0 AND OLD.store_id <> 0, 'unneeded', OLD.state);
END;
CREATE TRIGGER counter_gone AFTER DELETE ON replica
BEGIN
  UPDATE counter SET n = n - 1, size_bytes = size_bytes - (SELECT coalesce(size_bytes, 0) FROM object WHERE id = OLD.object_id)
    WHERE store_id = OLD.store_id AND state = OLD.state;
END;

-- Media by state. A medium without destination counts as local_only unless its object is lost; all others follow their object.
CREATE TRIGGER object_tally AFTER UPDATE OF state, media_n, routed_n ON object
BEGIN
  UPDATE media_tally SET
    n = n - (state = OLD.state) * iif(OLD.state = 'lost', OLD.media_n, OLD.routed_n)
          - (state = 'local_only' AND OLD.state <> 'lost') * (OLD.media_n - OLD.routed_n)
          + (state = NEW.state) * iif(NEW.state = 'lost', NEW.media_n, NEW.routed_n)
          + (state = 'local_only' AND NEW.state <> 'lost') * (NEW.media_n - NEW.routed_n)
  WHERE state IN (OLD.state, NEW.state, 'local_only');
END;

-- Local copies by what holds them here. `hold` is NULL until the copy is present and once it no longer is. `once`: of the evictable ones
-- those that were not used again.
CREATE TRIGGER hold_tally AFTER UPDATE OF hold, reused ON replica
WHEN OLD.hold IS NOT NEW.hold OR (OLD.reused <> NEW.reused AND NEW.hold IS 'evictable')
BEGIN
  UPDATE hold_tally SET n = n - (hold IS OLD.hold OR hold = 'once' AND OLD.hold IS 'evictable' AND NOT OLD.reused)
                            + (hold IS NEW.hold OR hold = 'once' AND NEW.hold IS 'evictable' AND NOT NEW.reused),
    size_bytes = size_bytes + ((hold IS NEW.hold OR hold = 'once' AND NEW.hold IS 'evictable' AND NOT NEW.reused)
                             - (hold IS OLD.hold OR hold = 'once' AND OLD.hold IS 'evictable' AND NOT OLD.reused))
      * (SELECT coalesce(size_bytes, 0) FROM object WHERE id = NEW.object_id)
  WHERE hold IN (OLD.hold, NEW.hold, 'once');
END;

-- Deleted are those that no undelete has put back; that it was deleted stays recorded.
CREATE TRIGGER deleted_tally_in AFTER INSERT ON deleted_medium
BEGIN
  UPDATE media_tally SET n = n + 1 WHERE state = 'deleted';
END;
CREATE TRIGGER deleted_tally_again AFTER UPDATE OF deleted_at_ms ON deleted_medium
BEGIN
  UPDATE media_tally SET n = n + 1 WHERE state = 'deleted';
END;
CREATE TRIGGER deleted_tally_back AFTER INSERT ON medium
WHEN EXISTS (SELECT 1 FROM deleted_medium WHERE id = NEW.id)
BEGIN
  UPDATE media_tally SET n = n - 1 WHERE state = 'deleted';
END;
CREATE TRIGGER deleted_tally_out AFTER DELETE ON deleted_medium
WHEN NOT EXISTS (SELECT 1 FROM medium WHERE id = OLD.id)
BEGIN
  UPDATE media_tally SET n = n - 1 WHERE state = 'deleted';
END;
