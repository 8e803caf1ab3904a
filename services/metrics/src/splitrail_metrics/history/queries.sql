-- name: get_head
-- Always a row: the incarnation is there before the feed.
SELECT incarnation, run_id, project_id, state, current_attempt, last_seq, last_epoch, final_seq, closed, metric_names
FROM incarnation LEFT JOIN feed ON run_id = :run_id

-- name: get_watermark
-- Zeros for a job or an origin that has not reported.
SELECT coalesce(w.number, 0) AS number, coalesce(f.current_attempt, 0) AS current_attempt, coalesce(f.last_epoch, 0) AS last_epoch,
    coalesce(f.closed, false) AS closed, f.project_id
FROM (SELECT :run_id::uuid AS run_id) AS asked
LEFT JOIN feed AS f USING (run_id)
LEFT JOIN watermark AS w ON w.run_id = asked.run_id AND w.origin = :origin

-- name: list_events
-- A page by seq, bounded in rows and (beyond the first row) in bytes; with the incarnation that these events are in.
SELECT (SELECT incarnation FROM incarnation) AS incarnation, run_id, seq, attempt, number, kind, payload, event_time, commit_time
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY seq) AS bytes_so_far
    FROM (SELECT * FROM event WHERE run_id = :run_id AND seq > :after_seq ORDER BY seq LIMIT :rows) AS page
) AS measured
WHERE bytes_so_far - length(payload) < :bytes
ORDER BY seq

-- name: list_log_lines
-- Bounded as list_events; page_rows tells whether bytes cut the page short.
SELECT run_id, seq, attempt, number, kind, payload, event_time, commit_time, page_rows
FROM (
    SELECT *, sum(length(payload)) OVER (ORDER BY seq) AS bytes_so_far, count(*) OVER () AS page_rows
    FROM (SELECT * FROM event WHERE run_id = :run_id AND kind = 'log' AND seq > :after_seq ORDER BY seq LIMIT :rows) AS page
) AS measured
WHERE bytes_so_far - length(payload) < :bytes
ORDER BY seq

-- name: get_event
-- One event.
SELECT run_id, seq, attempt, number, kind, payload, event_time, commit_time FROM event WHERE run_id = :run_id AND seq = :seq

-- name: list_epochs
-- The effective timeline.
SELECT seq, epoch, epochs, attempt, metric_values, fitness FROM epoch WHERE run_id = :run_id AND superseded_by IS NULL ORDER BY epoch

-- name: list_summaries
-- Of epochs with equal fitness the later one is the best, as Ultralytics keeps it.
SELECT f.run_id, f.state, f.last_seq, f.last_epoch, f.metric_names,
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
-- By name, whatever the database's collation; a limit of null: all.
SELECT run_id, name, seq, title, kind, key, content_type, size_bytes, sha256
FROM plot WHERE run_id = :run_id AND name COLLATE "C" > :after_name ORDER BY name COLLATE "C" LIMIT :limit

-- name: get_plot
-- One plot.
SELECT run_id, name, seq, title, kind, key, content_type, size_bytes, sha256 FROM plot WHERE run_id = :run_id AND name = :name
