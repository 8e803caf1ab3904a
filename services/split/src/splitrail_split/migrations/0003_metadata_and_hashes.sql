-- What callers and sources say about an image, text by text: the video it comes from, the site, the patient. Splits can be grouped by it.
ALTER TABLE version_asset ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}';

-- 64-bit DCT hash of what the image shows (see formats/images.py), as a signed number; near-duplicates differ in few bits.
ALTER TABLE asset ADD COLUMN perceptual_hash bigint NOT NULL DEFAULT 0;
