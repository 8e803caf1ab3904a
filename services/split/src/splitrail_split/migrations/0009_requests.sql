-- SHA-256 of the request that made something, without its request_id: another request with the same request_id is
-- refused. Empty: from before it was kept, or made without a request.
ALTER TABLE dataset ADD COLUMN request_digest bytea NOT NULL DEFAULT '';
ALTER TABLE split_revision ADD COLUMN request_digest bytea NOT NULL DEFAULT '';
ALTER TABLE draft
    ADD COLUMN request_digest bytea NOT NULL DEFAULT '',
    DROP COLUMN begun_class_names;
ALTER TABLE import
    ADD COLUMN request_digest bytea NOT NULL DEFAULT '',
    -- What the start asked for; empty: to be detected. `format` is what the import is read as.
    ADD COLUMN requested_format text NOT NULL DEFAULT '';
ALTER TABLE project
    ADD COLUMN request_digest bytea NOT NULL DEFAULT '',
    -- Subject of the token that made it: callers do not see each other's request_ids. Empty: not known.
    ADD COLUMN creator text NOT NULL DEFAULT '';

-- Whose request_ids these were is not known, and some may be equal.
UPDATE project SET request_id = '';
DROP INDEX project_request;
CREATE UNIQUE INDEX project_request_unique ON project (creator, request_id) WHERE request_id <> '';

CREATE OR REPLACE VIEW import_row AS
SELECT import_id, project_id, dataset_name, task, state, format, strict, dry_run, file_count, image_count, processed_count, excluded_count,
       problem_count, note_count, failure, version_id, create_time, start_time, end_time, requested_format
FROM import;
