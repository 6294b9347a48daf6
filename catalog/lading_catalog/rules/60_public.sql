-- What SQL users see: stable names, ids as on the command line, times in milliseconds since 1970. docs/sql.md describes them.
-- Everything else in the catalog is private and may change.
-- (A table or column that was dropped has a quote and more behind its name: tables.py.)

CREATE VIEW tables AS SELECT id, name, closing FROM tbl WHERE NOT closing;

CREATE VIEW columns AS
  SELECT c.id, t.name AS "table", c.name, c.type, c.kind,
    CASE WHEN c.set_given THEN (SELECT json_group_array(s.uri) FROM dest_set_store d JOIN store s ON s.id = d.store_id
                                WHERE d.set_id = c.set_id) END AS destinations
  FROM col c JOIN tbl t ON t.id = c.tbl_id WHERE NOT c.closing AND NOT t.closing;

CREATE VIEW rows AS SELECT 'r_' || r.ulid AS id, t.name AS "table", r.scalars FROM row r JOIN tbl t ON t.id = r.tbl_id
  WHERE NOT t.closing;

CREATE VIEW media AS
  SELECT 'm_' || m.ulid AS id, m.name, substr(t.name, 1, ifnull(nullif(instr(t.name, '"'), 0) - 1, length(t.name))) AS "table",
    substr(c.name, 1, ifnull(nullif(instr(c.name, '"'), 0) - 1, length(c.name))) AS "column", 'r_' || r.ulid AS row, c.kind,
    lower(hex(o.sha256)) AS sha256, o.size_bytes, m.mime, m.created_at_ms, m.modified_at_ms,
    CASE WHEN o.state = 'lost' THEN 'lost' WHEN m.set_id IS NULL THEN 'local_only' ELSE o.state END AS state,
    EXISTS (SELECT 1 FROM replica l WHERE l.object_id = o.id AND l.store_id = 0
            AND l.state IN ('wanted', 'copying', 'present') AND l.state = 'present') AS cached,
    m.pinned, NULL AS deleted_at_ms
  FROM medium m JOIN col c ON c.id = m.col_id JOIN tbl t ON t.id = c.tbl_id JOIN row r ON r.id = m.row_id
    JOIN object o ON o.id = m.object_id;

CREATE VIEW deleted_media AS
  SELECT 'm_' || m.ulid AS id, m.name, substr(t.name, 1, ifnull(nullif(instr(t.name, '"'), 0) - 1, length(t.name))) AS "table",
    substr(c.name, 1, ifnull(nullif(instr(c.name, '"'), 0) - 1, length(c.name))) AS "column", c.kind, lower(hex(m.sha256)) AS sha256, m.size_bytes,
    m.mime, m.created_at_ms, m.modified_at_ms, m.deleted_at_ms, m.purged_at_ms
  FROM deleted_medium m LEFT JOIN col c ON c.id = m.col_id LEFT JOIN tbl t ON t.id = c.tbl_id
  WHERE NOT EXISTS (SELECT 1 FROM medium WHERE id = m.id);

CREATE VIEW objects AS
  SELECT id, lower(hex(sha256)) AS sha256, size_bytes, state, media_n AS media, copies_n AS copies, need_n AS needed, safe_n AS needed_present
  FROM object;

CREATE VIEW replicas AS
  SELECT r.id, lower(hex(o.sha256)) AS sha256, s.uri AS destination, s.role, r.key, r.state, r.need_n AS needed_by, r.attempts,
    r.verified_at_ms, r.proof_by, r.proof_algorithm, lower(hex(coalesce(r.proof_value, o.sha256))) AS proof_value,
    r.due_at_ms, r.error_code, r.error
  FROM replica r JOIN object o ON o.id = r.object_id JOIN store s ON s.id = r.store_id;

CREATE VIEW destinations AS
  SELECT s.id, s.uri, iif(s.paused, 'paused', s.state) AS state, s.error_code, s.error, s.hint, s.error_n AS errors, s.error_since_ms,
    (SELECT n FROM counter WHERE store_id = s.id AND state = 'present') AS present_objects,
    (SELECT size_bytes FROM counter WHERE store_id = s.id AND state = 'present') AS present_bytes
  FROM store s WHERE s.role = 'destination';

CREATE VIEW events AS
  SELECT j.seq, j.at_ms, CASE
      WHEN j.step = 'put' THEN 'media.put' WHEN j.step = 'safe' THEN 'media.safe' WHEN j.step = 'delete' THEN 'media.deleted'
      WHEN j.step = 'undelete' THEN 'media.undeleted' WHEN j.step = 'purge' THEN 'media.purged' WHEN j.step = 'pin' THEN 'media.pinned' WHEN j.step = 'unpin' THEN 'media.unpinned'
      WHEN j.step IN ('confirm', 'adopt') THEN iif(j.store_id = 0, 'local.fetched', 'replica.present')
      WHEN j.step = 'lose' THEN 'replica.damaged'
      WHEN j.step = 'drop' THEN iif(j.store_id = 0 AND j.old = 'present', 'local.evicted', 'replica.dropping')
      WHEN j.step = 'forget' THEN 'replica.forgotten' ELSE j.step END AS type,
    (SELECT json_group_array('m_' || ulid) FROM (
        SELECT ulid FROM medium WHERE id = j.medium_id UNION SELECT ulid FROM deleted_medium WHERE id = j.medium_id
        UNION SELECT ulid FROM medium WHERE object_id = j.object_id AND j.medium_id IS NULL)) AS media,
    lower(hex(o.sha256)) AS sha256, s.uri AS destination, o.size_bytes, j.old AS "from", j.detail
  FROM journal j LEFT JOIN object o ON o.id = j.object_id LEFT JOIN store s ON s.id = j.store_id;
