-- Projects. :scope are those in which the caller may act (NULL: all).

-- name: get_project
-- By id.
SELECT project_id, external_id, labels, create_time, archive_time
FROM project
WHERE project_id = :project_id AND in_scope(project_id, :scope);

-- name: find_project_by_request
-- The project that a CreateProject of this caller with this request_id has made.
SELECT project_id, request_digest FROM project WHERE creator = :creator AND request_id = :request_id;

-- name: list_projects
-- One page by id, byte by byte; empty filters let everything pass.
SELECT project_id, external_id, labels, create_time, archive_time
FROM project
WHERE in_scope(project_id, :scope)
  AND (:external_id = '' OR external_id = :external_id)
  AND (:include_archived OR archive_time IS NULL)
  AND (:after::text IS NULL OR project_id COLLATE "C" > :after)
ORDER BY project_id COLLATE "C"
LIMIT :limit;

-- name: create_project!
-- Fails when the id, the external_id or the caller's request_id is taken.
INSERT INTO project (project_id, external_id, labels, creator, request_id, request_digest)
VALUES (:project_id, :external_id, :labels, :creator, :request_id, :request_digest);

-- name: hold_project
-- Before something of a project is written: it is not archived before the transaction ends, and what archives it at
-- this moment is waited for.
SELECT archive_time FROM project WHERE project_id = :project_id FOR SHARE;

-- name: archive_project!
-- Touches nothing when it is archived already: the time stays.
UPDATE project SET archive_time = now() WHERE project_id = :project_id AND archive_time IS NULL;

-- name: unarchive_project!
-- Active again.
UPDATE project SET archive_time = NULL WHERE project_id = :project_id;
