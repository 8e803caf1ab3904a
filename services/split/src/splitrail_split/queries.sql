-- Every query takes :scope, the projects in which the caller may act (NULL: all), or the id of what a scoped query has found.

-- name: project_exists
SELECT 1 AS found FROM project WHERE project_id = :project_id;

-- name: get_dataset
SELECT dataset_id::text, project_id, name, task, external_id, labels, create_time,
       (SELECT coalesce(max(number), 0) FROM version v WHERE v.dataset_id = dataset.dataset_id) AS latest_version
FROM dataset
WHERE dataset_id = :dataset_id AND (:scope::text[] IS NULL OR project_id = ANY(:scope));

-- name: find_dataset
SELECT dataset_id::text, project_id, name, task, external_id, labels, create_time,
       (SELECT coalesce(max(number), 0) FROM version v WHERE v.dataset_id = dataset.dataset_id) AS latest_version
FROM dataset
WHERE project_id = :project_id AND name = :name AND (:scope::text[] IS NULL OR project_id = ANY(:scope));

-- name: list_datasets
SELECT dataset_id::text, project_id, name, task, external_id, labels, create_time,
       (SELECT coalesce(max(number), 0) FROM version v WHERE v.dataset_id = dataset.dataset_id) AS latest_version
FROM dataset
WHERE (:scope::text[] IS NULL OR project_id = ANY(:scope))
  AND (:project_id = '' OR project_id = :project_id)
  AND (:name = '' OR name = :name)
  AND (:external_id = '' OR external_id = :external_id)
  AND (:before::uuid IS NULL OR dataset_id < :before)
ORDER BY dataset_id DESC
LIMIT :limit;

-- name: insert_dataset!
-- Loses to another import that makes the same dataset: lock_dataset then finds that one.
INSERT INTO dataset (dataset_id, project_id, name, task)
VALUES (:dataset_id, :project_id, :name, :task)
ON CONFLICT ON CONSTRAINT dataset_name_unique DO NOTHING;

-- name: lock_dataset
-- Whoever adds a version holds this row, so that numbers have neither gaps nor doubles.
SELECT dataset_id::text, task, latest_version, next_class_id
FROM dataset
WHERE project_id = :project_id AND name = :name
FOR UPDATE;

-- name: get_version
-- A version, or a draft that is not one yet (state 1).
SELECT version_id::text, v.dataset_id::text, v.project_id, d.name AS dataset_name, number, state, class_names, image_count, object_count,
       empty_count, unlabelled_count, problem_count, class_images, class_objects, digest, commit_time, current_split_id::text, class_ids,
       base_version_id::text, coalesce(report->'flip_idx', '[]') AS flip_idx
FROM version v JOIN dataset d USING (dataset_id)
WHERE version_id = :version_id AND (:scope::text[] IS NULL OR v.project_id = ANY(:scope))
UNION ALL
SELECT version_id::text, v.dataset_id::text, v.project_id, d.name, 0, 1, class_names, image_count, object_count,
       empty_count, unlabelled_count, 0, class_images, class_objects, '', NULL, NULL, class_ids, base_version_id::text, '[]'
FROM draft v JOIN dataset d USING (dataset_id)
WHERE version_id = :version_id AND committed_version_id IS NULL AND (:scope::text[] IS NULL OR v.project_id = ANY(:scope));

-- name: find_version
-- By number; number 0 finds the newest committed one (state 2).
SELECT version_id::text, v.dataset_id::text, v.project_id, d.name AS dataset_name, number, state, class_names, image_count, object_count,
       empty_count, unlabelled_count, problem_count, class_images, class_objects, digest, commit_time, current_split_id::text, class_ids,
       base_version_id::text, coalesce(report->'flip_idx', '[]') AS flip_idx
FROM version v JOIN dataset d USING (dataset_id)
WHERE v.dataset_id = :dataset_id
  AND CASE WHEN :number = 0 THEN state = 2 ELSE number = :number END
ORDER BY number DESC
LIMIT 1;

-- name: version_holds
-- Whether a version has these images under these paths with this metadata, and (unless it is NULL) this split as a revision.
SELECT NOT EXISTS (
    SELECT FROM unnest(:paths::text[], :contents::bytea[], :metadata::jsonb[]) AS n (path, sha256, metadata)
    LEFT JOIN version_asset a ON a.version_id = :version_id AND a.path = n.path
    WHERE (a.sha256, a.metadata) IS DISTINCT FROM (n.sha256, n.metadata)
) AND (:split_digest::text IS NULL OR EXISTS (SELECT FROM split_revision WHERE version_id = :version_id AND digest = :split_digest)) AS holds;

-- name: any_given_by_callers
-- A row if a version may know of an image what a source does not say.
SELECT 1 FROM version_asset WHERE version_id = :version_id AND (external_id <> '' OR metadata <> '{}') LIMIT 1;

