-- name: next_run_number
-- The number of the next run on a dataset: numbers are not reused.
INSERT INTO run_counter AS counter (project_id, dataset_name, last) VALUES (:project_id, :dataset_name, 1)
ON CONFLICT ON CONSTRAINT run_counter_pk DO UPDATE SET last = counter.last + 1
RETURNING last;

-- name: add_run!
-- What is special to a run; its job is added before.
INSERT INTO run (job_id, project_id, dataset_id, dataset_name, number, version_id, version_number, split_id, split_reference, split_digest,
                 class_names, model, arguments, resolved_arguments, epochs, external_id, labels)
VALUES (:job_id, :project_id, :dataset_id, :dataset_name, :number, :version_id, :version_number, :split_id,
        :split_reference, :split_digest, :class_names, :model, :arguments, :resolved_arguments, :epochs, :external_id,
        :labels);

-- name: get_run
-- A run of the scope, with its job.
SELECT run.*, job_view.*
FROM run JOIN job_view USING (job_id)
WHERE job_id = :run_id AND (:scope::text[] IS NULL OR run.project_id = ANY(:scope));

-- name: run_by_number
-- The run called `dataset_name/number`.
SELECT job_id FROM run WHERE project_id = :project_id AND dataset_name = :dataset_name AND number = :number;

-- name: list_runs
-- Newest first: ids are UUIDv7, sorted by time.
SELECT run.*, job_view.*
FROM run JOIN job_view USING (job_id)
WHERE (:scope::text[] IS NULL OR run.project_id = ANY(:scope))
  AND (:project_id::text IS NULL OR run.project_id = :project_id)
  AND (:dataset_id::text IS NULL OR run.dataset_id = :dataset_id)
  AND (:state::text IS NULL OR job_view.state = :state)
  AND (:external_id::text IS NULL OR run.external_id = :external_id)
  AND (:before::text IS NULL OR job_view.job_id < :before)
ORDER BY job_view.job_id DESC LIMIT :limit;

-- name: set_run_versions!
-- What programs the last attempt ran with.
UPDATE run SET versions = :versions WHERE job_id = :job_id;
