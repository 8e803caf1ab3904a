// The metrics that there are, as the metrics service describes them.
import { get } from "./api.js";

/** MetricDescriptors in the service's order, the headline ones first. */
export async function schema(signal) {
  const { metrics = [] } = await get("/api/metric-schema", signal);
  return [...metrics.filter((metric) => metric.headline), ...metrics.filter((metric) => !metric.headline)];
}

/** Those of `metrics` that have a value in some of `records`, each of which is an object of values by key. */
export const occurring = (metrics, records) => metrics.filter((metric) => records.some((values) => metric.key in (values ?? {})));

/** "mAP50_95" as tables head it. */
export const label = (metric) => metric.key.replace("50_95", "50-95").replaceAll("_", " ");

/** Digits after the point; learning rates are small. */
export const digits = (metric) => (metric.family === "lr" ? 6 : 3);
