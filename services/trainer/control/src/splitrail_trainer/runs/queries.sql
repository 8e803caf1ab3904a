-- name: claim_candidate
-- The first job that a pod may take: queued, or running under a lease that ran out (unless leases must not lapse at the moment).
SELECT * FROM job
WHERE queue = %(queue)s AND kind = ANY(%(kinds)s)
  AND (state = 'queued' OR (state = 'running' AND %(may_lapse)s AND lease_until < clock_timestamp()))
ORDER BY priority DESC, create_time, job_id
LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: lapsed_jobs
-- Running jobs whose lease ran out.
SELECT * FROM job WHERE state = 'running' AND lease_until < clock_timestamp() ORDER BY lease_until LIMIT 50 FOR UPDATE SKIP LOCKED;

-- name: lock_job
SELECT * FROM job WHERE job_id = %(job_id)s FOR UPDATE;

-- name: update_job!
-- A successor state; the lease starts anew when the job begins to run or `renew` is set.
UPDATE job SET
    state = %(state)s, attempt = %(attempt)s, worker = %(worker)s, lapsed = %(lapsed)s, cancel_requested = %(cancel_requested)s,
    failures = %(failures)s, cause = %(cause)s, message = %(message)s,
    lease_until = CASE WHEN %(state)s <> 'running' THEN NULL
                       WHEN %(renew)s OR lease_until IS NULL THEN clock_timestamp() + make_interval(secs => %(lease_seconds)s)
                       ELSE lease_until END,
    start_time = CASE WHEN %(attempt)s > 0 THEN coalesce(start_time, clock_timestamp()) END,
    end_time = CASE WHEN %(ended)s THEN coalesce(end_time, clock_timestamp()) END
WHERE job_id = %(job_id)s;

-- name: next_event_number
UPDATE job SET event_count = event_count + 1 WHERE job_id = %(job_id)s RETURNING event_count, clock_timestamp() AS at;

-- name: add_event!
INSERT INTO outbox (job_id, number, event) VALUES (%(job_id)s, %(number)s, %(event)s);

-- name: add_job!
INSERT INTO job (job_id, project_id, kind, queue, max_attempts, request_id)
VALUES (%(job_id)s, %(project_id)s, %(kind)s, %(queue)s, %(max_attempts)s, %(request_id)s);

-- name: next_run_number
INSERT INTO run_counter AS counter (project_id, dataset_name, last) VALUES (%(project_id)s, %(dataset_name)s, 1)
ON CONFLICT ON CONSTRAINT run_counter_pk DO UPDATE SET last = counter.last + 1
RETURNING last;

-- name: add_run!
INSERT INTO run (job_id, project_id, dataset_id, dataset_name, number, version_id, version_number, split_id, split_reference, split_digest,
                 class_names, model, arguments, resolved_arguments, epochs, external_id, labels)
VALUES (%(job_id)s, %(project_id)s, %(dataset_id)s, %(dataset_name)s, %(number)s, %(version_id)s, %(version_number)s, %(split_id)s,
        %(split_reference)s, %(split_digest)s, %(class_names)s, %(model)s, %(arguments)s, %(resolved_arguments)s, %(epochs)s, %(external_id)s,
        %(labels)s);

-- name: next_evaluation_number
UPDATE run SET evaluation_count = evaluation_count + 1 WHERE job_id = %(run_id)s RETURNING evaluation_count;

-- name: add_evaluation!
INSERT INTO evaluation (job_id, project_id, run_id, number, weights, weights_key, weights_sha256, weights_size_bytes, split_id, split_reference,
                        part, contaminated_images, arguments)
VALUES (%(job_id)s, %(project_id)s, %(run_id)s, %(number)s, %(weights)s, %(weights_key)s, %(weights_sha256)s, %(weights_size_bytes)s, %(split_id)s,
        %(split_reference)s, %(part)s, %(contaminated_images)s, %(arguments)s);

-- name: job_by_request
SELECT job_id FROM job WHERE project_id = %(project_id)s AND kind = %(kind)s AND request_id = %(request_id)s;

-- name: get_run
SELECT run.*, job_view.*
FROM run JOIN job_view USING (job_id)
WHERE job_id = %(run_id)s AND (%(scope)s::text[] IS NULL OR run.project_id = ANY(%(scope)s));

-- name: run_by_number
SELECT job_id FROM run WHERE project_id = %(project_id)s AND dataset_name = %(dataset_name)s AND number = %(number)s;

-- name: list_runs
-- Newest first: ids are UUIDv7, sorted by time.
SELECT run.*, job_view.*
FROM run JOIN job_view USING (job_id)
WHERE (%(scope)s::text[] IS NULL OR run.project_id = ANY(%(scope)s))
  AND (%(project_id)s::text IS NULL OR run.project_id = %(project_id)s)
  AND (%(dataset_id)s::text IS NULL OR run.dataset_id = %(dataset_id)s)
  AND (%(state)s::text IS NULL OR job_view.state = %(state)s)
  AND (%(external_id)s::text IS NULL OR run.external_id = %(external_id)s)
  AND (%(before)s::text IS NULL OR job_view.job_id < %(before)s)