-- name: given_by_callers
-- Of how many of these images a version knows an external_id, which no source can give, or metadata of other keys than these.
SELECT count(*) AS images
FROM unnest(:paths::text[], :metadata::jsonb[]) AS n (path, metadata)
JOIN version_asset a ON a.version_id = :version_id AND a.path = n.path
WHERE a.external_id <> '' OR NOT n.metadata ?& ARRAY(SELECT jsonb_object_keys(a.metadata));

-- name: list_versions
SELECT version_id::text, v.dataset_id::text, v.project_id, d.name AS dataset_name, number, state, class_names, image_count, object_count,
       empty_count, unlabelled_count, problem_count, class_images, class_objects, digest, commit_time, current_split_id::text, class_ids,
       base_version_id::text, coalesce(report->'flip_idx', '[]') AS flip_idx
FROM version v JOIN dataset d USING (dataset_id)
WHERE v.dataset_id = :dataset_id AND (:before::int IS NULL OR number < :before)
ORDER BY number DESC
LIMIT :limit;

-- name: insert_version!
-- A draft cannot change which keypoints a mirrored image exchanges: its version has that from the base.
INSERT INTO version (version_id, dataset_id, project_id, number, state, class_names, image_count, object_count, empty_count, unlabelled_count,
                     problem_count, class_images, class_objects, digest, report, commit_time, class_ids, base_version_id)
VALUES (:version_id, :dataset_id, :project_id, :number, 2, :class_names, :image_count, :object_count, :empty_count, :unlabelled_count,
        :problem_count, :class_images, :class_objects, :digest,
        :report::jsonb || coalesce(
            (SELECT jsonb_build_object('flip_idx', report->'flip_idx') FROM version WHERE version_id = :base_version_id AND report ? 'flip_idx'), '{}'
        ),
        now(), :class_ids, :base_version_id);

-- name: set_latest_version!
UPDATE dataset SET latest_version = :number, next_class_id = :next_class_id WHERE dataset_id = :dataset_id;

-- name: class_ids_by_name
-- The stable id that each class name last had in a version of the dataset.
SELECT DISTINCT ON (name) name, class_id
FROM version, unnest(class_names, class_ids) AS c (name, class_id)
WHERE dataset_id = :dataset_id AND name = ANY(:names)
ORDER BY name, number DESC;

-- name: insert_array!
INSERT INTO version_array (version_id, name, data) VALUES (:version_id, :name, :data);

-- name: get_array
SELECT data FROM version_array WHERE version_id = :version_id AND name = :name;

-- name: copy_version_assets!
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
-- One look at the key for each, as in get_annotations and for its reason.
SELECT ordinal, sha256, path, width, height, size_bytes, format, label_state, external_id, metadata,
       CASE WHEN :annotations THEN annotations END AS annotations
FROM unnest(:ordinals::int[]) AS w (place)
CROSS JOIN LATERAL (SELECT * FROM version_asset WHERE version_id = :version_id AND ordinal BETWEEN place AND place ORDER BY ordinal LIMIT 1) AS a
ORDER BY ordinal;

-- name: search_assets
-- One page by ordinal of the images that match. :chosen, when given, has a bit for each ordinal, the lowest bit of a byte first.
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

-- name: known_assets
-- Which of these contents the project holds.
SELECT sha256, width, height, size_bytes, format, perceptual_hash FROM asset WHERE project_id = :project_id AND sha256 = ANY(:contents);

-- name: insert_assets!
-- A project with assets is swept.
WITH swept AS (INSERT INTO asset_sweep (project_id) VALUES (:project_id) ON CONFLICT DO NOTHING)
INSERT INTO asset (project_id, sha256, size_bytes, width, height, format, perceptual_hash)
SELECT :project_id, *
FROM unnest(:contents::bytea[], :sizes::bigint[], :widths::int[], :heights::int[], :formats::text[], :perceptual_hashes::bigint[])
ON CONFLICT DO NOTHING;

-- name: get_split
SELECT split_id::text, version_id::text, s.dataset_id::text, s.project_id, d.name AS dataset_name, v.number AS version_number, s.number, parameters,
       algorithm_version, s.digest, part_digests, certificate, s.create_time, s.request_id
FROM split_revision s JOIN version v USING (version_id) JOIN dataset d ON d.dataset_id = s.dataset_id
WHERE split_id = :split_id AND (:scope::text[] IS NULL OR s.project_id = ANY(:scope));

-- name: find_split_by_number
SELECT split_id::text FROM split_revision WHERE version_id = :version_id AND number = :number;

-- name: find_split_by_request
SELECT split_id::text FROM split_revision WHERE project_id = :project_id AND request_id = :request_id;

-- name: list_splits
SELECT split_id::text, version_id::text, s.dataset_id::text, s.project_id, d.name AS dataset_name, v.number AS version_number, s.number, parameters,
       algorithm_version, s.digest, part_digests, certificate, s.create_time, s.request_id
