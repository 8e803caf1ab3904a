-- Numbers that stand for enum values (state, task, format, label_state) are those of the protos.

CREATE TABLE project (
    project_id text PRIMARY KEY,
    create_time timestamptz NOT NULL DEFAULT now()
);
INSERT INTO project (project_id) VALUES ('default');

CREATE TABLE dataset (
    dataset_id uuid PRIMARY KEY,
    project_id text NOT NULL REFERENCES project,
    name text NOT NULL,
    task smallint NOT NULL,
    external_id text NOT NULL DEFAULT '',
    labels jsonb NOT NULL DEFAULT '{}',
    create_time timestamptz NOT NULL DEFAULT now(),
    latest_version int NOT NULL DEFAULT 0,
    CONSTRAINT dataset_name_unique UNIQUE (project_id, name)
);

CREATE TABLE version (
    version_id uuid PRIMARY KEY,
    dataset_id uuid NOT NULL REFERENCES dataset,
    project_id text NOT NULL REFERENCES project,
    number int NOT NULL,
    state smallint NOT NULL,
    class_names text[] NOT NULL,
    image_count bigint NOT NULL,
    object_count bigint NOT NULL,
    empty_count bigint NOT NULL,
    unlabelled_count bigint NOT NULL,
    problem_count bigint NOT NULL,
    class_images bigint[] NOT NULL,
    class_objects bigint[] NOT NULL,
    digest text NOT NULL,
    report jsonb NOT NULL DEFAULT '{}',
    create_time timestamptz NOT NULL DEFAULT now(),
    commit_time timestamptz,
    -- Numbers of revisions are never used twice, even when a revision is deleted.
    latest_split int NOT NULL DEFAULT 0,
    current_split_id uuid,
    CONSTRAINT version_number_unique UNIQUE (dataset_id, number)
);

-- Content that the project holds at projects/<project_id>/assets/<sha256>. Rows appear once the bytes are verified and stored there.
CREATE TABLE asset (
    project_id text NOT NULL REFERENCES project,
    sha256 bytea NOT NULL,
    size_bytes bigint NOT NULL,
    width int NOT NULL,
    height int NOT NULL,
    format text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, sha256)
);

CREATE TABLE version_asset (
    version_id uuid NOT NULL REFERENCES version ON DELETE CASCADE,
    ordinal int NOT NULL,
    sha256 bytea NOT NULL,
    path text NOT NULL,
    width int NOT NULL,
    height int NOT NULL,
    size_bytes bigint NOT NULL,
    format text NOT NULL,
    label_state smallint NOT NULL,
    annotations bytea NOT NULL,
    external_id text NOT NULL DEFAULT '',
    PRIMARY KEY (version_id, ordinal)
);
CREATE INDEX version_asset_content ON version_asset (sha256);

-- Columns over all ordinals of a version, as little-endian arrays (see arrays.py), so that splitting a million images reads a few values, not a million rows.
CREATE TABLE version_array (
    version_id uuid NOT NULL REFERENCES version ON DELETE CASCADE,
    name text NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (version_id, name)
);
-- Hashes do not compress: trying would only cost time.
ALTER TABLE version_array ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE split_revision (
    split_id uuid PRIMARY KEY,
    version_id uuid NOT NULL REFERENCES version ON DELETE CASCADE,
    dataset_id uuid NOT NULL REFERENCES dataset,
    project_id text NOT NULL REFERENCES project,
    number int NOT NULL,
    request_id text NOT NULL DEFAULT '',
    parameters jsonb NOT NULL,
    algorithm_version text NOT NULL,
    -- One byte an ordinal (0 none, 1 train, 2 val, 3 test), zlib-compressed.
    vector bytea NOT NULL,
    digest text NOT NULL,
    -- Of train, val and test.
    part_digests text[] NOT NULL,
    -- A serialized splitrail.split.v1.SplitCertificate.
    certificate bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT split_number_unique UNIQUE (version_id, number)
);
CREATE UNIQUE INDEX split_request_unique ON split_revision (project_id, request_id) WHERE request_id <> '';
ALTER TABLE split_revision ALTER COLUMN vector SET STORAGE EXTERNAL;
ALTER TABLE version ADD CONSTRAINT version_current_split FOREIGN KEY (current_split_id) REFERENCES split_revision (split_id);

CREATE TABLE split_pin (
    split_id uuid NOT NULL REFERENCES split_revision,
    job_id uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (split_id, job_id)
);

CREATE TABLE import (
    import_id uuid PRIMARY KEY,
    project_id text NOT NULL REFERENCES project,
    request_id text NOT NULL DEFAULT '',
    dataset_name text NOT NULL,
    task smallint NOT NULL,
    state smallint NOT NULL,
    format smallint NOT NULL DEFAULT 0,
    strict boolean NOT NULL DEFAULT false,
    dry_run boolean NOT NULL DEFAULT false,
    file_count bigint NOT NULL DEFAULT 0,
    image_count bigint NOT NULL DEFAULT 0,
    processed_count bigint NOT NULL DEFAULT 0,
    excluded_count bigint NOT NULL DEFAULT 0,
    problem_count bigint NOT NULL DEFAULT 0,
    note_count bigint NOT NULL DEFAULT 0,
    failure text NOT NULL DEFAULT '',
    version_id uuid REFERENCES version ON DELETE SET NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    start_time timestamptz,
    end_time timestamptz,
    -- Who works on it, and until when nobody else may; claims so far.
    lease_owner uuid,
    lease_until timestamptz,
    claims int NOT NULL DEFAULT 0,
    -- Not claimed before this time: after an outage of the object store.
    not_before timestamptz,
    -- Its staged bytes are removed after this time; NULL: nothing to remove (yet).
    unstage_after timestamptz
);
-- State 5 is FAILED: a failed import may be repeated with its request_id.
CREATE UNIQUE INDEX import_request_unique ON import (project_id, request_id) WHERE request_id <> '' AND state <> 5;
-- States 2 and 3 are QUEUED and RUNNING.
CREATE INDEX import_waiting ON import (start_time) WHERE state IN (2, 3);

CREATE INDEX import_open ON import (create_time) WHERE state = 1;
CREATE INDEX import_unstage ON import (unstage_after) WHERE unstage_after IS NOT NULL;

CREATE TABLE import_file (
    import_id uuid NOT NULL REFERENCES import ON DELETE CASCADE,
    path text COLLATE "C" NOT NULL,
    sha256 bytea NOT NULL,
    size_bytes bigint NOT NULL,
    is_image boolean NOT NULL,
    PRIMARY KEY (import_id, path)
);
CREATE INDEX import_file_content ON import_file (sha256);

CREATE TABLE import_problem (
    import_id uuid NOT NULL REFERENCES import ON DELETE CASCADE,
    -- 1, 2, 3, ... in the order of path and line.
    number int NOT NULL,
    path text NOT NULL,
    line int,
    code text NOT NULL,
    message text NOT NULL,
    image_excluded boolean NOT NULL,
    note boolean NOT NULL,
    PRIMARY KEY (import_id, number)
);
