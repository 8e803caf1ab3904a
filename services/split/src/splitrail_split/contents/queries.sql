-- Contents of a project: staged, held, assets, or unreferenced. Parameters are named :project_id and :contents (SHA-256
-- of each) throughout; arrays are cast where a query unnests them.

-- name: lock_staging
-- Held by a removal, while it looks for references to staged bytes and removes those without, until the transaction
-- ends.
SELECT pg_advisory_xact_lock(hashtextextended('staging/' || :project_id, 0)) IS NULL AS locked;

-- name: pass_staging
-- After a reference was taken: waits for removals that may not have seen it.
SELECT pg_advisory_xact_lock_shared(hashtextextended('staging/' || :project_id, 0)) IS NULL AS passed;

-- name: announced_before
-- Which of these contents callers were ever told to upload, as far as their bytes may still be staged.
SELECT f.sha256 FROM import_file f JOIN import i USING (import_id) WHERE f.sha256 = ANY(:contents) AND i.project_id = :project_id
UNION
SELECT sha256 FROM content_hold WHERE project_id = :project_id AND sha256 = ANY(:contents);

-- name: still_announced
-- Which of these contents unfinished imports of the project refer to.
SELECT DISTINCT f.sha256
FROM import_file f JOIN import i USING (import_id)
WHERE i.project_id = :project_id AND i.state IN ('OPEN', 'QUEUED', 'RUNNING') AND f.sha256 = ANY(:contents);

-- name: still_held
-- Which of these contents callers were promised to find.
SELECT sha256 FROM content_hold WHERE project_id = :project_id AND sha256 = ANY(:contents) AND until > clock_timestamp();

-- name: hold_contents!
-- Makes or extends a hold on each content. In one order, so that two calls do not wait for each other.
INSERT INTO content_hold (project_id, sha256, until)
SELECT :project_id, sha256, now() + :lifetime FROM unnest(:contents::bytea[]) AS c (sha256) ORDER BY sha256
ON CONFLICT (project_id, sha256) DO UPDATE SET until = GREATEST(content_hold.until, EXCLUDED.until);

-- name: project_of_expired_hold
-- The project with the hold that ended first.
SELECT project_id FROM content_hold WHERE until <= now() ORDER BY until LIMIT 1;

-- name: lock_expired_holds
-- Locks holds of a project that have ended, so that they are not extended until the transaction ends.
SELECT sha256 FROM content_hold WHERE project_id = :project_id AND until <= now() ORDER BY sha256 LIMIT :limit FOR UPDATE;

-- name: delete_holds!
-- Ends the holds on these contents.
DELETE FROM content_hold WHERE project_id = :project_id AND sha256 = ANY(:contents);

-- name: known_assets
-- Which of these contents are assets of the project.
SELECT sha256, width, height, size_bytes, format, perceptual_hash FROM asset WHERE project_id = :project_id AND sha256 = ANY(:contents);

-- name: insert_assets!
-- Makes contents assets. A project with assets is swept.
WITH swept AS (INSERT INTO asset_sweep (project_id) VALUES (:project_id) ON CONFLICT DO NOTHING)
INSERT INTO asset (project_id, sha256, size_bytes, width, height, format, perceptual_hash)
SELECT :project_id, *
FROM unnest(:contents::bytea[], :sizes::bigint[], :widths::int[], :heights::int[], :formats::text[], :perceptual_hashes::bigint[])
ON CONFLICT DO NOTHING;

-- name: request_sweep!
-- Something that referred to contents is gone. A walk that is under way may have passed them: another one follows it.
INSERT INTO asset_sweep (project_id, due_time) VALUES (:project_id, now())
ON CONFLICT (project_id) DO UPDATE SET due_time = LEAST(asset_sweep.due_time, now());

-- name: claim_sweep
-- A project whose assets are to be walked over, from where the last step ended. A walk that begins sets the time of the
-- next one.
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
-- The walk has come past the object :after (NULL: to the end), and anybody may take the next step.
UPDATE asset_sweep SET after = :after, claimed_until = '-infinity' WHERE project_id = :project_id;

-- name: unreferenced_contents
-- Which of these contents no version, draft, unfinished import or hold refers to.
SELECT c.sha256
FROM unnest(:contents::bytea[]) AS c (sha256)
WHERE NOT EXISTS (SELECT 1 FROM version_asset a JOIN version v USING (version_id) WHERE a.sha256 = c.sha256 AND v.project_id = :project_id)
  AND NOT EXISTS (
    SELECT 1 FROM draft_asset a JOIN draft d USING (version_id) WHERE a.sha256 = c.sha256 AND NOT a.removed AND d.project_id = :project_id
  )
  AND NOT EXISTS (
    SELECT 1 FROM import_file f JOIN import i USING (import_id)
    WHERE f.sha256 = c.sha256 AND i.project_id = :project_id AND i.state IN ('OPEN', 'QUEUED', 'RUNNING')
  )
  AND NOT EXISTS (
    SELECT 1 FROM import_member m JOIN import i USING (import_id)
    WHERE m.sha256 = c.sha256 AND i.project_id = :project_id AND i.state IN ('OPEN', 'QUEUED', 'RUNNING')
  )
  AND NOT EXISTS (SELECT 1 FROM content_hold h WHERE h.sha256 = c.sha256 AND h.project_id = :project_id AND h.until > clock_timestamp());

-- name: delete_assets!
-- Contents that are to be assets no more. Young ones stay: those of an import that was refused need not be uploaded
-- again.
DELETE FROM asset WHERE project_id = :project_id AND sha256 = ANY(:contents) AND create_time <= now() - :grace::interval;