FROM split_revision s JOIN version v USING (version_id) JOIN dataset d ON d.dataset_id = s.dataset_id
WHERE version_id = :version_id AND (:before::int IS NULL OR s.number < :before)
ORDER BY s.number DESC
LIMIT :limit;

-- name: next_split_number
UPDATE version SET latest_split = latest_split + 1 WHERE version_id = :version_id RETURNING latest_split, dataset_id::text, project_id, current_split_id::text;

-- name: insert_split!
INSERT INTO split_revision (split_id, version_id, dataset_id, project_id, number, request_id, parameters, algorithm_version, vector, digest,
                            part_digests, certificate)
VALUES (:split_id, :version_id, :dataset_id, :project_id, :number, :request_id, :parameters, :algorithm_version, :vector, :digest,
        :part_digests, :certificate);

-- name: set_current_split!
UPDATE version SET current_split_id = :split_id WHERE version_id = :version_id;

-- name: get_vector
SELECT vector FROM split_revision WHERE split_id = :split_id;

-- name: lock_version_of_split
-- Before a revision is deleted: two deletions at once must not make each other's revision the current one.
SELECT version_id FROM version
WHERE version_id = (SELECT version_id FROM split_revision WHERE split_id = :split_id AND (:scope::text[] IS NULL OR project_id = ANY(:scope)))
FOR NO KEY UPDATE;

-- name: lock_split
SELECT version_id::text FROM split_revision
WHERE split_id = :split_id AND (:scope::text[] IS NULL OR project_id = ANY(:scope))
FOR UPDATE;

-- name: pins_of_split
SELECT job_id::text FROM split_pin WHERE split_id = :split_id ORDER BY create_time, job_id LIMIT 1;

-- name: insert_pin!
INSERT INTO split_pin (split_id, job_id) VALUES (:split_id, :job_id) ON CONFLICT DO NOTHING;

-- name: repoint_current_split!
-- Before a revision goes: the newest other one becomes the current one.
UPDATE version SET current_split_id = (
    SELECT split_id FROM split_revision WHERE version_id = :version_id AND split_id <> :split_id ORDER BY number DESC LIMIT 1
)
WHERE version_id = :version_id AND current_split_id = :split_id;

-- name: delete_split!
DELETE FROM split_revision WHERE split_id = :split_id;

-- name: insert_import
-- No row: the request_id is that of an import that has not failed.
INSERT INTO import (import_id, project_id, request_id, dataset_name, task, state)
VALUES (:import_id, :project_id, :request_id, :dataset_name, :task, 1)
ON CONFLICT (project_id, request_id) WHERE request_id <> '' AND state <> 5 DO NOTHING
RETURNING import_id::text;

-- name: find_import_by_request
SELECT import_id::text FROM import WHERE project_id = :project_id AND request_id = :request_id AND state <> 5;

-- name: get_import
SELECT import_id::text, project_id, dataset_name, task, state, format, strict, dry_run, file_count, image_count, processed_count, excluded_count,
       problem_count, note_count, failure, version_id::text, create_time
FROM import
WHERE import_id = :import_id AND (:scope::text[] IS NULL OR project_id = ANY(:scope));

-- name: lock_open_import
SELECT import_id FROM import WHERE import_id = :import_id AND state = 1 FOR UPDATE;

-- name: put_files!
-- xmax is 0 in rows that are new: counting all of an import's at each of its pages would take time in the square of them.
WITH put AS (
    INSERT INTO import_file (import_id, path, sha256, size_bytes, is_image)
    SELECT :import_id, * FROM unnest(:paths::text[], :contents::bytea[], :sizes::bigint[], :images::boolean[])
    ON CONFLICT (import_id, path) DO UPDATE SET sha256 = EXCLUDED.sha256, size_bytes = EXCLUDED.size_bytes
    RETURNING xmax = 0 AS is_new, is_image
)
UPDATE import SET
    file_count = file_count + (SELECT count(*) FROM put WHERE is_new),
    image_count = image_count + (SELECT count(*) FROM put WHERE is_new AND is_image)
WHERE import_id = :import_id;

-- name: put_contents!
INSERT INTO import_content (import_id, sha256, content) SELECT :import_id, * FROM unnest(:hashes::bytea[], :contents::bytea[])
ON CONFLICT DO NOTHING;

-- name: put_members!
INSERT INTO import_member (import_id, sha256) SELECT :import_id, unnest(:contents::bytea[]) ON CONFLICT DO NOTHING;

-- name: came_along
SELECT sha256 FROM import_content WHERE import_id = :import_id AND sha256 = ANY(:contents);

-- name: read_contents
SELECT sha256, content FROM import_content WHERE import_id = :import_id AND sha256 = ANY(:contents);

-- name: list_files
SELECT path, sha256, size_bytes, is_image FROM import_file WHERE import_id = :import_id ORDER BY path;

