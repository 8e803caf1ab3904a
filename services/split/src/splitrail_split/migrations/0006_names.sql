-- States and formats of imports by name, as all of these queries speak of them; and what stores read of each thing, its
-- columns named once.

DROP INDEX import_request_unique, import_waiting, import_open;
ALTER TABLE import
    ALTER COLUMN state TYPE text USING (ARRAY['OPEN', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED'])[state],
    ADD CONSTRAINT import_state_known CHECK (state IN ('OPEN', 'QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    ALTER COLUMN format DROP DEFAULT,
    ALTER COLUMN format TYPE text USING coalesce((ARRAY['yolo', 'voc', 'coco', 'cvat', 'label_studio', 'csv'])[format], ''),
    -- Empty until it is known: the caller leaves it to be told from the files.
    ALTER COLUMN format SET DEFAULT '';
-- An import that failed or was cancelled may be repeated with its request_id.
CREATE UNIQUE INDEX import_request_unique ON import (project_id, request_id) WHERE request_id <> '' AND state NOT IN ('FAILED', 'CANCELLED');
CREATE INDEX import_waiting ON import (start_time) WHERE state IN ('QUEUED', 'RUNNING');
CREATE INDEX import_open ON import (create_time) WHERE state = 'OPEN';

-- What is not committed yet is a row of `draft`: every row here is committed.
ALTER TABLE version DROP COLUMN state;

-- Whether a caller who may act in the projects `scope` (NULL: in all) may see something of this project.
CREATE FUNCTION in_scope(project_id text, scope text[]) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN scope IS NULL OR project_id = ANY(scope);

-- A dataset. `latest_version` is the newest there is; the column of that name counts those that were deleted too.
CREATE VIEW dataset_row AS
SELECT dataset_id, project_id, name, task, external_id, labels, create_time,
       (SELECT coalesce(max(number), 0) FROM version v WHERE v.dataset_id = dataset.dataset_id) AS latest_version
FROM dataset;

-- A committed version.
CREATE VIEW version_row AS
SELECT version_id, v.dataset_id, v.project_id, d.name AS dataset_name, number, 'COMMITTED' AS state, class_names, image_count, object_count,
       empty_count, unlabelled_count, problem_count, class_images, class_objects, digest, commit_time, current_split_id, class_ids,
       base_version_id, coalesce(report->'flip_idx', '[]') AS flip_idx
FROM version v JOIN dataset d USING (dataset_id);

-- A draft, committed or not.
CREATE VIEW draft_row AS
SELECT version_id, r.dataset_id, r.project_id, d.name AS dataset_name, d.task, base_version_id, class_names, class_ids, class_targets,
       image_count, object_count, empty_count, unlabelled_count, class_images, class_objects, change_count, next_position, r.create_time,
       committed_version_id
FROM draft r JOIN dataset d USING (dataset_id);

-- A draft that is not committed, with the columns of version_row: it has no number yet.
CREATE VIEW draft_version_row AS
SELECT version_id, dataset_id, project_id, dataset_name, 0 AS number, 'DRAFT' AS state, class_names, image_count, object_count,
       empty_count, unlabelled_count, 0::bigint AS problem_count, class_images, class_objects, '' AS digest, NULL::timestamptz AS commit_time,
       NULL::uuid AS current_split_id, class_ids, base_version_id, '[]'::jsonb AS flip_idx
FROM draft_row
WHERE committed_version_id IS NULL;

-- A split revision without its vector.
CREATE VIEW split_row AS
SELECT split_id, version_id, s.dataset_id, s.project_id, d.name AS dataset_name, v.number AS version_number, s.number, parameters,
       algorithm_version, s.digest, part_digests, certificate, s.create_time, s.request_id
FROM split_revision s JOIN version v USING (version_id) JOIN dataset d ON d.dataset_id = s.dataset_id;

-- An import without what its workers keep there.
CREATE VIEW import_row AS
SELECT import_id, project_id, dataset_name, task, state, format, strict, dry_run, file_count, image_count, processed_count, excluded_count,
       problem_count, note_count, failure, version_id, create_time
FROM import;
