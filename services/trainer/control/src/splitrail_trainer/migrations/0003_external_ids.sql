-- A caller's own identifier names one run of a project. Runs that share one keep it as the first of them has it; the later ones get their id
-- appended (at most 256 characters in all), so that nothing is lost.
UPDATE run SET external_id = left(run.external_id, 256 - 1 - length(run.job_id)) || '~' || run.job_id
WHERE run.external_id <> ''
  AND EXISTS (
      SELECT FROM run AS earlier
      WHERE earlier.project_id = run.project_id AND earlier.external_id = run.external_id AND earlier.job_id < run.job_id);
CREATE UNIQUE INDEX run_external_id_unique ON run (project_id, external_id) WHERE external_id <> '';