-- name: queue_import!
UPDATE import SET state = 2, format = :format, strict = :strict, dry_run = :dry_run, start_time = now()
WHERE import_id = :import_id AND state = 1;

-- name: claim_import
-- The longest-waiting import that is queued, or that nobody works on any more.
UPDATE import SET state = 3, lease_owner = :owner, lease_until = now() + :lease, claims = claims + 1
WHERE import_id = (
    SELECT import_id FROM import
    WHERE (state = 2 AND (not_before IS NULL OR not_before <= now())) OR (state = 3 AND lease_until < now())
    ORDER BY start_time
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING import_id::text, project_id, dataset_name, task, format, strict, dry_run, image_count, claims;

-- name: renew_lease
UPDATE import SET lease_until = now() + :lease WHERE import_id = :import_id AND lease_owner = :owner AND state = 3 RETURNING 1 AS renewed;

-- name: release_import!
-- Back into the queue: the service ends (the claim is not counted), or a store does not answer.
UPDATE import SET state = 2, lease_owner = NULL, lease_until = NULL, claims = claims - :uncounted, not_before = now() + :delay
WHERE import_id = :import_id AND lease_owner = :owner AND state = 3;

-- name: set_processed!
UPDATE import SET processed_count = :processed WHERE import_id = :import_id AND lease_owner = :owner AND state = 3;

-- name: set_source!
-- What an archive turned out to hold, or a format that only the content of the files tells.
UPDATE import SET format = :format, file_count = :file_count, image_count = :image_count
WHERE import_id = :import_id AND lease_owner = :owner AND state = 3;

-- name: lock_own_import
SELECT 1 AS own FROM import WHERE import_id = :import_id AND lease_owner = :owner AND state = 3 FOR UPDATE;

-- name: end_import!
UPDATE import SET state = :state, failure = :failure, version_id = :version_id, problem_count = :problem_count, note_count = :note_count,
       excluded_count = :excluded_count, processed_count = image_count, end_time = now(), lease_owner = NULL, lease_until = NULL,
       -- The import that follows a dry run need not upload again.
       unstage_after = now() + CASE WHEN dry_run THEN interval '1 day' ELSE interval '0' END
WHERE import_id = :import_id;

-- name: abandon_imports!
-- Opened and never started.
UPDATE import SET state = 5, failure = :failure, end_time = now(), unstage_after = now() WHERE state = 1 AND create_time < now() - :age::interval;

-- name: claim_unstaging
-- An ended import whose staged bytes are to be removed. Should the process die meanwhile, another one does it a minute later.
UPDATE import SET unstage_after = now() + interval '1 minute'
WHERE import_id = (
    SELECT import_id FROM import WHERE unstage_after <= now() ORDER BY unstage_after LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING import_id::text, project_id;

-- name: end_unstaging!
-- The files and what came with them have served their purpose with that.
WITH files AS (DELETE FROM import_file WHERE import_id = :import_id),
     contents AS (DELETE FROM import_content WHERE import_id = :import_id),
     members AS (DELETE FROM import_member WHERE import_id = :import_id)
UPDATE import SET unstage_after = NULL WHERE import_id = :import_id;

-- name: copy_problems!
COPY import_problem (import_id, number, path, line, object, code, message, image_excluded, note) FROM STDIN (FORMAT BINARY);

-- name: list_problems
SELECT number, path, line, object, code, message, image_excluded, note
FROM import_problem
WHERE import_id = :import_id AND number > :after
ORDER BY number
LIMIT :limit;

-- name: lock_staging
-- Held while staged bytes are looked at and removed, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('staging/' || :project_id, 0)) IS NULL AS locked;

-- name: pass_staging
-- Waits for removals that may not have seen what was announced just before.
SELECT pg_advisory_xact_lock_shared(hashtextextended('staging/' || :project_id, 0)) IS NULL AS passed;

-- name: still_announced
-- Which of these contents unfinished imports of the project count on.
SELECT DISTINCT f.sha256
FROM import_file f JOIN import i USING (import_id)
WHERE i.project_id = :project_id AND i.state IN (1, 2, 3) AND f.sha256 = ANY(:contents);

-- name: announced_before
-- Which of these contents callers were ever told to upload, as far as their bytes may still be staged.
SELECT f.sha256 FROM import_file f JOIN import i USING (import_id) WHERE f.sha256 = ANY(:contents) AND i.project_id = :project_id
UNION
SELECT sha256 FROM content_hold WHERE project_id = :project_id AND sha256 = ANY(:contents);

-- name: still_held
-- Which of these contents callers were promised to find.
SELECT sha256 FROM content_hold WHERE project_id = :project_id AND sha256 = ANY(:contents) AND until > clock_timestamp();

-- name: list_paths
SELECT path FROM version_asset WHERE version_id = :version_id ORDER BY ordinal;

-- name: list_metadata
SELECT coalesce(metadata ->> :key, '') AS value FROM version_asset WHERE version_id = :version_id ORDER BY ordinal;

-- name: find_by_sha256
SELECT sha256 AS value, ordinal FROM version_asset WHERE version_id = :version_id AND sha256 = ANY(:values::bytea[]);

-- name: find_by_external_id
SELECT external_id AS value, ordinal FROM version_asset WHERE version_id = :version_id AND external_id = ANY(:values::text[]);

-- name: find_by_path
SELECT path AS value, ordinal FROM version_asset WHERE version_id = :version_id AND path = ANY(:values::text[]);

-- name: hold_contents!
-- In one order, so that two calls do not wait for each other.
INSERT INTO content_hold (project_id, sha256, until)
SELECT :project_id, sha256, now() + :lifetime FROM unnest(:contents::bytea[]) AS c (sha256) ORDER BY sha256
ON CONFLICT (project_id, sha256) DO UPDATE SET until = GREATEST(content_hold.until, EXCLUDED.until);

-- name: project_of_expired_hold
SELECT project_id FROM content_hold WHERE until <= now() ORDER BY until LIMIT 1;

-- name: lock_expired_holds
SELECT sha256 FROM content_hold WHERE project_id = :project_id AND until <= now() ORDER BY sha256 LIMIT :limit FOR UPDATE;

-- name: delete_holds!
DELETE FROM content_hold WHERE project_id = :project_id AND sha256 = ANY(:contents);

-- name: request_sweep!
-- Something that named contents is gone. A walk that is under way may have passed them: another one follows it.
INSERT INTO asset_sweep (project_id, due_time) VALUES (:project_id, now())
ON CONFLICT (project_id) DO UPDATE SET due_time = LEAST(asset_sweep.due_time, now());

-- name: claim_sweep
-- A project whose assets are to be walked over, from where the last step ended. A walk that begins sets the time of the next one.
UPDATE asset_sweep SET claimed_until = now() + interval '1 minute', after = coalesce(after, ''),
       due_time = CASE WHEN after IS NULL THEN now() + interval '1 day' ELSE due_time END
WHERE project_id = (
    SELECT project_id FROM asset_sweep
    WHERE claimed_until <= now() AND (after IS NOT NULL OR due_time <= now())
    ORDER BY due_time
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING project_id, after;

-- name: advance_sweep!
UPDATE asset_sweep SET after = :after, claimed_until = '-infinity' WHERE project_id = :project_id;

-- name: unnamed_contents
-- Which of these contents no version, draft, unfinished import or promise names.
SELECT c.sha256
FROM unnest(:contents::bytea[]) AS c (sha256)
WHERE NOT EXISTS (SELECT 1 FROM version_asset a JOIN version v USING (version_id) WHERE a.sha256 = c.sha256 AND v.project_id = :project_id)
  AND NOT EXISTS (
    SELECT 1 FROM draft_asset a JOIN draft d USING (version_id) WHERE a.sha256 = c.sha256 AND NOT a.removed AND d.project_id = :project_id
  )
  AND NOT EXISTS (
    SELECT 1 FROM import_file f JOIN import i USING (import_id) WHERE f.sha256 = c.sha256 AND i.project_id = :project_id AND i.state IN (1, 2, 3)
  )
  AND NOT EXISTS (
    SELECT 1 FROM import_member m JOIN import i USING (import_id) WHERE m.sha256 = c.sha256 AND i.project_id = :project_id AND i.state IN (1, 2, 3)
  )
  AND NOT EXISTS (SELECT 1 FROM content_hold h WHERE h.sha256 = c.sha256 AND h.project_id = :project_id AND h.until > clock_timestamp());

-- name: delete_assets!
-- Young ones stay: those of an import that was refused need not be uploaded again.
DELETE FROM asset WHERE project_id = :project_id AND sha256 = ANY(:contents) AND create_time <= now() - :grace::interval;

-- name: create_dataset!
INSERT INTO dataset (dataset_id, project_id, name, task, external_id, labels, request_id)
VALUES (:dataset_id, :project_id, :name, :task, :external_id, :labels, :request_id);

-- name: find_dataset_by_request
SELECT dataset_id::text FROM dataset WHERE project_id = :project_id AND request_id = :request_id;

-- name: lock_dataset_by_id
-- As lock_dataset, without keeping others from splitting its versions.
SELECT dataset_id::text, project_id, next_class_id, latest_version
FROM dataset
WHERE dataset_id = :dataset_id AND (:scope::text[] IS NULL OR project_id = ANY(:scope))
FOR NO KEY UPDATE;

-- name: set_next_class_id!
UPDATE dataset SET next_class_id = :next_class_id WHERE dataset_id = :dataset_id;

-- name: delete_dataset!
DELETE FROM dataset WHERE dataset_id = :dataset_id;

-- name: lock_versions
-- All versions of a dataset, or one.
SELECT version_id::text FROM version
WHERE dataset_id = :dataset_id AND (:version_id::uuid IS NULL OR version_id = :version_id)
ORDER BY version_id
FOR UPDATE;

-- name: lock_splits_of_versions
-- Nobody pins one of them meanwhile.
SELECT split_id FROM split_revision WHERE version_id = ANY(:version_ids::uuid[]) ORDER BY split_id FOR UPDATE;

-- name: pin_of_versions
SELECT job_id::text FROM split_pin p JOIN split_revision s USING (split_id)
WHERE version_id = ANY(:version_ids::uuid[])
ORDER BY p.create_time, job_id
LIMIT 1;

-- name: draft_of_version
SELECT version_id::text FROM draft WHERE base_version_id = :version_id AND committed_version_id IS NULL ORDER BY version_id LIMIT 1;

-- name: forget_requests_of_versions!
-- Whoever imports the source of a deleted version, or of a deleted split, again is to get another one, not the import that has lost it.
UPDATE import SET request_id = '' WHERE version_id = ANY(:version_ids::uuid[]);

-- name: delete_versions!
DELETE FROM version WHERE version_id = ANY(:version_ids::uuid[]);

-- name: lock_base
-- It is not deleted while a draft is begun with it.
SELECT version_id::text FROM version WHERE version_id = :version_id AND dataset_id = :dataset_id FOR KEY SHARE;

-- name: insert_draft
-- No row: the request_id is that of another draft.
INSERT INTO draft (version_id, dataset_id, project_id, base_version_id, request_id, class_names, class_ids, class_targets, image_count, object_count,
                   empty_count, unlabelled_count, class_images, class_objects)
VALUES (:version_id, :dataset_id, :project_id, :base_version_id, :request_id, :class_names, :class_ids, :class_targets, :image_count, :object_count,
        :empty_count, :unlabelled_count, :class_images, :class_objects)
ON CONFLICT (project_id, request_id) WHERE request_id <> '' DO NOTHING
RETURNING version_id::text;

-- name: find_draft_by_request
SELECT version_id::text, dataset_id::text, base_version_id::text, committed_version_id::text
FROM draft
WHERE project_id = :project_id AND request_id = :request_id;

-- name: get_draft
SELECT version_id::text, r.dataset_id::text, r.project_id, d.name AS dataset_name, d.task, base_version_id::text, class_names, class_ids, class_targets,
       image_count, object_count, empty_count, unlabelled_count, class_images, class_objects, change_count, next_position, r.create_time,
       committed_version_id::text
FROM draft r JOIN dataset d USING (dataset_id)
WHERE version_id = :version_id AND (:scope::text[] IS NULL OR r.project_id = ANY(:scope));

-- name: lock_draft
-- Whoever changes or commits a draft holds this row.
SELECT version_id::text, r.dataset_id::text, r.project_id, d.name AS dataset_name, d.task, base_version_id::text, class_names, class_ids, class_targets,
       image_count, object_count, empty_count, unlabelled_count, class_images, class_objects, change_count, next_position, r.create_time,
       committed_version_id::text
FROM draft r JOIN dataset d USING (dataset_id)
WHERE version_id = :version_id AND (:scope::text[] IS NULL OR r.project_id = ANY(:scope))
FOR UPDATE OF r;

-- name: list_drafts
SELECT version_id::text, r.dataset_id::text, r.project_id, d.name AS dataset_name, d.task, base_version_id::text, class_names, class_ids, class_targets,
       image_count, object_count, empty_count, unlabelled_count, class_images, class_objects, change_count, next_position, r.create_time,
       committed_version_id::text
FROM draft r JOIN dataset d USING (dataset_id)
WHERE r.dataset_id = :dataset_id AND committed_version_id IS NULL AND (:before::uuid IS NULL OR version_id < :before)
ORDER BY version_id DESC
LIMIT :limit;

-- name: set_draft_counts!
UPDATE draft SET image_count = :image_count, object_count = :object_count, empty_count = :empty_count, unlabelled_count = :unlabelled_count,
       class_images = :class_images, class_objects = :class_objects, next_position = :next_position, change_count = change_count + 1
WHERE version_id = :version_id;

-- name: set_draft_classes!
UPDATE draft SET class_names = :class_names, class_ids = :class_ids, class_targets = :class_targets, class_images = :class_images,
       class_objects = :class_objects, change_count = change_count + 1
WHERE version_id = :version_id;

-- name: delete_draft!
DELETE FROM draft WHERE version_id = :version_id;

-- name: delete_drafts_of_dataset!
DELETE FROM draft WHERE dataset_id = :dataset_id;

-- name: find_in_draft
-- The images of a draft, as it stands, that have one of these external_ids, paths or contents. A search for each, which an index serves.
SELECT base_ordinal, position, external_id, path, sha256, label_state, annotations, metadata
FROM draft_asset
WHERE version_id = :version_id AND position IN (
    SELECT position FROM draft_asset
    WHERE version_id = :version_id AND external_id = ANY(:external_ids::text[]) AND external_id <> '' AND NOT removed
    UNION SELECT position FROM draft_asset WHERE version_id = :version_id AND path = ANY(:paths::text[]) AND NOT removed
    UNION SELECT position FROM draft_asset WHERE version_id = :version_id AND sha256 = ANY(:contents::bytea[]) AND NOT removed
)
UNION ALL
SELECT ordinal, NULL, external_id, path, sha256, label_state, annotations, metadata
FROM version_asset b
WHERE version_id = :base_version_id AND ordinal IN (
    SELECT ordinal FROM version_asset
    WHERE version_id = :base_version_id AND external_id = ANY(:external_ids::text[]) AND external_id <> ''
    UNION SELECT ordinal FROM version_asset WHERE version_id = :base_version_id AND path = ANY(:paths::text[])
    UNION SELECT ordinal FROM version_asset WHERE version_id = :base_version_id AND sha256 = ANY(:contents::bytea[])
) AND NOT EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal);

-- name: sample_of_draft
-- State 3 is LABELLED.
SELECT annotations FROM draft_asset WHERE version_id = :version_id AND NOT removed AND label_state = 3
UNION ALL
SELECT annotations FROM version_asset b
WHERE version_id = :base_version_id AND label_state = 3
  AND NOT EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal)
