-- Versions made by callers, and the removal of what no version names any more.

ALTER TABLE dataset
    ADD COLUMN request_id text NOT NULL DEFAULT '',
    -- Stable ids of classes are never used twice. `latest_version` counts likewise: versions that were deleted keep their numbers.
    ADD COLUMN next_class_id int NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX dataset_request_unique ON dataset (project_id, request_id) WHERE request_id <> '';
CREATE UNIQUE INDEX dataset_external_unique ON dataset (project_id, external_id) WHERE external_id <> '';

ALTER TABLE version
    -- Stable id of the class at each position.
    ADD COLUMN class_ids int[] NOT NULL DEFAULT '{}',
    ADD COLUMN base_version_id uuid REFERENCES version ON DELETE SET NULL;

-- Versions from before: classes of one name are one class, numbered in the order in which they first occurred.
WITH named AS (
    SELECT dataset_id, name, min(ARRAY[number, position]) AS first
    FROM version, unnest(class_names) WITH ORDINALITY AS c (name, position)
    GROUP BY dataset_id, name
), numbered AS (
    SELECT dataset_id, name, row_number() OVER (PARTITION BY dataset_id ORDER BY first) - 1 AS class_id FROM named
), listed AS (
    SELECT version_id, array_agg(class_id ORDER BY position) AS class_ids
    FROM version, unnest(class_names) WITH ORDINALITY AS c (name, position) JOIN numbered USING (name)
    WHERE numbered.dataset_id = version.dataset_id
    GROUP BY version_id
)
UPDATE version SET class_ids = listed.class_ids FROM listed WHERE listed.version_id = version.version_id;
UPDATE dataset SET next_class_id = counted.next_class_id
FROM (SELECT dataset_id, max(one) + 1 AS next_class_id FROM version, unnest(class_ids) AS one GROUP BY dataset_id) AS counted
WHERE counted.dataset_id = dataset.dataset_id;

-- Paths are compared byte by byte, so that what is sorted here and what is sorted in Python agree.
ALTER TABLE version_asset ALTER COLUMN path TYPE text COLLATE "C";
CREATE UNIQUE INDEX version_asset_path ON version_asset (version_id, path);
CREATE UNIQUE INDEX version_asset_external ON version_asset (version_id, external_id) WHERE external_id <> '';

-- A version in the making: its base, and in draft_asset what was changed since. It becomes a row of `version` with the same id when it is committed.
CREATE TABLE draft (
    version_id uuid PRIMARY KEY,
    dataset_id uuid NOT NULL REFERENCES dataset,
    project_id text NOT NULL REFERENCES project,
    -- NULL: it began without images. Of a draft that is committed: or the base was deleted.
    base_version_id uuid REFERENCES version ON DELETE SET NULL,
    request_id text NOT NULL DEFAULT '',
    -- Positions never change before the commit.
    class_names text[] NOT NULL,
    class_ids int[] NOT NULL,
    -- Position of the class that each one becomes at the commit: its own, or of the one that it is merged into.
    class_targets int[] NOT NULL,
    -- As it stands, for people; the commit counts anew.
    image_count bigint NOT NULL,
    object_count bigint NOT NULL,
    empty_count bigint NOT NULL,
    unlabelled_count bigint NOT NULL,
    class_images bigint[] NOT NULL,
    class_objects bigint[] NOT NULL,
    -- Grows with each change to images or classes.
    change_count bigint NOT NULL DEFAULT 0,
    -- Position of the next new row in draft_asset.
    next_position int NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT now(),
    -- The version that it has become: of the same id, or an older one that it equals. NULL: it can still change.
    committed_version_id uuid REFERENCES version ON DELETE CASCADE
);
CREATE UNIQUE INDEX draft_request_unique ON draft (project_id, request_id) WHERE request_id <> '';
CREATE INDEX draft_dataset ON draft (dataset_id, version_id);
CREATE INDEX draft_base ON draft (base_version_id);
CREATE INDEX draft_committed ON draft (committed_version_id);

-- An image that a draft has and its base has not, or has otherwise; or one that was removed.
CREATE TABLE draft_asset (
    version_id uuid NOT NULL REFERENCES draft ON DELETE CASCADE,
    position int NOT NULL,
    -- The image of the base that this row stands for; NULL: none.
    base_ordinal int,
    removed boolean NOT NULL,
    sha256 bytea NOT NULL,
    path text COLLATE "C" NOT NULL,
    external_id text NOT NULL,
    label_state smallint NOT NULL,
    annotations bytea NOT NULL,
    metadata jsonb NOT NULL,
    PRIMARY KEY (version_id, position)
);
CREATE UNIQUE INDEX draft_asset_base ON draft_asset (version_id, base_ordinal) WHERE base_ordinal IS NOT NULL;
CREATE UNIQUE INDEX draft_asset_path ON draft_asset (version_id, path) WHERE NOT removed;
CREATE UNIQUE INDEX draft_asset_external ON draft_asset (version_id, external_id) WHERE external_id <> '' AND NOT removed;
CREATE UNIQUE INDEX draft_asset_content ON draft_asset (sha256, version_id) WHERE NOT removed;

-- Contents that callers were promised to find, or that a call works on: until then neither their staged bytes nor their assets are removed.
CREATE TABLE content_hold (
    project_id text NOT NULL REFERENCES project,
    sha256 bytea NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (project_id, sha256)
);
CREATE INDEX content_hold_until ON content_hold (until);

-- The walk over a project's assets that removes those that nothing names. A project has a row once it has an asset.
CREATE TABLE asset_sweep (
    project_id text PRIMARY KEY REFERENCES project,
    due_time timestamptz NOT NULL DEFAULT now() + interval '1 day',
    -- The walk has come past the object of this name; NULL: none is under way.
    after text,
    -- Should the process die meanwhile, another one goes on then.
    claimed_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO asset_sweep (project_id) SELECT project_id FROM project;
