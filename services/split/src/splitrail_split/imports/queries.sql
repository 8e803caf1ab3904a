-- Imports: announced files, the queue with its leases, reports, and what must be known to commit a version. A query
-- that looks something up for a caller takes :scope, the projects in which the caller may act (NULL: all). Those of a
-- worker take :owner, who works on the import: they touch nothing once its lease was lost. Arrays are cast where a
-- query unnests them.

-- name: insert_import
-- No row: the request_id is that of an import that has neither failed nor been cancelled.
INSERT INTO import (import_id, project_id, request_id, request_digest, dataset_name, task, state)
VALUES (:import_id, :project_id, :request_id, :request_digest, :dataset_name, :task, 'OPEN')
ON CONFLICT (project_id, request_id) WHERE request_id <> '' AND state NOT IN ('FAILED', 'CANCELLED') DO NOTHING
RETURNING import_id;

-- name: find_import_by_request
-- The import that this request_id has opened and that has neither failed nor been cancelled.
SELECT import_id, request_digest FROM import
WHERE project_id = :project_id AND request_id = :request_id AND state NOT IN ('FAILED', 'CANCELLED');

-- name: get_import
-- By id.
SELECT * FROM import_row WHERE import_id = :import_id AND in_scope(project_id, :scope);

-- name: list_imports
-- One page, newest first; empty filters let everything pass.
SELECT * FROM import_row
WHERE in_scope(project_id, :scope)
  AND (:project_id = '' OR project_id = :project_id)
  AND (:dataset_name = '' OR dataset_name = :dataset_name)
  AND (:state = '' OR state = :state)
  AND (:before::uuid IS NULL OR import_id < :before)
ORDER BY import_id DESC
LIMIT :limit;

-- name: cancel_import!
-- Touches nothing when it has ended. A worker that is busy with it has lost its lease with that, and can commit
-- nothing.
UPDATE import SET state = 'CANCELLED', end_time = now(), unstage_after = now(), lease_owner = NULL, lease_until = NULL
WHERE import_id = :import_id AND state IN ('OPEN', 'QUEUED', 'RUNNING');

-- name: lock_open_import
-- While files are announced.
SELECT import_id FROM import WHERE import_id = :import_id AND state = 'OPEN' FOR UPDATE;

-- name: put_files!
-- xmax is 0 in rows that are new: counting all of an import's at each of its pages would take time in the square of
-- them.
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

-- name: put_inline_contents!
-- Bytes that came with their announcement.
INSERT INTO import_content (import_id, sha256, content) SELECT :import_id, * FROM unnest(:hashes::bytea[], :contents::bytea[])
ON CONFLICT DO NOTHING;

-- name: find_inline_contents
-- Which of these contents came with their announcement.
SELECT sha256 FROM import_content WHERE import_id = :import_id AND sha256 = ANY(:contents);

-- name: read_inline_contents
-- The bytes of those of these contents that came with their announcement.
SELECT sha256, content FROM import_content WHERE import_id = :import_id AND sha256 = ANY(:contents);

-- name: put_members!
-- Takes references to images that were not announced: those of an archive or a list.
INSERT INTO import_member (import_id, sha256) SELECT :import_id, unnest(:contents::bytea[]) ON CONFLICT DO NOTHING;

-- name: list_files
-- All announced files by path.
SELECT path, sha256, size_bytes, is_image FROM import_file WHERE import_id = :import_id ORDER BY path;

-- name: queue_import!
-- Touches nothing when the import is not open.
UPDATE import SET state = 'QUEUED', format = :format, requested_format = :requested_format, strict = :strict, dry_run = :dry_run, start_time = now()
WHERE import_id = :import_id AND state = 'OPEN';

