-- Jobs: the queue, attempts and leases. A run or an evaluation is a job with a row of its own kind; its id is the job's.
CREATE TABLE job (
    job_id           text COLLATE "C" NOT NULL CONSTRAINT job_pk PRIMARY KEY,
    project_id       text        NOT NULL,
    kind             text        NOT NULL CONSTRAINT job_kind_known CHECK (kind IN ('train', 'evaluate')),
    queue            text        NOT NULL,
    priority         int         NOT NULL DEFAULT 0, -- higher first; no RPC sets it yet
    state            text        NOT NULL DEFAULT 'queued'
        CONSTRAINT job_state_known CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempt          int         NOT NULL DEFAULT 0 CONSTRAINT job_attempt_range CHECK (attempt >= 0),
    worker           text        NOT NULL DEFAULT '',
    lease_until      timestamptz,                   -- by this server's clock
    lapsed           boolean     NOT NULL DEFAULT false,
    cancel_requested boolean     NOT NULL DEFAULT false,
    failures         int         NOT NULL DEFAULT 0,
    max_attempts     int         NOT NULL CONSTRAINT job_max_attempts_range CHECK (max_attempts >= 1),
    cause            text        NOT NULL DEFAULT 'none' CONSTRAINT job_cause_known CHECK (
        cause IN ('none', 'data', 'nan', 'accelerator_memory', 'host_memory', 'lost_pod', 'process', 'dependency')),
    message          text        NOT NULL DEFAULT '',
    event_count      bigint      NOT NULL DEFAULT 0, -- number of its last event in the outbox, ever
    request_id       text,
    create_time      timestamptz NOT NULL DEFAULT clock_timestamp(),
    start_time       timestamptz,
    end_time         timestamptz,
    CONSTRAINT job_request_unique UNIQUE (project_id, kind, request_id),
    CONSTRAINT job_lease_while_running CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT job_end_once_ended CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (end_time IS NOT NULL)),
    CONSTRAINT job_start_once_claimed CHECK ((attempt > 0) = (start_time IS NOT NULL)),
    CONSTRAINT job_failures_range CHECK (failures BETWEEN 0 AND max_attempts),
    CONSTRAINT job_lapsed_only_queued CHECK (NOT lapsed OR state = 'queued'),
    CONSTRAINT job_cancel_never_queued CHECK (NOT (cancel_requested AND state = 'queued'))
);
CREATE INDEX job_queue_index ON job (queue, priority DESC, create_time, job_id) WHERE state IN ('queued', 'running');
CREATE INDEX job_lease_index ON job (lease_until) WHERE state = 'running';

CREATE TABLE run (
    job_id                text COLLATE "C" NOT NULL CONSTRAINT run_pk PRIMARY KEY CONSTRAINT run_job_fk REFERENCES job,
    project_id            text    NOT NULL,
    dataset_id            text    NOT NULL,
    dataset_name          text    NOT NULL,
    number                int     NOT NULL CONSTRAINT run_number_range CHECK (number >= 1),
    version_id            text    NOT NULL,
    version_number        int     NOT NULL,
    split_id              text    NOT NULL,
    split_reference       text    NOT NULL,
    split_digest          text    NOT NULL,
    class_names           text[]  NOT NULL,
    model                 text    NOT NULL,
    arguments             jsonb   NOT NULL,
    resolved_arguments    jsonb   NOT NULL,
    epochs                int     NOT NULL CONSTRAINT run_epochs_range CHECK (epochs >= 1),
    external_id           text    NOT NULL DEFAULT '',
    labels                jsonb   NOT NULL DEFAULT '{}',
    versions              jsonb   NOT NULL DEFAULT '{}',
    evaluation_count      int     NOT NULL DEFAULT 0,
    -- The resume point.
    checkpoint_epoch      int     NOT NULL DEFAULT 0,
    checkpoint_attempt    int,
    checkpoint_key        text,
    checkpoint_sha256     text,
    checkpoint_size_bytes bigint,
    CONSTRAINT run_number_unique UNIQUE (project_id, dataset_name, number),
    CONSTRAINT run_checkpoint_whole CHECK (
        num_nonnulls(checkpoint_attempt, checkpoint_key, checkpoint_sha256, checkpoint_size_bytes) = CASE WHEN checkpoint_epoch > 0 THEN 4 ELSE 0 END),
    CONSTRAINT run_checkpoint_range CHECK (checkpoint_epoch BETWEEN 0 AND epochs)
);
CREATE INDEX run_project_index ON run (project_id, job_id DESC);

