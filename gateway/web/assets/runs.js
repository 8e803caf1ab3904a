// The list of runs; refreshes itself.
import { get, post } from "./api.js";
import { ago, el, figure, stateBadge, table } from "./dom.js";
import { label, occurring, schema } from "./metrics.js";

const REFRESH_MS = 3000;

export async function showRuns(main, signal) {
  const headlines = (await schema(signal)).filter((metric) => metric.headline);
  while (!signal.aborted) {
    const { runs = [] } = await get("/api/runs?page_size=50", signal);
    const { summaries = {} } = runs.length ? await post("/api/run-summaries", { runIds: runs.map((run) => run.runId) }, signal) : {};
    if (signal.aborted) return;
    main.replaceChildren(el("h1", {}, "Runs"), runs.length ? list(runs, summaries, headlines) : empty());
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MS));
  }
}

function list(runs, summaries, headlines) {
  const shown = occurring(headlines, Object.values(summaries).map((summary) => summary.best?.metrics));
  const titles = ["Run", "State", "Model", "Split", "#Epochs", ...shown.map((metric) => `#Best val ${label(metric)}`), "Created"];
  return table(titles, runs.map((run) => {
    const summary = summaries[run.runId] ?? {};
    return [
      el("a", { href: `#/runs/${run.runId}` }, run.reference), stateBadge(run.job?.state), run.model, run.splitReference,
      `${summary.epochsDone ?? 0}/${run.epochs}`, ...shown.map((metric) => figure(summary.best?.metrics?.[metric.key])), ago(run.job?.createTime),
    ];
  }));
}

const empty = () => el("p", { class: "muted" }, "No runs yet. Start one with ", el("code", {}, "splitrail train data=cells@v1 model=yolov8n epochs=20"), ".");
