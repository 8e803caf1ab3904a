-- name: add_job!
-- A queued job; job_request_unique refuses a second one of the same request.
INSERT INTO job (job_id, project_id, kind, queue, max_attempts, request_id)
VALUES (:job_id, :project_id, :kind, :queue, :max_attempts, :request_id);

-- name: job_by_request
-- The job that an earlier call with this request_id made.
SELECT job_id FROM job WHERE project_id = :project_id AND kind = :kind AND request_id = :request_id;

-- name: lock_job
-- A job; nobody else changes it until the transaction ends.
SELECT * FROM job WHERE job_id = :job_id FOR UPDATE;

-- name: update_job!
-- A successor state; the lease starts anew when the job begins to run or `renew` is set.
UPDATE job SET
    state = :state, attempt = :attempt, worker = :worker, lapsed = :lapsed, cancel_requested = :cancel_requested,
    failures = :failures, cause = :cause, message = :message,
    lease_until = CASE WHEN :state <> 'running' THEN NULL
                       WHEN :renew OR lease_until IS NULL THEN clock_timestamp() + make_interval(secs => :lease_seconds)
                       ELSE lease_until END,
    start_time = CASE WHEN :attempt > 0 THEN coalesce(start_time, clock_timestamp()) END,
    end_time = CASE WHEN :ended THEN coalesce(end_time, clock_timestamp()) END
WHERE job_id = :job_id;

-- name: next_event_number
-- The number and time of a job's next event; the job is locked, so numbers have no gaps.
UPDATE job SET event_count = event_count + 1 WHERE job_id = :job_id RETURNING event_count, clock_timestamp() AS at;

-- name: add_event!
-- An event that the relay will bring to the feed.
INSERT INTO outbox (job_id, number, event) VALUES (:job_id, :number, :event);

-- name: outbox_jobs
-- Jobs with events that wait. In random order: a feed that does not take its events must not keep the others waiting.
SELECT job_id FROM outbox WHERE NOT (job_id = ANY(:busy)) GROUP BY job_id ORDER BY random() LIMIT :limit;

-- name: read_outbox
-- A job's events beyond a number, in order.
SELECT event FROM outbox WHERE job_id = :job_id AND number > :after ORDER BY number LIMIT :limit;

-- name: last_in_outbox
-- The number of a job's last event that waits; NULL: none does.
SELECT max(number) AS number FROM outbox WHERE job_id = :job_id;

-- name: delete_outbox!
-- Events that the feed has committed.
DELETE FROM outbox WHERE job_id = :job_id AND number <= :committed;