LIMIT 1;

-- name: delete_draft_assets!
DELETE FROM draft_asset WHERE version_id = :version_id AND position = ANY(:positions::int[]);

-- name: copy_draft_assets!
COPY draft_asset (version_id, position, base_ordinal, removed, sha256, path, external_id, label_state, annotations, metadata)
FROM STDIN (FORMAT BINARY);

-- name: get_draft_assets
-- Under their positions.
SELECT position AS ordinal, d.sha256, path, a.width, a.height, a.size_bytes, a.format, label_state, external_id, metadata,
       CASE WHEN :annotations THEN annotations END AS annotations
FROM draft_asset d JOIN asset a ON a.sha256 = d.sha256 AND a.project_id = :project_id
WHERE version_id = :version_id AND position = ANY(:positions::int[]);

-- name: begin_snapshot!
-- First in a transaction: what it reads is of one moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: expect_many!
-- Right after a commit Postgres expects a version to have hardly any images: what joins versions could go over all of one for each image of the other.
SET LOCAL enable_nestloop = off;

-- name: get_annotations
-- Annotations of images one behind the other, in the order of :places, and the length of each: much less work than a row an image. A place is an
-- ordinal of :images_of, or -1 - position for what the draft :draft_id has itself. Right after a commit Postgres expects a version to have hardly any
-- images, and would as soon go over all its paths: BETWEEN, ORDER BY and LIMIT leave the key alone to look an image up by.
SELECT coalesce(string_agg(annotations, '' ORDER BY number), '') AS data,
       coalesce(array_agg(octet_length(annotations) ORDER BY number), '{}') AS lengths
