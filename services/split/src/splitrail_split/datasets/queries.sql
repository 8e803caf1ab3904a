-- Datasets, committed versions and their images. A query that looks something up for a caller takes :scope, the
-- projects in which the caller may act (NULL: all); the others take the id of what such a query has found. Arrays are
-- cast where a query unnests them or tests them for NULL.

-- name: get_dataset
-- By id.
SELECT * FROM dataset_row WHERE dataset_id = :dataset_id AND in_scope(project_id, :scope);

-- name: find_dataset
-- By name.
SELECT * FROM dataset_row WHERE project_id = :project_id AND name = :name AND in_scope(project_id, :scope);

-- name: find_dataset_by_request
-- The dataset that a CreateDataset with this request_id has made.
SELECT dataset_id, request_digest FROM dataset WHERE project_id = :project_id AND request_id = :request_id;

-- name: list_datasets
-- One page, newest first; empty filters let everything pass.
SELECT * FROM dataset_row
WHERE in_scope(project_id, :scope)
  AND (:project_id = '' OR project_id = :project_id)
  AND (:name = '' OR name = :name)
  AND (:external_id = '' OR external_id = :external_id)
  AND (:before::uuid IS NULL OR dataset_id < :before)
ORDER BY dataset_id DESC
LIMIT :limit;

-- name: create_dataset!
-- For CreateDataset: fails when the name, the external_id or the request_id is taken.
INSERT INTO dataset (dataset_id, project_id, name, task, external_id, labels, request_id, request_digest)
VALUES (:dataset_id, :project_id, :name, :task, :external_id, :labels, :request_id, :request_digest);

-- name: lock_update
-- Before a dataset is updated: how often that was done, and by which request the last time.
SELECT update_count, update_request_id FROM dataset WHERE dataset_id = :dataset_id AND in_scope(project_id, :scope) FOR NO KEY UPDATE;

-- name: update_dataset!
-- Fails when the external_id is taken.
UPDATE dataset SET external_id = :external_id, labels = :labels, update_count = update_count + 1, update_request_id = :request_id
WHERE dataset_id = :dataset_id;

-- name: ensure_dataset!
-- For an import. Loses to another one that makes the same dataset: lock_dataset_by_name then finds that one.
INSERT INTO dataset (dataset_id, project_id, name, task)
VALUES (:dataset_id, :project_id, :name, :task)
ON CONFLICT ON CONSTRAINT dataset_name_unique DO NOTHING;

-- name: lock_dataset_by_name
-- Held while a version is added, so that numbers have neither gaps nor duplicates.
SELECT dataset_id, project_id, task, latest_version, next_class_id
FROM dataset
WHERE project_id = :project_id AND name = :name
FOR UPDATE;

-- name: lock_dataset
-- As lock_dataset_by_name, without keeping others from splitting its versions.
SELECT dataset_id, project_id, task, latest_version, next_class_id
FROM dataset
WHERE dataset_id = :dataset_id AND in_scope(project_id, :scope)
FOR NO KEY UPDATE;

-- name: set_latest_version!
-- After a version was added.
UPDATE dataset SET latest_version = :number, next_class_id = :next_class_id WHERE dataset_id = :dataset_id;

-- name: set_next_class_id!
-- After classes were added without a version.
UPDATE dataset SET next_class_id = :next_class_id WHERE dataset_id = :dataset_id;

-- name: class_ids_by_name
-- The stable id that each class name last had in a version of the dataset.
SELECT DISTINCT ON (name) name, class_id
FROM version, unnest(class_names, class_ids) AS c (name, class_id)
WHERE dataset_id = :dataset_id AND name = ANY(:names)
ORDER BY name, number DESC;

-- name: delete_dataset!
-- Once nothing is left in it.
DELETE FROM dataset WHERE dataset_id = :dataset_id;

-- name: delete_drafts_of_dataset!
-- Committed or not.
DELETE FROM draft WHERE dataset_id = :dataset_id;

-- name: get_version
-- By id: a version, or a draft that is not one yet.
SELECT * FROM version_row WHERE version_id = :version_id AND in_scope(project_id, :scope)
UNION ALL
SELECT * FROM draft_version_row WHERE version_id = :version_id AND in_scope(project_id, :scope);

-- name: find_version
-- By number; number 0 finds the newest.
SELECT * FROM version_row
WHERE dataset_id = :dataset_id AND (:number = 0 OR number = :number)
ORDER BY number DESC
LIMIT 1;

-- name: get_versions
-- By ids that an import has been found with.
SELECT * FROM version_row WHERE version_id = ANY(:version_ids::uuid[]);

-- name: list_versions
-- One page, newest first.
SELECT * FROM version_row
WHERE dataset_id = :dataset_id AND (:before::int IS NULL OR number < :before)
ORDER BY number DESC
LIMIT :limit;

-- name: insert_version!
-- A draft cannot change which keypoints a mirrored image exchanges: its version has that from the base.
INSERT INTO version (version_id, dataset_id, project_id, number, class_names, image_count, object_count, empty_count, unlabelled_count,
                     problem_count, class_images, class_objects, digest, report, commit_time, class_ids, base_version_id)
