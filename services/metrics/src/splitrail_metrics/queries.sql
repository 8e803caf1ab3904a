-- Writing: the ingesting replica only, on the connection that holds the lock.

-- name: try_lock
-- One replica ingests. The lock ends with the session.
SELECT pg_try_advisory_lock(:key) AS held

-- name: probe
SELECT 1

-- name: load_feeds
SELECT run_id::text, project_id, state, current_attempt, last_seq, last_epoch, final_seq, closed, metric_names
FROM feed WHERE run_id = ANY(:run_ids::uuid[])

-- name: load_watermarks
SELECT run_id::text, origin, number FROM watermark WHERE run_id = ANY(:run_ids::uuid[])

-- name: save_feed!
INSERT INTO feed (run_id, project_id, state, current_attempt, last_seq, last_epoch, final_seq, closed, metric_names)
VALUES (:run_id, :project_id, :state, :current_attempt, :last_seq, :last_epoch, :final_seq, :closed, :metric_names)
ON CONFLICT (run_id) DO UPDATE SET state = excluded.state, current_attempt = excluded.current_attempt, last_seq = excluded.last_seq,
    last_epoch = excluded.last_epoch, final_seq = excluded.final_seq, closed = excluded.closed, metric_names = excluded.metric_names

-- name: save_watermark!
INSERT INTO watermark (run_id, origin, number) VALUES (:run_id, :origin, :number)
ON CONFLICT (run_id, origin) DO UPDATE SET number = excluded.number

-- name: copy_events!
COPY event (run_id, seq, attempt, number, kind, payload, event_time, commit_time) FROM STDIN

-- name: copy_epochs!
COPY epoch (run_id, seq, epoch, epochs, attempt, metric_values, fitness, superseded_by) FROM STDIN

-- name: void_epochs!
UPDATE epoch SET superseded_by = :seq WHERE run_id = :run_id AND epoch > :epoch AND superseded_by IS NULL

-- name: save_plot!
INSERT INTO plot (run_id, name, seq, title, kind, key, content_type, size_bytes, sha256)
VALUES (:run_id, :name, :seq, :title, :kind, :key, :content_type, :size_bytes, :sha256)
ON CONFLICT (run_id, name) DO UPDATE SET seq = excluded.seq, title = excluded.title, kind = excluded.kind, key = excluded.key,
    content_type = excluded.content_type, size_bytes = excluded.size_bytes, sha256 = excluded.sha256

-- name: save_quarantined!
INSERT INTO quarantine (received, subject, reason, detail, payload) VALUES (:received, :subject, :reason, :detail, :payload)

-- name: count_quarantined!
INSERT INTO quarantine_count (reason, total) VALUES (:reason, :total)
ON CONFLICT (reason) DO UPDATE SET total = quarantine_count.total + excluded.total

-- name: trim_quarantine!
DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - :kept

-- Reading.

-- name: get_head
SELECT run_id::text, project_id, state, current_attempt, last_seq, last_epoch, final_seq, closed, metric_names
FROM feed WHERE run_id = :run_id

-- name: get_watermark
SELECT coalesce(w.number, 0) AS number, coalesce(f.current_attempt, 0) AS current_attempt, coalesce(f.last_epoch, 0) AS last_epoch,
    coalesce(f.closed, false) AS closed, f.project_id
FROM (SELECT :run_id::uuid AS run_id) AS asked
LEFT JOIN feed AS f USING (run_id)
LEFT JOIN watermark AS w ON w.run_id = asked.run_id AND w.origin = :origin

-- name: list_events
-- A page by seq, bounded in rows and (beyond the first row) in bytes.
SELECT run_id::text, seq, attempt, number, kind, payload, event_time, commit_time
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY seq) AS bytes_so_far
    FROM (SELECT * FROM event WHERE run_id = :run_id AND seq > :after_seq ORDER BY seq LIMIT :rows) AS page
) AS measured
WHERE bytes_so_far - length(payload) < :bytes
ORDER BY seq

-- name: list_log_lines
-- As above; page_rows tells whether bytes cut the page short.
SELECT run_id::text, seq, attempt, number, kind, payload, event_time, commit_time, page_rows
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY seq) AS bytes_so_far, count(*) OVER () AS page_rows
    FROM (SELECT * FROM event WHERE run_id = :run_id AND kind = 'log' AND seq > :after_seq ORDER BY seq LIMIT :rows) AS page
) AS measured
WHERE bytes_so_far - length(payload) < :bytes
ORDER BY seq

-- name: get_event
SELECT run_id::text, seq, attempt, number, kind, payload, event_time, commit_time FROM event WHERE run_id = :run_id AND seq = :seq

-- name: list_epochs
SELECT seq, epoch, epochs, attempt, metric_values, fitness FROM epoch WHERE run_id = :run_id AND superseded_by IS NULL ORDER BY epoch

-- name: list_summaries
-- Of epochs with equal fitness the later one is the best, as Ultralytics keeps it.
SELECT f.run_id::text, f.state, f.last_seq, f.last_epoch, f.metric_names,
    best.seq AS best_seq, best.epoch AS best_epoch, best.epochs AS best_epochs, best.attempt AS best_attempt, best.metric_values AS best_metric_values,
    last.seq AS last_epoch_seq, last.epochs AS last_epochs, last.attempt AS last_attempt, last.metric_values AS last_metric_values
FROM feed AS f
LEFT JOIN LATERAL (
    SELECT * FROM epoch AS e WHERE e.run_id = f.run_id AND e.superseded_by IS NULL AND e.fitness IS NOT NULL
    ORDER BY e.fitness DESC, e.epoch DESC LIMIT 1
) AS best ON true
LEFT JOIN epoch AS last ON last.run_id = f.run_id AND last.superseded_by IS NULL AND last.epoch = f.last_epoch
WHERE f.run_id = ANY(:run_ids::uuid[]) AND (:scope::text[] IS NULL OR f.project_id = ANY(:scope))

-- name: list_plots
SELECT run_id::text, name, seq, title, kind, key, content_type, size_bytes, sha256 FROM plot WHERE run_id = :run_id ORDER BY seq

-- name: get_plot
SELECT run_id::text, name, seq, title, kind, key, content_type, size_bytes, sha256 FROM plot WHERE run_id = :run_id AND name = :name
