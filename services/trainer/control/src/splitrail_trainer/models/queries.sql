-- name: list_artifacts
-- Of each file the one that the newest attempt left, by job, kind and name.
SELECT DISTINCT ON (job_id, kind, name) *
FROM artifact
WHERE job_id = ANY(%(job_ids)s) AND NOT superseded
ORDER BY job_id, kind, name, attempt DESC;

-- name: newest_artifact
-- The file of a kind that the newest attempt left, the last one when it left several.
SELECT * FROM artifact WHERE job_id = %(job_id)s AND kind = %(kind)s AND NOT superseded
ORDER BY attempt DESC, create_time DESC LIMIT 1;

-- name: add_artifact!
-- Nothing when the same file is recorded already; the constraint artifact_name_unique speaks when it is another one.
INSERT INTO artifact (job_id, attempt, name, kind, key, size_bytes, sha256, epoch)
SELECT %(job_id)s, %(attempt)s, %(name)s, %(kind)s, %(key)s, %(size_bytes)s, %(sha256)s, %(epoch)s
WHERE NOT EXISTS (
    SELECT FROM artifact
    WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND name = %(name)s AND kind = %(kind)s AND size_bytes = %(size_bytes)s
      AND sha256 = %(sha256)s AND epoch = %(epoch)s);

-- name: set_checkpoint
-- Makes a checkpoint the resume point, unless this attempt has stored one of a later epoch.
UPDATE run SET checkpoint_epoch = %(epoch)s, checkpoint_attempt = %(attempt)s, checkpoint_key = %(key)s, checkpoint_sha256 = %(sha256)s,
               checkpoint_size_bytes = %(size_bytes)s
WHERE job_id = %(job_id)s AND (checkpoint_attempt IS DISTINCT FROM %(attempt)s OR checkpoint_epoch <= %(epoch)s)
RETURNING job_id;

-- name: supersede_checkpoints!
-- All but the resume point.
UPDATE artifact SET superseded = true
FROM run
WHERE run.job_id = %(job_id)s AND artifact.job_id = run.job_id AND artifact.kind = 'checkpoint' AND NOT artifact.superseded
  AND artifact.key <> run.checkpoint_key;

-- name: superseded_artifacts
-- Never the resume point, whatever the flag says.
SELECT key FROM artifact
WHERE superseded AND NOT EXISTS (SELECT FROM run WHERE run.job_id = artifact.job_id AND run.checkpoint_key = artifact.key)
ORDER BY create_time LIMIT 100;

-- name: delete_superseded!
-- Rows of checkpoints whose bytes are gone; never the resume point's.
DELETE FROM artifact
WHERE superseded AND key = ANY(%(keys)s)
  AND NOT EXISTS (SELECT FROM run WHERE run.job_id = artifact.job_id AND run.checkpoint_key = artifact.key);
