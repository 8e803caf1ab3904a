-- Projects. :scope are those in which the caller may act (NULL: all).

-- name: get_project
-- By id.
SELECT project_id, external_id, labels, create_time, archive_time, request_id
FROM project
WHERE project_id = :project_id AND in_scope(project_id, :scope);

-- name: find_project_by_request
-- The project that a CreateProject with this request_id has made. Callers do not see each other's request_ids.
SELECT project_id FROM project WHERE request_id = :request_id AND in_scope(project_id, :scope) ORDER BY create_time LIMIT 1;

-- name: list_projects
-- One page by id, byte by byte; empty filters let everything pass.
SELECT project_id, external_id, labels, create_time, archive_time, request_id
FROM project
WHERE in_scope(project_id, :scope)
  AND (:external_id = '' OR external_id = :external_id)
  AND (:include_archived OR archive_time IS NULL)
  AND (:after::text IS NULL OR project_id COLLATE "C" > :after)
ORDER BY project_id COLLATE "C"
LIMIT :limit;

-- name: create_project!
-- Fails when the id or the external_id is taken.
INSERT INTO project (project_id, external_id, labels, request_id) VALUES (:project_id, :external_id, :labels, :request_id);

-- name: archive_project!
-- Touches nothing when it is archived already: the time stays.
UPDATE project SET archive_time = now() WHERE project_id = :project_id AND archive_time IS NULL;

-- name: unarchive_project!
-- Active again.
UPDATE project SET archive_time = NULL WHERE project_id = :project_id;
