-- What a draft was begun with: another request with the same request_id is refused.
ALTER TABLE draft ADD COLUMN begun_class_names text[] NOT NULL DEFAULT '{}';
-- Of drafts from before, as they stand: they may have been renamed since.
UPDATE draft SET begun_class_names = class_names WHERE base_version_id IS NULL;