ORDER BY job_view.job_id DESC LIMIT %(limit)s;

-- name: get_evaluation
SELECT evaluation.*, run.dataset_name AS run_dataset_name, run.number AS run_number, job_view.*
FROM evaluation JOIN job_view USING (job_id) JOIN run ON run.job_id = evaluation.run_id
WHERE job_view.job_id = %(evaluation_id)s AND (%(scope)s::text[] IS NULL OR evaluation.project_id = ANY(%(scope)s));

-- name: list_evaluations
-- Newest first; beyond the first, as many as begin within twice what a page may hold: results are large where there are many classes.
WITH page AS (
    SELECT job_id, coalesce(length(result), 0) AS size
    FROM evaluation
    WHERE (%(scope)s::text[] IS NULL OR project_id = ANY(%(scope)s))
      AND (%(project_id)s::text IS NULL OR project_id = %(project_id)s)
      AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
      AND (%(before)s::text IS NULL OR job_id < %(before)s)
    ORDER BY job_id DESC LIMIT %(limit)s
), measured AS (
    SELECT job_id, sum(size) OVER (ORDER BY job_id DESC) - size AS bytes_before FROM page
)
SELECT evaluation.*, run.dataset_name AS run_dataset_name, run.number AS run_number, job_view.*
FROM measured JOIN evaluation USING (job_id) JOIN job_view USING (job_id) JOIN run ON run.job_id = evaluation.run_id
WHERE bytes_before < 2 * %(page_bytes)s
ORDER BY job_view.job_id DESC;

-- name: list_artifacts
-- Of each file the one that the newest attempt left, by job, kind and name.
SELECT DISTINCT ON (job_id, kind, name) *
FROM artifact
WHERE job_id = ANY(%(job_ids)s) AND NOT superseded
ORDER BY job_id, kind, name, attempt DESC;

-- name: newest_artifact
SELECT * FROM artifact WHERE job_id = %(job_id)s AND kind = %(kind)s AND NOT superseded ORDER BY attempt DESC, create_time DESC LIMIT 1;

-- name: add_artifact!
-- Nothing when the same file is recorded already; the constraint artifact_name_unique speaks when it is another one.
INSERT INTO artifact (job_id, attempt, name, kind, key, size_bytes, sha256, epoch)
SELECT %(job_id)s, %(attempt)s, %(name)s, %(kind)s, %(key)s, %(size_bytes)s, %(sha256)s, %(epoch)s
WHERE NOT EXISTS (
    SELECT FROM artifact
    WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND name = %(name)s AND kind = %(kind)s AND size_bytes = %(size_bytes)s
      AND sha256 = %(sha256)s AND epoch = %(epoch)s);

-- name: set_checkpoint
-- Makes a checkpoint the resume point, unless this attempt has stored one of a later epoch.
UPDATE run SET checkpoint_epoch = %(epoch)s, checkpoint_attempt = %(attempt)s, checkpoint_key = %(key)s, checkpoint_sha256 = %(sha256)s,
               checkpoint_size_bytes = %(size_bytes)s
WHERE job_id = %(job_id)s AND (checkpoint_attempt IS DISTINCT FROM %(attempt)s OR checkpoint_epoch <= %(epoch)s)
RETURNING job_id;

-- name: supersede_checkpoints!
-- All but the resume point.
UPDATE artifact SET superseded = true
FROM run
WHERE run.job_id = %(job_id)s AND artifact.job_id = run.job_id AND artifact.kind = 'checkpoint' AND NOT artifact.superseded
  AND artifact.key <> run.checkpoint_key;

-- name: superseded_artifacts
-- Never the resume point, whatever the flag says.
SELECT key FROM artifact
WHERE superseded AND NOT EXISTS (SELECT FROM run WHERE run.job_id = artifact.job_id AND run.checkpoint_key = artifact.key)
ORDER BY create_time LIMIT 100;

-- name: delete_superseded!
DELETE FROM artifact WHERE superseded AND key = ANY(%(keys)s) AND NOT EXISTS (SELECT FROM run WHERE run.job_id = artifact.job_id AND run.checkpoint_key = artifact.key);

-- name: set_run_versions!
UPDATE run SET versions = %(versions)s WHERE job_id = %(job_id)s;

-- name: set_evaluation_result!
UPDATE evaluation SET versions = %(versions)s, result = %(result)s WHERE job_id = %(job_id)s;

-- name: outbox_jobs
-- Jobs with events that wait. In random order: a feed that does not take its events must not keep the others waiting.
SELECT job_id FROM outbox WHERE NOT (job_id = ANY(%(busy)s)) GROUP BY job_id ORDER BY random() LIMIT %(limit)s;

-- name: read_outbox
SELECT event FROM outbox WHERE job_id = %(job_id)s AND number > %(after)s ORDER BY number LIMIT %(limit)s;

-- name: last_in_outbox
SELECT max(number) AS number FROM outbox WHERE job_id = %(job_id)s;

-- name: delete_outbox!
DELETE FROM outbox WHERE job_id = %(job_id)s AND number <= %(committed)s;
