// The list of runs; refreshes itself.
import { get } from "./api.js";
import { ago, el, figure, stateBadge, table } from "./dom.js";

const REFRESH_MS = 3000;

export async function showRuns(main, signal) {
  while (!signal.aborted) {
    const { runs = [] } = await get("/api/runs?page_size=50", signal);
    const query = runs.map((run) => `run_ids=${encodeURIComponent(run.runId)}`).join("&");
    const { summaries = {} } = runs.length ? await get(`/api/run-summaries?${query}`, signal) : {};
    if (signal.aborted) return;
    main.replaceChildren(el("h1", {}, "Runs"), runs.length ? list(runs, summaries) : empty());
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
}

function list(runs, summaries) {
  return table(["Run", "State", "Model", "Split", "#Epochs", "#Best val mAP50", "#Best val mAP50-95", "Created"], runs.map((run) => {
    const summary = summaries[run.runId] ?? {};
    return [
      el("a", { href: `#/runs/${run.runId}` }, run.reference), stateBadge(run.job?.state), run.model, run.splitReference,
      `${summary.epochsDone ?? 0}/${run.epochs}`, figure(summary.best?.metrics?.mAP50), figure(summary.best?.metrics?.mAP50_95), ago(run.job?.createTime),
    ];
  }));
}

const empty = () => el("p", { class: "muted" }, "No runs yet. Start one with ", el("code", {}, "splitrail train data=cells@v1 model=yolov8n epochs=20"), ".");
