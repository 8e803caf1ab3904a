-- Drafts: what was changed since their base, how two versions differ, and how a draft becomes a version. A query that
-- looks something up for a caller takes :scope, the projects in which the caller may act (NULL: all). Arrays are cast
-- where a query unnests them.

-- name: insert_draft
-- No row: the request_id is that of another draft.
INSERT INTO draft (version_id, dataset_id, project_id, base_version_id, request_id, class_names, class_ids, class_targets, image_count, object_count,
                   empty_count, unlabelled_count, class_images, class_objects, request_digest)
VALUES (:version_id, :dataset_id, :project_id, :base_version_id, :request_id, :class_names, :class_ids, :class_targets, :image_count, :object_count,
        :empty_count, :unlabelled_count, :class_images, :class_objects, :request_digest)
ON CONFLICT (project_id, request_id) WHERE request_id <> '' DO NOTHING
RETURNING version_id;

-- name: find_draft_by_request
-- The draft that this request_id has begun, committed or not.
SELECT coalesce(committed_version_id, version_id) AS version_id, request_digest
FROM draft
WHERE project_id = :project_id AND request_id = :request_id;

-- name: get_draft
-- By id, committed or not.
SELECT * FROM draft_row WHERE version_id = :version_id AND in_scope(project_id, :scope);

-- name: lock_draft
-- Held while a draft is changed or committed.
SELECT version_id FROM draft WHERE version_id = :version_id AND in_scope(project_id, :scope) FOR UPDATE;

-- name: list_drafts
-- One page of those that are not committed, newest first.
SELECT * FROM draft_row
WHERE dataset_id = :dataset_id AND committed_version_id IS NULL AND (:before::uuid IS NULL OR version_id < :before)
ORDER BY version_id DESC
LIMIT :limit;

-- name: set_draft_counts!
-- After images were changed.
UPDATE draft SET image_count = :image_count, object_count = :object_count, empty_count = :empty_count, unlabelled_count = :unlabelled_count,
       class_images = :class_images, class_objects = :class_objects, next_position = :next_position, change_count = change_count + 1
WHERE version_id = :version_id;

-- name: set_draft_classes!
-- After classes were changed.
UPDATE draft SET class_names = :class_names, class_ids = :class_ids, class_targets = :class_targets, class_images = :class_images,
       class_objects = :class_objects, change_count = change_count + 1
WHERE version_id = :version_id;

-- name: delete_draft!
-- With its images.
DELETE FROM draft WHERE version_id = :version_id;

-- name: find_in_draft
-- The images of a draft, as it stands, that have one of these external_ids, paths or contents. A search for each, which
-- an index serves.
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
-- The annotations of some image that has objects.
SELECT annotations FROM draft_asset WHERE version_id = :version_id AND NOT removed AND label_state = :labelled
UNION ALL
SELECT annotations FROM version_asset b
WHERE version_id = :base_version_id AND label_state = :labelled
  AND NOT EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal)
LIMIT 1;

-- name: delete_draft_assets!
-- Rows of a draft's own, by position.
DELETE FROM draft_asset WHERE version_id = :version_id AND position = ANY(:positions::int[]);

-- name: copy_draft_assets!
-- Rows of a draft's own.
COPY draft_asset (version_id, position, base_ordinal, removed, sha256, path, external_id, label_state, annotations, metadata)
FROM STDIN (FORMAT BINARY);

-- name: get_draft_assets
-- Under their positions.
SELECT position AS ordinal, d.sha256, path, a.width, a.height, a.size_bytes, a.format, label_state, external_id, metadata,
       CASE WHEN :annotations THEN annotations END AS annotations
FROM draft_asset d JOIN asset a ON a.sha256 = d.sha256 AND a.project_id = :project_id
WHERE version_id = :version_id AND position = ANY(:positions::int[]);

-- name: expect_many!
-- Right after a commit Postgres expects a version to have hardly any images: what joins versions could go over all of
-- one for each image of the other.
SET LOCAL enable_nestloop = off;

-- name: get_annotations
-- Annotations of images, concatenated in the order of :places, and the length of each: much less work than a
-- row an image. A place is an ordinal of :images_of, or -1 - position for what the draft :draft_id has itself. Right
-- after a commit Postgres expects a version to have hardly any images, and would as soon go over all its paths:
-- BETWEEN, ORDER BY and LIMIT leave the key alone to look an image up by.
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
-- Annotations that the commit itself changes; places as in get_annotations.
CREATE TEMP TABLE recoded (place int NOT NULL, annotations bytea NOT NULL) ON COMMIT DROP;

-- name: insert_recoded!
-- :data holds the annotations one after the other; :firsts and :sizes say where each begins and how long it is.
INSERT INTO recoded (place, annotations)
SELECT place, substring(:data::bytea FROM first + 1 FOR size) FROM unnest(:places::int[], :firsts::int[], :sizes::int[]) AS r (place, first, size);

-- name: list_draft_rows
-- In the order of a commit: first those that stand for images of the base, then the new ones. `moves`: it can change
-- which frame follows another one. The base as in get_annotations.
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
-- Images of a draft that are as its base has them, in their order: each moves up by the images before it that are
-- removed.
INSERT INTO version_asset (version_id, ordinal, sha256, path, width, height, size_bytes, format, label_state, annotations, external_id, metadata)
SELECT :version_id, ordinal - width_bucket(ordinal, :removed::int[]), sha256, path, width, height, size_bytes, format, label_state,
       coalesce(r.annotations, b.annotations), external_id, metadata
FROM version_asset b LEFT JOIN recoded r ON r.place = b.ordinal
WHERE version_id = :base_version_id
  AND NOT EXISTS (SELECT 1 FROM draft_asset d WHERE d.version_id = :version_id AND d.base_ordinal = b.ordinal)
ORDER BY ordinal;

-- name: insert_own_assets!
-- The other images of a draft: in the place of the one that each stands for, new ones by path behind the :kept images
-- of the base.
INSERT INTO version_asset (version_id, ordinal, sha256, path, width, height, size_bytes, format, label_state, annotations, external_id, metadata)
SELECT :version_id,
       coalesce(base_ordinal - width_bucket(base_ordinal, :removed::int[]), :kept + row_number() OVER (PARTITION BY base_ordinal IS NULL ORDER BY path) - 1),
       d.sha256, path, a.width, a.height, a.size_bytes, a.format, label_state, coalesce(r.annotations, d.annotations), external_id, metadata
FROM draft_asset d
JOIN asset a ON a.sha256 = d.sha256 AND a.project_id = :project_id
LEFT JOIN recoded r ON r.place = -1 - d.position
WHERE version_id = :version_id AND NOT removed;

-- name: end_draft!
-- It has become a version, this one or an older one that it equals.
WITH done AS (DELETE FROM draft_asset WHERE version_id = :version_id)
UPDATE draft SET committed_version_id = :committed_version_id WHERE version_id = :version_id;

-- name: diff_images
-- Images in which two versions differ, packed: for each one its place in the first, in the second (-2^31: it is not
-- there), and a bit for each field that differs, as three int4. A place is an ordinal of :images_of, or -1 - position
-- for what the draft :version_id has itself. With :within_base, the second is the draft's base: what the draft leaves
-- as it is need not be read. With :every, images come too that are in both and do not differ.
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