FROM (
    SELECT number, annotations
    FROM unnest(:places::int[]) WITH ORDINALITY AS w (place, number)
    CROSS JOIN LATERAL (
        SELECT annotations FROM version_asset WHERE version_id = :images_of AND ordinal BETWEEN place AND place ORDER BY ordinal LIMIT 1
    ) AS b
    UNION ALL
    SELECT number, annotations
    FROM unnest(:places::int[]) WITH ORDINALITY AS w (place, number)
    JOIN draft_asset ON version_id = :draft_id AND position = -1 - place
) AS found;

-- name: create_recoded!
-- What a commit changes of annotations besides what callers have changed; places as in get_annotations.
CREATE TEMP TABLE recoded (place int NOT NULL, annotations bytea NOT NULL) ON COMMIT DROP;

-- name: insert_recoded!
INSERT INTO recoded (place, annotations)
SELECT place, substring(:data::bytea FROM first + 1 FOR size) FROM unnest(:places::int[], :firsts::int[], :sizes::int[]) AS r (place, first, size);

-- name: list_draft_rows
-- In the order of a commit: first those that stand for images of the base, then the new ones. `moves`: it can change which frame follows another one.
-- The base as in get_annotations.
SELECT position, base_ordinal, removed, d.sha256, d.path, coalesce(d.metadata ->> :sequence, '') AS sequence, d.annotations, d.label_state,
       coalesce(a.perceptual_hash, 0) AS perceptual_hash,
       removed OR b.ordinal IS NULL OR d.path <> b.path OR coalesce(d.metadata ->> :sequence, '') <> coalesce(b.metadata ->> :sequence, '') AS moves
