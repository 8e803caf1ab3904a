-- Split revisions, their pins, and which one is a version's current one.
-- A query that looks something up for a caller takes :scope, the projects in which the caller may act (NULL: all).

-- name: get_split
-- By id.
SELECT * FROM split_row WHERE split_id = :split_id AND in_scope(project_id, :scope);

-- name: find_split_by_number
-- Revision :number of a version.
SELECT split_id FROM split_revision WHERE version_id = :version_id AND number = :number;

-- name: find_split_by_request
-- The revision that this request_id has made.
SELECT split_id, request_digest FROM split_revision WHERE project_id = :project_id AND request_id = :request_id;

-- name: list_splits
-- One page of a version's revisions, newest first.
SELECT * FROM split_row
WHERE version_id = :version_id AND (:before::int IS NULL OR number < :before)
ORDER BY number DESC
LIMIT :limit;

-- name: next_split_number
-- Numbers a new revision, and holds the version until it is stored.
UPDATE version SET latest_split = latest_split + 1 WHERE version_id = :version_id RETURNING latest_split, dataset_id, project_id, current_split_id;

-- name: insert_split!
-- Stores a revision.
INSERT INTO split_revision (split_id, version_id, dataset_id, project_id, number, request_id, parameters, algorithm_version, vector, digest,
                            part_digests, certificate, request_digest)
VALUES (:split_id, :version_id, :dataset_id, :project_id, :number, :request_id, :parameters, :algorithm_version, :vector, :digest,
        :part_digests, :certificate, :request_digest);

-- name: set_current_split!
-- Makes a revision its version's current one.
UPDATE version SET current_split_id = :split_id WHERE version_id = :version_id;

-- name: get_vector
-- The part of each image.
SELECT vector FROM split_revision WHERE split_id = :split_id;

-- name: lock_version_of_split
-- Before a revision is deleted: two deletions at once must not make each other's revision the current one.
SELECT version_id FROM version
WHERE version_id = (SELECT version_id FROM split_revision WHERE split_id = :split_id AND in_scope(project_id, :scope))
FOR NO KEY UPDATE;

-- name: lock_split
-- Before a revision is pinned or deleted.
SELECT version_id FROM split_revision
WHERE split_id = :split_id AND in_scope(project_id, :scope)
FOR UPDATE;

-- name: pin_of_split
-- The first job that uses a revision.
SELECT job_id FROM split_pin WHERE split_id = :split_id ORDER BY create_time, job_id LIMIT 1;

-- name: insert_pin!
-- A job uses a revision.
INSERT INTO split_pin (split_id, job_id) VALUES (:split_id, :job_id) ON CONFLICT DO NOTHING;

-- name: repoint_current_split!
-- Before a revision goes: the newest other one becomes the current one.
UPDATE version SET current_split_id = (
    SELECT split_id FROM split_revision WHERE version_id = :version_id AND split_id <> :split_id ORDER BY number DESC LIMIT 1
)
WHERE version_id = :version_id AND current_split_id = :split_id;

-- name: delete_split!
-- Once nothing uses it.
DELETE FROM split_revision WHERE split_id = :split_id;
