-- Small annotation files that came with their announcement: an object each would cost more than what they hold.
CREATE TABLE import_content (
    import_id uuid NOT NULL REFERENCES import ON DELETE CASCADE,
    sha256 bytea NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (import_id, sha256)
);
