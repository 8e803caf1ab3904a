/**
 * The journey that tests/clients runs in every language, over gRPC-Web: import, split, train, watch over the death of
 * the metrics service, plot, evaluation, refusal. Prints one JSON object a line. The marked regions stand in
 * docs/clients/typescript.md.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

// [connect]
import { Code, ImportState, JobState, newRequestId, Part, SplitrailError, toValues } from "@splitrail/client";
import { connect } from "@splitrail/client/web";

const client = connect({ url: setting("SPLITRAIL_URL"), token: () => setting("SPLITRAIL_TOKEN") });
// [/connect]

const TRAINING = { epochs: 4, imgsz: 64, batch: 8, seed: 1, optimizer: "AdamW", lr0: 0.002, mosaic: 0 };

const version = await importFolder(setting("JOURNEY_FOLDER"), setting("JOURNEY_DATASET"));
const split = await createSplit(version);
const runId = await createRun(split.splitId);
await watch(runId);
await fetchPlot(runId);
await evaluate(runId);
await decodeRefusal(split.splitId);
tell({ step: "done" });

interface LocalFile {
  path: string;
  bytes: Uint8Array<ArrayBuffer>;
  sha256: string;
}

async function importFolder(folder: string, name: string): Promise<{ datasetId: string; versionId: string }> {
  const files = await readFolder(folder);
  const contents = new Map(files.map((file) => [file.sha256, file.bytes]));
  // [import]
  const opened = await client.imports.createImport({ datasetName: name, requestId: newRequestId() });
  const importId = opened.datasetImport!.importId;
  const { uploads } = await client.imports.addFiles({
    importId,
    files: files.map(({ path, sha256, bytes }) => ({
      path,
      sha256,
      sizeBytes: BigInt(bytes.length),
      ...(/\.(txt|yaml)$/.test(path) && bytes.length <= 16384 ? { content: bytes } : {}), // small texts come along
    })),
  });
  for (const { sha256, url } of uploads) {
    const stored = await fetch(url, { method: "PUT", body: contents.get(sha256)! });
    if (!stored.ok) {
      throw new Error(`the object store says ${stored.status}: ${await stored.text()}`);
    }
  }
  await client.imports.startImport({ importId });
  for await (const current of client.watchImport(importId)) {
    if (current.state === ImportState.SUCCEEDED) {
      const { datasetId, versionId } = current.version!;
      tell({ step: "import", dataset_id: datasetId, version_id: versionId, images: current.imageCount, uploads: uploads.length });
      return { datasetId, versionId };
    }
  }
  // [/import]
  throw new Error("the import ended without a version");
}

async function createSplit({ datasetId, versionId }: { datasetId: string; versionId: string }): Promise<{ splitId: string }> {
  // [split]
  const parameters = { ratios: { train: 0.7, val: 0.15, test: 0.15 }, seed: 42n };
  const { split } = await client.splits.createSplit({ datasetId, versionId, parameters });
  // [/split]
  tell({ step: "split", split_id: split!.splitId, digest: split!.digest });
  return split!;
}

async function createRun(splitId: string): Promise<string> {
  // [run]
  const request = { splitId, model: "yolov8n", arguments: toValues(TRAINING), requestId: newRequestId() };
  const first = await client.runs.createRun(request);
  const again = await client.runs.createRun(request); // as after an answer that was lost
  // [/run]
  tell({ step: "run", run_id: first.run!.runId, same: again.run!.runId === first.run!.runId });
  return first.run!.runId;
}

async function watch(runId: string): Promise<void> {
  let interruptions = 0;
  // [watch]
  for await (const item of client.watchRun(runId, { onInterruption: () => (interruptions += 1) })) {
    if (item.kind === "restart") {
      console.error("the platform was restored from a backup: the feed comes again from its first event");
    } else if (item.kind === "event" && item.event.payload.case === "epoch") {
      tell({ step: "epoch", epoch: item.event.payload.value.epoch, seq: Number(item.event.seq) });
    }
  }
  // [/watch]
  tell({ step: "closed", interruptions });
}

async function fetchPlot(runId: string): Promise<void> {
  // [plot]
  const { plots } = await client.metrics.listPlots({ runId });
  const plot = plots[0]!;
  const answer = await fetch(plot.url); // signed: no token goes along
  const bytes = await answer.arrayBuffer();
  // [/plot]
  if (!answer.ok || BigInt(bytes.byteLength) !== plot.sizeBytes) {
    throw new Error(`${plot.name}: HTTP ${answer.status}, ${bytes.byteLength} bytes, not ${plot.sizeBytes}`);
  }
  tell({ step: "plot", name: plot.name, bytes: bytes.byteLength });
}

async function evaluate(runId: string): Promise<void> {
  // [evaluate]
  const { evaluation } = await client.evaluations.createEvaluation({ runId, part: Part.TEST, requestId: newRequestId() });
  const { evaluationId } = evaluation!;
  for await (const item of client.watchRun(evaluationId)) {
    if (item.kind === "event" && item.event.payload.case === "stage") {
      console.error(`stage ${item.event.payload.value.stage}`);
    }
  }
  const ended = (await client.evaluations.getEvaluation({ evaluationId })).evaluation!;
  // [/evaluate]
  if (ended.job?.state !== JobState.SUCCEEDED || !ended.result) {
    throw new Error(`the evaluation ended as ${JobState[ended.job!.state]}: ${ended.job!.message}`);
  }
  const { images, overall } = ended.result;
  tell({ step: "evaluation", evaluation_id: evaluationId, images, mAP50: overall["mAP50"] });
}

async function decodeRefusal(splitId: string): Promise<void> {
  // [refusal]
  try {
    await client.runs.createRun({ splitId, model: "yolov8n", arguments: toValues({ epohcs: 4 }) });
  } catch (error) {
    if (!(error instanceof SplitrailError) || error.reason !== "INVALID_FIELD") {
      throw error;
    }
    tell({ step: "refusal", code: Code[error.code], reason: error.reason, field: error.violations[0]!.field });
  }
  // [/refusal]
}

async function readFolder(folder: string): Promise<LocalFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(
    paths.sort().map(async (path) => {
      const bytes = new Uint8Array(await readFile(path));
      const relative = path.slice(folder.length).replace(/^\/+/, "");
      return { path: relative, bytes, sha256: createHash("sha256").update(bytes).digest("hex") };
    }),
  );
}

function setting(name: string): string {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set`);
  }
  return value;
}

function tell(line: Record<string, unknown>): void {
  console.log(JSON.stringify(line));
}
