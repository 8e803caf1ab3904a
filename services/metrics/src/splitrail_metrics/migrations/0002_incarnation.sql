-- What the cursors of all feeds count; see splitrail_metrics/ingest/incarnation.py. At most one row.
CREATE TABLE incarnation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    incarnation text NOT NULL,
    fingerprint text NOT NULL,               -- of the database in which it was begun
    begin_time timestamptz NOT NULL DEFAULT now()
);

-- The payload has another name since contracts that programs in Java can use.
UPDATE event SET kind = 'final_metrics' WHERE kind = 'final';