FROM draft_asset d
LEFT JOIN asset a ON a.sha256 = d.sha256 AND a.project_id = :project_id
LEFT JOIN LATERAL (
    SELECT ordinal, path, metadata FROM version_asset
    WHERE version_id = :base_version_id AND ordinal BETWEEN d.base_ordinal AND d.base_ordinal
    ORDER BY ordinal
    LIMIT 1
) AS b ON true
WHERE d.version_id = :version_id
ORDER BY base_ordinal NULLS LAST, d.path;

-- name: list_frames
-- What tells the frames of a version's videos, by ordinal.
SELECT coalesce(array_agg(path ORDER BY ordinal), '{}') AS paths, coalesce(array_agg(coalesce(metadata ->> :sequence, '') ORDER BY ordinal), '{}') AS sequences
FROM version_asset
WHERE version_id = :version_id;

-- name: insert_kept_assets!
-- Images of a draft that are as its base has them, in their order: each moves up by the images before it that are removed.
INSERT INTO version_asset (version_id, ordinal, sha256, path, width, height, size_bytes, format, label_state, annotations, external_id, metadata)
SELECT :version_id, ordinal - width_bucket(ordinal, :removed::int[]), sha256, path, width, height, size_bytes, format, label_state,
       coalesce(r.annotations, b.annotations), external_id, metadata
