-- One row for each run or evaluation that has reported. run_id is the trainer service's job id.
CREATE TABLE feed (
    run_id uuid PRIMARY KEY,
    project_id text NOT NULL,
    state smallint NOT NULL,                 -- splitrail.events.v1.JobState, the last one reported
    current_attempt bigint NOT NULL,         -- events of lower attempts are refused
    last_seq bigint NOT NULL,                -- the next event gets last_seq + 1
    last_epoch bigint NOT NULL,              -- of the effective timeline
    final_seq bigint,                        -- the `final` event, while no later epoch or rollback voids it
    closed boolean NOT NULL,                 -- after the terminal state event nothing is accepted
    metric_names text[] NOT NULL             -- dictionary of epoch.metric_values: Ultralytics' keys in the order in which they first came
);

-- How far the events of one origin (attempt, or 0: the trainer service) are committed or quarantined.
-- No foreign key: a sender whose every event is refused has a watermark but no feed.
CREATE TABLE watermark (
    run_id uuid NOT NULL,
    origin bigint NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (run_id, origin)
);

CREATE TABLE event (
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    attempt bigint NOT NULL,
    number bigint NOT NULL,
    kind text NOT NULL,                      -- name of RunEvent's payload field
    payload bytea NOT NULL,                  -- that field's message, serialized
    event_time timestamptz,                  -- the sender's clock; null when it sent none that makes sense
    commit_time timestamptz NOT NULL,
    PRIMARY KEY (run_id, seq),
    UNIQUE (run_id, attempt, number)
);

CREATE INDEX event_log ON event (run_id, seq) WHERE kind = 'log';

CREATE TABLE epoch (
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    epochs bigint NOT NULL,
    attempt bigint NOT NULL,
    metric_values float8[] NOT NULL,         -- by position in feed.metric_names; null: that key was not reported
    fitness float8,                          -- null when absent or not finite: such an epoch cannot be the best
    superseded_by bigint,                    -- seq of the rollback that voided it; null: on the effective timeline
    PRIMARY KEY (run_id, seq)
);

CREATE UNIQUE INDEX epoch_effective ON epoch (run_id, epoch) WHERE superseded_by IS NULL;
CREATE INDEX epoch_best ON epoch (run_id, fitness DESC, epoch DESC) WHERE superseded_by IS NULL AND fitness IS NOT NULL;

CREATE TABLE plot (
    run_id uuid NOT NULL,
    name text NOT NULL,
    seq bigint NOT NULL,                     -- the event that reported it last
    title text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    content_type text NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (run_id, name)
);

-- Messages that are not events of ours; the oldest make room for new ones.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received timestamptz NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    payload bytea NOT NULL                   -- its first 32 KiB
);

CREATE TABLE quarantine_count (
    reason text PRIMARY KEY,
    total bigint NOT NULL
);
