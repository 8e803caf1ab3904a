-- name: next_evaluation_number
-- The number of the run's next evaluation: numbers are not reused.
UPDATE run SET evaluation_count = evaluation_count + 1 WHERE job_id = :run_id RETURNING evaluation_count;

-- name: add_evaluation!
-- What is special to an evaluation; its job is added before.
INSERT INTO evaluation (job_id, project_id, run_id, number, weights, weights_key, weights_sha256, weights_size_bytes, split_id, split_reference,
                        part, contaminated_images, arguments)
VALUES (:job_id, :project_id, :run_id, :number, :weights, :weights_key, :weights_sha256, :weights_size_bytes, :split_id,
        :split_reference, :part, :contaminated_images, :arguments);

-- name: get_evaluation
-- An evaluation of the scope, with its job and its run's reference.
SELECT evaluation.*, run.dataset_name AS run_dataset_name, run.number AS run_number, job_view.*
FROM evaluation JOIN job_view USING (job_id) JOIN run ON run.job_id = evaluation.run_id
WHERE job_view.job_id = :evaluation_id AND (:scope::text[] IS NULL OR evaluation.project_id = ANY(:scope));

-- name: list_evaluations
-- Newest first; beyond the first, as many as begin within twice what a page may hold: results are large where there are many classes.
WITH page AS (
    SELECT job_id, coalesce(length(result), 0) AS size
    FROM evaluation
    WHERE (:scope::text[] IS NULL OR project_id = ANY(:scope))
      AND (:project_id::text IS NULL OR project_id = :project_id)
      AND (:run_id::text IS NULL OR run_id = :run_id)
      AND (:before::text IS NULL OR job_id < :before)
    ORDER BY job_id DESC LIMIT :limit
), measured AS (
    SELECT job_id, sum(size) OVER (ORDER BY job_id DESC) - size AS bytes_before FROM page
)
SELECT evaluation.*, run.dataset_name AS run_dataset_name, run.number AS run_number, job_view.*
FROM measured JOIN evaluation USING (job_id) JOIN job_view USING (job_id) JOIN run ON run.job_id = evaluation.run_id
WHERE bytes_before < 2 * :page_bytes
ORDER BY job_view.job_id DESC;

-- name: set_evaluation_result!
-- What the evaluation found, and what programs it ran with.
UPDATE evaluation SET versions = :versions, result = :result WHERE job_id = :job_id;
