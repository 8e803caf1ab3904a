-- Arguments that Ultralytics refuses are a cause of their own: trying again does not help.
ALTER TABLE job
    DROP CONSTRAINT job_cause_known,
    ADD CONSTRAINT job_cause_known CHECK (
        cause IN ('none', 'data', 'nan', 'accelerator_memory', 'host_memory', 'lost_pod', 'process', 'dependency', 'arguments'));