FROM version_asset b LEFT JOIN recoded r ON r.place = b.ordinal
WHERE version_id = :base_version_id
  AND NOT EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal)
ORDER BY ordinal;

-- name: insert_own_assets!
-- The other images of a draft: in the place of the one that each stands for, new ones by path behind the :kept images of the base.
INSERT INTO version_asset (version_id, ordinal, sha256, path, width, height, size_bytes, format, label_state, annotations, external_id, metadata)
SELECT :version_id,
       coalesce(base_ordinal - width_bucket(base_ordinal, :removed::int[]), :kept + row_number() OVER (PARTITION BY base_ordinal IS NULL ORDER BY path) - 1),
       d.sha256, path, a.width, a.height, a.size_bytes, a.format, label_state, coalesce(r.annotations, d.annotations), external_id, metadata
FROM draft_asset d
JOIN asset a ON a.sha256 = d.sha256 AND a.project_id = :project_id
LEFT JOIN recoded r ON r.place = -1 - d.position
WHERE version_id = :version_id AND NOT removed;

-- name: end_draft!
WITH done AS (DELETE FROM draft_asset WHERE version_id = :version_id)
UPDATE draft SET committed_version_id = :committed_version_id WHERE version_id = :version_id;

-- name: diff_images
-- Images in which two versions differ, packed: for each one its place in the first, in the second (-2^31: it is not there), and a bit for each field
-- that differs, as three int4. A place is an ordinal of :images_of, or -1 - position for what the draft :version_id has itself.
-- With :within_base, the second is the draft's base: what the draft leaves as it is need not be read. With :every, images come too that are in both and
-- do not differ.
WITH ours AS (
    SELECT -1 - position AS place, external_id, sha256, path, label_state, sha256(annotations) AS annotation, metadata
    FROM draft_asset
    WHERE version_id = :version_id AND NOT removed
    UNION ALL
    SELECT ordinal, external_id, sha256, path, label_state, sha256(annotations), metadata
    FROM version_asset b
    WHERE version_id = :images_of AND NOT :within_base::boolean
      AND NOT EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal)
), theirs AS (
    SELECT ordinal AS place, external_id, sha256, path, label_state, sha256(annotations) AS annotation, metadata
    FROM version_asset b
    WHERE version_id = :other_version_id
      AND (NOT :within_base::boolean OR EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal))
), known AS (
    SELECT external_id FROM ours JOIN theirs USING (external_id) WHERE external_id <> ''
), pairs AS (
    SELECT o.place AS our_place, t.place AS their_place,
           (o.sha256 <> t.sha256)::int | ((o.path <> t.path)::int << 1) | ((o.label_state <> t.label_state)::int << 3)
           | ((o.annotation <> t.annotation)::int << 4) | ((o.metadata <> t.metadata)::int << 5) AS fields
    FROM ours o JOIN theirs t USING (external_id)
    WHERE external_id <> ''
    UNION ALL
    SELECT o.place, t.place,
           ((o.path <> t.path)::int << 1) | ((o.external_id <> t.external_id)::int << 2) | ((o.label_state <> t.label_state)::int << 3)
           | ((o.annotation <> t.annotation)::int << 4) | ((o.metadata <> t.metadata)::int << 5)
    FROM (SELECT * FROM ours WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.external_id = ours.external_id)) AS o
    FULL JOIN (SELECT * FROM theirs WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.external_id = theirs.external_id)) AS t USING (sha256)
)
SELECT coalesce(
    string_agg(int4send(coalesce(our_place, -2147483648)) || int4send(coalesce(their_place, -2147483648)) || int4send(coalesce(fields, 0)), ''), ''
) AS packed
FROM pairs
WHERE :every::boolean OR our_place IS NULL OR their_place IS NULL OR fields <> 0;
