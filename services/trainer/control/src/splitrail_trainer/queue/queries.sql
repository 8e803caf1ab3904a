-- name: claim_candidate
-- The first job that a pod may take: queued, or running under a lease that ran out (unless leases must not lapse at the moment).
SELECT * FROM job
WHERE queue = :queue AND kind = ANY(:kinds)
  AND (state = 'queued' OR (state = 'running' AND :may_lapse AND lease_until < clock_timestamp()))
ORDER BY priority DESC, create_time, job_id
LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: lapsed_jobs
-- Running jobs whose lease ran out.
SELECT * FROM job WHERE state = 'running' AND lease_until < clock_timestamp() ORDER BY lease_until LIMIT 50 FOR UPDATE SKIP LOCKED;
