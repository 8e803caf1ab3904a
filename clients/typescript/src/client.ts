import { createClient, type Client, type Transport } from "@connectrpc/connect";
import { MetricsService } from "./gen/splitrail/metrics/v1/metrics_service_pb.js";
import { DatasetService } from "./gen/splitrail/split/v1/dataset_service_pb.js";
import { ExportService } from "./gen/splitrail/split/v1/export_service_pb.js";
import type { Import } from "./gen/splitrail/split/v1/import_pb.js";
import { ImportService } from "./gen/splitrail/split/v1/import_service_pb.js";
import { ProjectService } from "./gen/splitrail/split/v1/project_service_pb.js";
import { SplitService } from "./gen/splitrail/split/v1/split_service_pb.js";
import { VersionService } from "./gen/splitrail/split/v1/version_service_pb.js";
import { EvaluationService } from "./gen/splitrail/trainer/v1/evaluation_service_pb.js";
import { RunService } from "./gen/splitrail/trainer/v1/run_service_pb.js";
import { withCallPolicy, type ConnectOptions } from "./transport.js";
import { watchImport, watchRun, type RunItem, type WatchOptions, type WatchRunOptions } from "./watch.js";

/** Every service of one gateway, and the streams that continue by themselves. */
export interface SplitrailClient {
  readonly projects: Client<typeof ProjectService>;
  readonly datasets: Client<typeof DatasetService>;
  readonly imports: Client<typeof ImportService>;
  readonly versions: Client<typeof VersionService>;
  readonly splits: Client<typeof SplitService>;
  readonly exports: Client<typeof ExportService>;
  readonly runs: Client<typeof RunService>;
  readonly evaluations: Client<typeof EvaluationService>;
  readonly metrics: Client<typeof MetricsService>;
  /** See the function watchRun. */
  watchRun(runId: string, options?: WatchRunOptions): AsyncGenerator<RunItem, void, undefined>;
  /** See the function watchImport. */
  watchImport(importId: string, options?: WatchOptions): AsyncGenerator<Import, void, undefined>;
}

/** A client over any transport of connect-es; `@splitrail/client/web` and `/node` bring theirs. */
export function clientOver(inner: Transport, options: ConnectOptions): SplitrailClient {
  const transport = withCallPolicy(inner, options);
  const metrics = createClient(MetricsService, transport);
  const imports = createClient(ImportService, transport);
  return {
    projects: createClient(ProjectService, transport),
    datasets: createClient(DatasetService, transport),
    imports,
    versions: createClient(VersionService, transport),
    splits: createClient(SplitService, transport),
    exports: createClient(ExportService, transport),
    runs: createClient(RunService, transport),
    evaluations: createClient(EvaluationService, transport),
    metrics,
    watchRun: (runId, given) => watchRun(metrics, runId, given),
    watchImport: (importId, given) => watchImport(imports, importId, given),
  };
}
