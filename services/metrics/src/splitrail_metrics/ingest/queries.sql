-- Writing: the ingesting replica only, on the connection that holds the lock.

-- name: try_lock
-- One replica ingests. The lock ends with the session.
SELECT pg_try_advisory_lock(:key) AS held

-- name: probe
-- Whether the session, and with it the lock, is still there.
SELECT 1

-- name: load_feeds
-- Of jobs that have reported, as the last commit left them.
SELECT run_id::text, project_id, state, current_attempt, last_seq, last_epoch, final_seq, closed, metric_names
FROM feed WHERE run_id = ANY(:run_ids::uuid[])

-- name: load_watermarks
-- How far each origin of these jobs is committed.
SELECT run_id::text, origin, number FROM watermark WHERE run_id = ANY(:run_ids::uuid[])

-- name: save_feed!
-- A feed as this transaction leaves it.
INSERT INTO feed (run_id, project_id, state, current_attempt, last_seq, last_epoch, final_seq, closed, metric_names)
VALUES (:run_id, :project_id, :state, :current_attempt, :last_seq, :last_epoch, :final_seq, :closed, :metric_names)
ON CONFLICT (run_id) DO UPDATE SET state = excluded.state, current_attempt = excluded.current_attempt, last_seq = excluded.last_seq,
    last_epoch = excluded.last_epoch, final_seq = excluded.final_seq, closed = excluded.closed, metric_names = excluded.metric_names

-- name: save_watermark!
-- The number of the last event of an origin that was committed or quarantined.
INSERT INTO watermark (run_id, origin, number) VALUES (:run_id, :origin, :number)
ON CONFLICT (run_id, origin) DO UPDATE SET number = excluded.number

-- name: copy_events!
-- New events.
COPY event (run_id, seq, attempt, number, kind, payload, event_time, commit_time) FROM STDIN

-- name: copy_epochs!
-- New epochs.
COPY epoch (run_id, seq, epoch, epochs, attempt, metric_values, fitness, superseded_by) FROM STDIN

-- name: void_epochs!
-- Takes epochs after a rollback out of the effective timeline; they stay readable.
UPDATE epoch SET superseded_by = :seq WHERE run_id = :run_id AND epoch > :epoch AND superseded_by IS NULL

-- name: save_plot!
-- Of several plots with one name the latest stays.
INSERT INTO plot (run_id, name, seq, title, kind, key, content_type, size_bytes, sha256)
VALUES (:run_id, :name, :seq, :title, :kind, :key, :content_type, :size_bytes, :sha256)
ON CONFLICT (run_id, name) DO UPDATE SET seq = excluded.seq, title = excluded.title, kind = excluded.kind, key = excluded.key,
    content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256

-- name: save_quarantined!
-- A message that can never be taken.
INSERT INTO quarantine (received, subject, reason, detail, payload) VALUES (:received, :subject, :reason, :detail, :payload)

-- name: count_quarantined!
-- Counts also what trim_quarantine removes.
INSERT INTO quarantine_count (reason, total) VALUES (:reason, :total)
ON CONFLICT (reason) DO UPDATE SET total = quarantine_count.total + excluded.total

-- name: trim_quarantine!
-- Keeps the newest messages only.
DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - :kept

-- The incarnation.

-- name: fingerprint
-- Of this database: other after a restore from a base backup or a dump, and after a recovery to a point in time. The
-- timeline is that of the WAL which is written now: the control file's lags behind a promotion until the next
-- checkpoint.
SELECT concat_ws('/',
    (SELECT system_identifier FROM pg_control_system()),
    left(pg_walfile_name(pg_current_wal_lsn()), 8),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    'feed'::regclass::oid) AS fingerprint

-- name: settle_incarnation
-- A row when a new one has begun.
INSERT INTO incarnation (incarnation, fingerprint) VALUES (:incarnation, :fingerprint)
ON CONFLICT (only_row) DO UPDATE SET incarnation = excluded.incarnation, fingerprint = excluded.fingerprint, begin_time = now()
WHERE incarnation.fingerprint <> excluded.fingerprint
RETURNING incarnation

-- name: forget_incarnation!
-- So that the next `settle` begins a new one.
UPDATE incarnation SET fingerprint = ''

-- name: get_incarnation
-- The one that is current.
SELECT incarnation FROM incarnation
