/**
 * Splitrail's contracts, errors and watches. `connect` comes from `@splitrail/client/web` (gRPC-Web: browsers, fetch)
 * or `@splitrail/client/node` (gRPC).
 */
export { Code } from "@connectrpc/connect";
export { clientOver, type SplitrailClient } from "./client.js";
export { SplitrailError, type Reason, type Violation } from "./errors.js";
export { toValues } from "./values.js";
export { newRequestId, RETRY_POLICY, type ConnectOptions } from "./transport.js";
export { watchImport, watchRun, type RunItem, type WatchOptions, type WatchRunOptions } from "./watch.js";
export * from "./gen/splitrail/events/v1/event_pb.js";
export * from "./gen/splitrail/metrics/v1/metrics_pb.js";
export * from "./gen/splitrail/metrics/v1/metrics_service_pb.js";
export * from "./gen/splitrail/split/v1/dataset_pb.js";
export * from "./gen/splitrail/split/v1/dataset_service_pb.js";
export * from "./gen/splitrail/split/v1/export_service_pb.js";
export * from "./gen/splitrail/split/v1/import_pb.js";
export * from "./gen/splitrail/split/v1/import_service_pb.js";
export * from "./gen/splitrail/split/v1/project_pb.js";
export * from "./gen/splitrail/split/v1/project_service_pb.js";
export * from "./gen/splitrail/split/v1/split_pb.js";
export * from "./gen/splitrail/split/v1/split_service_pb.js";
export * from "./gen/splitrail/split/v1/version_pb.js";
export * from "./gen/splitrail/split/v1/version_service_pb.js";
export * from "./gen/splitrail/trainer/v1/evaluation_pb.js";
export * from "./gen/splitrail/trainer/v1/evaluation_service_pb.js";
export * from "./gen/splitrail/trainer/v1/job_pb.js";
export * from "./gen/splitrail/trainer/v1/run_pb.js";
export * from "./gen/splitrail/trainer/v1/run_service_pb.js";
export * from "./gen/splitrail/errors/v1/error_reason_pb.js";