-- The last number given to a run of a dataset: numbers are not reused.
CREATE TABLE run_counter (
    project_id   text NOT NULL,
    dataset_name text NOT NULL,
    last         int  NOT NULL,
    CONSTRAINT run_counter_pk PRIMARY KEY (project_id, dataset_name)
);

CREATE TABLE evaluation (
    job_id              text COLLATE "C" NOT NULL CONSTRAINT evaluation_pk PRIMARY KEY CONSTRAINT evaluation_job_fk REFERENCES job,
    project_id          text   NOT NULL,
    run_id              text COLLATE "C" NOT NULL CONSTRAINT evaluation_run_fk REFERENCES run,
    number              int    NOT NULL CONSTRAINT evaluation_number_range CHECK (number >= 1),
    weights             text   NOT NULL CONSTRAINT evaluation_weights_known CHECK (weights IN ('best_weights', 'last_weights')),
    weights_key         text   NOT NULL,
    weights_sha256      text   NOT NULL,
    weights_size_bytes  bigint NOT NULL,
    split_id            text   NOT NULL,
    split_reference     text   NOT NULL,
    part                text   NOT NULL CONSTRAINT evaluation_part_known CHECK (part IN ('train', 'val', 'test')),
    contaminated_images bigint NOT NULL DEFAULT 0,
    arguments           jsonb  NOT NULL,
    versions            jsonb  NOT NULL DEFAULT '{}',
    result              bytea, -- splitrail.trainer.v1.EvaluationResult
    CONSTRAINT evaluation_number_unique UNIQUE (run_id, number)
);
CREATE INDEX evaluation_project_index ON evaluation (project_id, job_id DESC);

CREATE TABLE artifact (
    job_id      text COLLATE "C" NOT NULL CONSTRAINT artifact_job_fk REFERENCES job,
    attempt     int         NOT NULL,
    name        text        NOT NULL,
    kind        text        NOT NULL CONSTRAINT artifact_kind_known CHECK (
        kind IN ('checkpoint', 'best_weights', 'last_weights', 'results', 'arguments')),
    key         text        NOT NULL CONSTRAINT artifact_key_unique UNIQUE,
    size_bytes  bigint      NOT NULL,
    sha256      text        NOT NULL,
    epoch       int         NOT NULL DEFAULT 0,
    superseded  boolean     NOT NULL DEFAULT false, -- a checkpoint that no resume needs: its bytes are removed, then this row
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT artifact_name_unique PRIMARY KEY (job_id, attempt, name),
    CONSTRAINT artifact_superseded_checkpoint CHECK (NOT superseded OR kind = 'checkpoint')
);
CREATE INDEX artifact_superseded_index ON artifact (create_time) WHERE superseded;

-- State events on their way to the feed, written in the transaction of the change.
CREATE TABLE outbox (
    job_id text COLLATE "C" NOT NULL CONSTRAINT outbox_job_fk REFERENCES job,
    number bigint NOT NULL CONSTRAINT outbox_number_range CHECK (number >= 1),
    event  bytea  NOT NULL, -- splitrail.events.v1.RunEvent
    CONSTRAINT outbox_pk PRIMARY KEY (job_id, number)
);

-- A job with its place in its queue: the number of jobs that are claimed before it.
CREATE VIEW job_view AS
SELECT
    job.*,
    CASE WHEN state = 'queued' THEN (
        SELECT count(*)
        FROM job AS other
        WHERE other.queue = job.queue AND other.state = 'queued'
          AND (-other.priority, other.create_time, other.job_id) < (-job.priority, job.create_time, job.job_id)
    ) END AS queue_position
FROM job;
