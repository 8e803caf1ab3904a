-- name: list_artifacts
-- Of each file the one that the newest attempt left, by job, kind and name.
SELECT DISTINCT ON (job_id, kind, name) *
FROM artifact
WHERE job_id = ANY(:job_ids) AND NOT superseded
ORDER BY job_id, kind, name, attempt DESC;

-- name: newest_artifact
-- The file of a kind that the newest attempt left, the last one when it left several.
SELECT * FROM artifact WHERE job_id = :job_id AND kind = :kind AND NOT superseded
ORDER BY attempt DESC, create_time DESC LIMIT 1;

-- name: add_artifact!
-- Nothing when the same file is recorded already; the constraint artifact_name_unique speaks when it is another one.
INSERT INTO artifact (job_id, attempt, name, kind, key, size_bytes, sha256, epoch)
SELECT :job_id, :attempt, :name, :kind, :key, :size_bytes, :sha256, :epoch
WHERE NOT EXISTS (
    SELECT FROM artifact
    WHERE job_id = :job_id AND attempt = :attempt AND name = :name AND kind = :kind AND size_bytes = :size_bytes
      AND sha256 = :sha256 AND epoch = :epoch);

-- name: set_checkpoint
-- Makes a checkpoint the resume point, unless this attempt has stored one of a later epoch.
UPDATE run SET checkpoint_epoch = :epoch, checkpoint_attempt = :attempt, checkpoint_key = :key, checkpoint_sha256 = :sha256,
               checkpoint_size_bytes = :size_bytes
WHERE job_id = :job_id AND (checkpoint_attempt IS DISTINCT FROM :attempt OR checkpoint_epoch <= :epoch)
RETURNING job_id;

-- name: supersede_checkpoints!
-- All but the resume point.
UPDATE artifact SET superseded = true
FROM run
WHERE run.job_id = :job_id AND artifact.job_id = run.job_id AND artifact.kind = 'checkpoint' AND NOT artifact.superseded
  AND artifact.key <> run.checkpoint_key;

-- name: superseded_artifacts
-- Never the resume point, whatever the flag says.
SELECT key FROM artifact
WHERE superseded AND NOT EXISTS (SELECT FROM run WHERE run.job_id = artifact.job_id AND run.checkpoint_key = artifact.key)
ORDER BY create_time LIMIT 100;

-- name: delete_superseded!
-- Rows of checkpoints whose bytes are gone; never the resume point's.
DELETE FROM artifact
WHERE superseded AND key = ANY(:keys)
  AND NOT EXISTS (SELECT FROM run WHERE run.job_id = artifact.job_id AND run.checkpoint_key = artifact.key);
