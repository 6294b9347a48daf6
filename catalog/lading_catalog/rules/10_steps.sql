-- The state machine of a replica, as data and as triggers that refuse everything else, whoever writes.
-- There is no way back from `dropping`.
DELETE FROM step;
INSERT INTO step (old, new, name) VALUES
  ('',         'wanted',   'want'),
  ('',         'present',  'put'),       -- the local store: the bytes come first
  ('',         'present',  'adopt'),     -- import, restore
  ('wanted',   'copying',  'claim'),
  ('copying',  'wanted',   'release'),   -- failed, or the daemon died
  ('copying',  'present',  'confirm'),
  ('present',  'damaged',  'lose'),
  ('wanted',   'dropping', 'drop'),
  ('present',  'dropping', 'drop'),
  ('damaged',  'dropping', 'drop'),
  ('dropping', '',         'forget');

CREATE TRIGGER replica_new BEFORE INSERT ON replica
WHEN NOT EXISTS (SELECT 1 FROM step WHERE old = '' AND new = NEW.state)
BEGIN
  SELECT RAISE(ABORT, 'illegal step: a replica begins as wanted or present');
END;

CREATE TRIGGER replica_step BEFORE UPDATE OF state ON replica
WHEN OLD.state <> NEW.state AND NOT EXISTS (SELECT 1 FROM step WHERE old = OLD.state AND new = NEW.state)
BEGIN
  SELECT RAISE(ABORT, 'illegal step of a replica');
END;

CREATE TRIGGER replica_forget BEFORE DELETE ON replica
WHEN OLD.state <> 'dropping'
BEGIN
  SELECT RAISE(ABORT, 'illegal step: only what was dropped is forgotten');
END;

-- A key never changes, and neither does whose copy it is.
CREATE TRIGGER replica_identity BEFORE UPDATE OF id, key, store_id ON replica
WHEN OLD.id <> NEW.id OR OLD.key <> NEW.key OR OLD.store_id <> NEW.store_id
BEGIN
  SELECT RAISE(ABORT, 'the key of a replica never changes');
END;
CREATE TRIGGER replica_object BEFORE UPDATE OF object_id ON replica
WHEN OLD.object_id <> NEW.object_id AND (SELECT sha256 FROM object WHERE id = OLD.object_id) IS NOT NULL
BEGIN
  SELECT RAISE(ABORT, 'a replica never changes its object');
END;

-- Present means proven: outside the local store by a proof, in it by the file that was hashed.
CREATE TRIGGER replica_proof_new BEFORE INSERT ON replica
WHEN NEW.state = 'present' AND iif(NEW.store_id = 0, NEW.inode IS NULL OR NEW.mtime_ns IS NULL,
                                   NEW.proof_by IS NULL OR NEW.proof_algorithm IS NULL OR NEW.verified_at_ms IS NULL)
BEGIN
  SELECT RAISE(ABORT, 'no proof: a present replica needs one');
END;
CREATE TRIGGER replica_proof BEFORE UPDATE OF state, proof_by, proof_algorithm, verified_at_ms, inode, mtime_ns ON replica
WHEN NEW.state = 'present'
  AND iif(NEW.store_id = 0, NEW.inode IS NULL OR NEW.mtime_ns IS NULL,
          NEW.proof_by IS NULL OR NEW.proof_algorithm IS NULL OR NEW.verified_at_ms IS NULL)
BEGIN
  SELECT RAISE(ABORT, 'no proof: a present replica needs one');
END;

-- Bytes are identified once: a known digest and a known size stay.
CREATE TRIGGER object_identity BEFORE UPDATE OF sha256, size_bytes ON object
WHEN (OLD.sha256 IS NOT NULL AND OLD.sha256 IS NOT NEW.sha256) OR (OLD.sha256 IS NOT NULL AND OLD.size_bytes IS NOT NEW.size_bytes)
BEGIN
  SELECT RAISE(ABORT, 'the bytes of an object never change');
END;
