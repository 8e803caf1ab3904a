-- Projects that callers make, name and archive; datasets whose names and labels can change.

ALTER TABLE project
    ADD COLUMN external_id text NOT NULL DEFAULT '',
    ADD COLUMN labels jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN request_id text NOT NULL DEFAULT '',
    -- NULL: it is active.
    ADD COLUMN archive_time timestamptz;
CREATE UNIQUE INDEX project_external_unique ON project (external_id) WHERE external_id <> '';
CREATE INDEX project_request ON project (request_id) WHERE request_id <> '';

ALTER TABLE dataset
    -- Grows with each update of external_id or labels: its etag.
    ADD COLUMN update_count int NOT NULL DEFAULT 0,
    -- Of the last update; empty when that had none.
    ADD COLUMN update_request_id text NOT NULL DEFAULT '';

CREATE OR REPLACE VIEW dataset_row AS
SELECT dataset_id, project_id, name, task, external_id, labels, create_time,
       (SELECT coalesce(max(number), 0) FROM version v WHERE v.dataset_id = dataset.dataset_id) AS latest_version, update_count
FROM dataset;

CREATE INDEX import_project ON import (project_id, import_id);
