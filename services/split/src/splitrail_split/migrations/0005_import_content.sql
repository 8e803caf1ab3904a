-- Small annotation files that came with their announcement: an object each would cost more than what they hold.
CREATE TABLE import_content (
    import_id uuid NOT NULL REFERENCES import ON DELETE CASCADE,
    sha256 bytea NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (import_id, sha256)
);

-- Images that nobody announced and that an import takes in all the same: what its archive or its list holds. Named here before they are stored, they stay.
CREATE TABLE import_member (
    import_id uuid NOT NULL REFERENCES import ON DELETE CASCADE,
    sha256 bytea NOT NULL,
    PRIMARY KEY (import_id, sha256)
);
CREATE INDEX import_member_content ON import_member (sha256);
