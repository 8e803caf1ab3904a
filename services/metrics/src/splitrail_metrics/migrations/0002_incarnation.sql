-- What the cursors of all feeds count; see splitrail_metrics/ingest/incarnation.py. At most one row.
CREATE TABLE incarnation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    incarnation text NOT NULL,
    fingerprint text NOT NULL,               -- of the database in which it was begun
    begin_time timestamptz NOT NULL DEFAULT now()
);

-- The payload has another name since contracts that programs in Java can use.
UPDATE event SET kind = 'final_metrics' WHERE kind = 'final';

-- Kinds are those of splitrail.events.v1.PlotKind now; '' is one that is not among them.
UPDATE plot SET kind = '' WHERE kind NOT IN ('labels', 'train_batch', 'val_batch', 'confusion_matrix', 'curve', 'results');