-- name: claim_import
-- The longest-waiting import that is queued, or whose lease has ended.
UPDATE import SET state = 'RUNNING', lease_owner = :owner, lease_until = now() + :lease, claims = claims + 1
WHERE import_id = (
    SELECT import_id FROM import
    WHERE (state = 'QUEUED' AND (not_before IS NULL OR not_before <= now())) OR (state = 'RUNNING' AND lease_until < now())
    ORDER BY start_time
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING import_id, project_id, dataset_name, task, format, strict, dry_run, image_count, claims;

-- name: renew_lease
-- No row: it is lost.
UPDATE import SET lease_until = now() + :lease WHERE import_id = :import_id AND lease_owner = :owner AND state = 'RUNNING' RETURNING 1 AS renewed;

-- name: release_import!
-- Back into the queue: the service ends (the claim is not counted), or a store does not answer.
UPDATE import SET state = 'QUEUED', lease_owner = NULL, lease_until = NULL, claims = claims - :uncounted, not_before = now() + :delay
WHERE import_id = :import_id AND lease_owner = :owner AND state = 'RUNNING';

-- name: set_processed!
-- Progress.
UPDATE import SET processed_count = :processed WHERE import_id = :import_id AND lease_owner = :owner AND state = 'RUNNING';

-- name: set_source!
-- What an archive holds, or the format when only the content of the files tells it.
UPDATE import SET format = :format, file_count = :file_count, image_count = :image_count
WHERE import_id = :import_id AND lease_owner = :owner AND state = 'RUNNING';

-- name: lock_own_import
-- Before the import is ended.
SELECT 1 AS own FROM import WHERE import_id = :import_id AND lease_owner = :owner AND state = 'RUNNING' FOR UPDATE;

-- name: end_import!
-- Its staged bytes go at once, or after a dry run in a day: the import that follows need not upload again.
UPDATE import SET state = :state, failure = :failure, version_id = :version_id, problem_count = :problem_count, note_count = :note_count,
       excluded_count = :excluded_count, processed_count = image_count, end_time = now(), lease_owner = NULL, lease_until = NULL,
       unstage_after = now() + CASE WHEN dry_run THEN interval '1 day' ELSE interval '0' END
WHERE import_id = :import_id;

-- name: abandon_imports!
-- Opened and never started.
UPDATE import SET state = 'FAILED', failure = :failure, end_time = now(), unstage_after = now()
WHERE state = 'OPEN' AND create_time < now() - :age::interval;

-- name: claim_unstaging
-- An ended import whose staged bytes are to be removed. Should the process die meanwhile, another one does it a minute
-- later.
UPDATE import SET unstage_after = now() + interval '1 minute'
WHERE import_id = (
    SELECT import_id FROM import WHERE unstage_after <= now() ORDER BY unstage_after LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING import_id, project_id;

-- name: end_unstaging!
-- The files and what came with them have served their purpose with that.
WITH files AS (DELETE FROM import_file WHERE import_id = :import_id),
     contents AS (DELETE FROM import_content WHERE import_id = :import_id),
     members AS (DELETE FROM import_member WHERE import_id = :import_id)
UPDATE import SET unstage_after = NULL WHERE import_id = :import_id;

-- name: copy_problems!
-- A report.
COPY import_problem (import_id, number, path, line, object, code, message, image_excluded, note) FROM STDIN (FORMAT BINARY);

-- name: list_problems
-- One page of a report.
SELECT number, path, line, object, code, message, image_excluded, note
FROM import_problem
WHERE import_id = :import_id AND number > :after
ORDER BY number
LIMIT :limit;

-- name: version_holds
-- Whether a version has these images under these paths with this metadata, and (unless it is NULL) this split as a
-- revision.
SELECT NOT EXISTS (
    SELECT FROM unnest(:paths::text[], :contents::bytea[], :metadata::jsonb[]) AS n (path, sha256, metadata)
    LEFT JOIN version_asset a ON a.version_id = :version_id AND a.path = n.path
    WHERE (a.sha256, a.metadata) IS DISTINCT FROM (n.sha256, n.metadata)
) AND (:split_digest::text IS NULL OR EXISTS (SELECT FROM split_revision WHERE version_id = :version_id AND digest = :split_digest)) AS holds;

-- name: any_given_by_callers
-- A row if a version may know of an image what a source does not say.
SELECT 1 FROM version_asset WHERE version_id = :version_id AND (external_id <> '' OR metadata <> '{}') LIMIT 1;

-- name: given_by_callers
-- Of how many of these images a version knows an external_id, which no source can give, or metadata of other keys than
-- these.
SELECT count(*) AS images
FROM unnest(:paths::text[], :metadata::jsonb[]) AS n (path, metadata)
JOIN version_asset a ON a.version_id = :version_id AND a.path = n.path
WHERE a.external_id <> '' OR NOT n.metadata ?& ARRAY(SELECT jsonb_object_keys(a.metadata));