VALUES (:version_id, :dataset_id, :project_id, :number, :class_names, :image_count, :object_count, :empty_count, :unlabelled_count,
        :problem_count, :class_images, :class_objects, :digest,
        :report::jsonb || coalesce(
            (SELECT jsonb_build_object('flip_idx', report->'flip_idx') FROM version WHERE version_id = :base_version_id AND report ? 'flip_idx'), '{}'
        ),
        now(), :class_ids, :base_version_id);

-- name: lock_versions
-- All versions of a dataset, or one.
SELECT version_id FROM version
WHERE dataset_id = :dataset_id AND (:version_id::uuid IS NULL OR version_id = :version_id)
ORDER BY version_id
FOR UPDATE;

-- name: keep_version
-- It is not deleted before the transaction ends.
SELECT version_id FROM version WHERE version_id = :version_id AND dataset_id = :dataset_id FOR KEY SHARE;

-- name: lock_splits_of_versions
-- Keeps them from being pinned meanwhile.
SELECT split_id FROM split_revision WHERE version_id = ANY(:version_ids::uuid[]) ORDER BY split_id FOR UPDATE;

-- name: pin_of_versions
-- The first job that uses a split of one of these versions.
SELECT job_id FROM split_pin p JOIN split_revision s USING (split_id)
WHERE version_id = ANY(:version_ids::uuid[])
ORDER BY p.create_time, job_id
LIMIT 1;

-- name: draft_of_version
-- The first draft that is based on a version.
SELECT version_id FROM draft WHERE base_version_id = :version_id AND committed_version_id IS NULL ORDER BY version_id LIMIT 1;

-- name: forget_requests_of_versions!
-- When a version or its split was deleted, importing the same source again must make a new version, not return the old
-- import.
UPDATE import SET request_id = '' WHERE version_id = ANY(:version_ids::uuid[]);

-- name: delete_versions!
-- With their images, columns and splits.
DELETE FROM version WHERE version_id = ANY(:version_ids::uuid[]);

-- name: insert_array!
-- A column over all ordinals of a version.
INSERT INTO version_array (version_id, name, data) VALUES (:version_id, :name, :data);

-- name: get_array
-- A column over all ordinals of a version.
SELECT data FROM version_array WHERE version_id = :version_id AND name = :name;

-- name: copy_version_assets!
-- The images of a version that an import makes.
COPY version_asset (version_id, ordinal, sha256, path, width, height, size_bytes, format, label_state, annotations, external_id, metadata)
FROM STDIN (FORMAT BINARY);

-- name: page_assets
-- One page by ordinal: no filter that the index does not serve.
SELECT ordinal, sha256, path, width, height, size_bytes, format, label_state, external_id, metadata,
       CASE WHEN :annotations THEN annotations END AS annotations
FROM version_asset
WHERE version_id = :version_id AND ordinal > :after
ORDER BY ordinal
LIMIT :limit;

-- name: get_assets
-- By ordinals, one look at the key for each. Right after a commit Postgres expects a version to have hardly any images,
-- and would as soon go over all of them: BETWEEN, ORDER BY and LIMIT leave the key alone to look an image up by.
SELECT ordinal, sha256, path, width, height, size_bytes, format, label_state, external_id, metadata,
       CASE WHEN :annotations THEN annotations END AS annotations
FROM unnest(:ordinals::int[]) AS w (place)
CROSS JOIN LATERAL (SELECT * FROM version_asset WHERE version_id = :version_id AND ordinal BETWEEN place AND place ORDER BY ordinal LIMIT 1) AS a
ORDER BY ordinal;

-- name: search_assets
-- One page by ordinal of the images that match. :chosen, when given, has a bit for each ordinal, the lowest bit of a
-- byte first.
SELECT ordinal, sha256, path, width, height, size_bytes, format, label_state, external_id, metadata,
       CASE WHEN :annotations THEN annotations END AS annotations
FROM version_asset
WHERE version_id = :version_id AND ordinal > :after
  AND starts_with(path, :path_prefix) AND metadata @> :metadata
  AND (:chosen::bytea IS NULL OR get_bit(:chosen::bytea, ordinal) = 1)
ORDER BY ordinal
LIMIT :limit;

-- name: dataset_holds
-- Whether any version of a dataset has this content.
SELECT 1 AS found FROM version_asset JOIN version USING (version_id) WHERE dataset_id = :dataset_id AND sha256 = :sha256 LIMIT 1;

-- name: list_paths
-- Of all images of a version, by ordinal.
SELECT path FROM version_asset WHERE version_id = :version_id ORDER BY ordinal;

-- name: list_metadata
-- What all images of a version have under one key, by ordinal.
SELECT coalesce(metadata ->> :key, '') AS value FROM version_asset WHERE version_id = :version_id ORDER BY ordinal;

-- name: find_by_sha256
-- Images of a version by their contents.
SELECT sha256 AS value, ordinal FROM version_asset WHERE version_id = :version_id AND sha256 = ANY(:values::bytea[]);

-- name: find_by_external_id
-- Images of a version by what callers call them.
SELECT external_id AS value, ordinal FROM version_asset WHERE version_id = :version_id AND external_id = ANY(:values::text[]);

-- name: find_by_path
-- Images of a version by their paths.
SELECT path AS value, ordinal FROM version_asset WHERE version_id = :version_id AND path = ANY(:values::text[]);
