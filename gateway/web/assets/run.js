// One run, live: state, epochs, charts, plots, evaluations, log.
import { blob, get, watch } from "./api.js";
import { Charts } from "./charts.js";
import { duration, el, figure, stateBadge, table } from "./dom.js";
import { digits, label, occurring, schema } from "./metrics.js";

const LOG_LINES = 400;

export async function showRun(main, runId, signal, onLink) {
  const [{ run }, metrics] = await Promise.all([get(`/api/runs/${encodeURIComponent(runId)}`, signal), schema(signal)]);
  const view = new RunView(run, metrics, signal);
  main.replaceChildren(view.node);
  document.getElementById("crumb").textContent = `› ${run.reference}`;
  await Promise.all([view.showPlots(), view.showEvaluations()]);
  await watch(runId, signal, { onMessage: (message) => view.take(message), onLink, onRestart: () => view.restart() });
  onLink(true);
  await Promise.all([view.showPlots(), view.showEvaluations()]);
}

const fitness = (epoch) => Number(epoch.metrics?.fitness);

/** Of epochs in order, the one of the highest finite fitness, of equals the latest: the services' own rule (RunSummary.best), on what has come so far. */
const bestEpoch = (epochs) => epochs.filter((epoch) => Number.isFinite(fitness(epoch)))
  .reduce((best, epoch) => (best && fitness(best) > fitness(epoch) ? best : epoch), null);

class RunView {
  constructor(run, metrics, signal) {
    Object.assign(this, { run, metrics, signal, epochs: [], pictures: new Map(), state: run.job?.state, attempt: run.job?.attempt ?? 0, stage: "", dirty: false });
    this.charts = new Charts(metrics);
    this.strip = el("div", { class: "strip" });
    this.bar = el("progress", { max: run.epochs || 1, value: 0 });
    this.batch = el("p", { class: "muted" }, "\u00a0");
    this.table = el("div");
    this.plots = el("div", { class: "plots" });
    this.evaluations = el("div");
    this.log = el("pre", { class: "log panel" });
    this.node = el("div", {}, el("h1", {}, run.reference),
      el("p", { class: "muted" }, `${run.model} on ${run.splitReference}, split digest ${(run.splitDigest ?? "").slice(0, 12)}…`),
      this.strip, this.bar, this.batch, this.charts.node, el("h2", {}, "Evaluations"), this.evaluations, el("h2", {}, "Epochs"), this.table,
      el("h2", {}, "Plots"), this.plots, el("h2", {}, "Log"), this.log);
    this.draw();
  }

  restart() {
    this.epochs = [];
    this.log.replaceChildren();
    this.schedule();
  }

  take(message) {
    if (message.progress) return this.showProgress(message.progress);
    const event = message.event;
    if (!event) return undefined;
    if (event.state) this.state = event.state.state;
    else if (event.attemptStarted) this.attempt = event.attempt;
    else if (event.stage) this.stage = (event.stage.stage ?? "").replace("STAGE_", "").toLowerCase();
    else if (event.epoch) this.epochs.push(event.epoch);
    else if (event.rolledBack) this.epochs = this.epochs.filter((epoch) => epoch.epoch <= (event.rolledBack.epoch ?? 0));
    else if (event.plot) this.plotsLate = true;
    else if (event.log) this.showLog(event.log);
    return this.schedule();
  }

  // A replay brings hundreds of events at once: draw once for all of them.
  schedule() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      this.draw();
      if (this.plotsLate) { this.plotsLate = false; this.showPlots().catch((error) => this.fail(error)); }
    });
  }

  fail(error) {
    if (!this.signal.aborted) this.plots.replaceChildren(el("p", { class: "error" }, error.message));
  }

  draw() {
    const done = this.epochs.at(-1)?.epoch ?? 0;
    const ended = !["JOB_STATE_RUNNING", "JOB_STATE_QUEUED"].includes(this.state);
    const best = bestEpoch(this.epochs);
    const headlines = occurring(this.metrics, [best?.metrics]).filter((metric) => metric.headline);
    const tile = (title, value) => el("div", {}, el("span", {}, title), el("b", {}, value));
    this.strip.replaceChildren(tile("state", stateBadge(this.state)), tile("epoch", `${done}/${this.run.epochs}`),
      ...headlines.map((metric) => tile(`best val ${label(metric)}`, figure(best.metrics[metric.key]))), tile("best epoch", best ? String(best.epoch) : "–"),
      tile("attempt", String(this.attempt || "–")), tile("stage", (!ended && this.stage) || "–"));
    this.bar.value = done;
    document.title = done ? `${done}/${this.run.epochs} ${headlines.length ? figure(best.metrics[headlines[0].key]) : ""} · ${this.run.reference}` : `${this.run.reference} · Splitrail`;
    if (ended) this.batch.textContent = "\u00a0";
    this.charts.draw(this.epochs);
    const columns = occurring(this.metrics, this.epochs.map((epoch) => epoch.metrics));
    this.table.replaceChildren(this.epochs.length
      ? table(["#Epoch", ...columns.map((metric) => `#${label(metric)}`)],
        this.epochs.slice().reverse().map((epoch) => [String(epoch.epoch), ...columns.map((metric) => figure(epoch.metrics?.[metric.key], digits(metric)))]))
      : el("p", { class: "muted" }, "The first epoch is not complete yet."));
  }

  showProgress(progress) {
    const losses = Object.entries(progress.losses ?? {}).sort().map(([name, value]) => `, ${name.replaceAll("_", " ")} ${figure(value)}`).join("");
    const rest = progress.remainingSeconds === undefined ? "" : `, about ${duration(progress.remainingSeconds)} left`;
    this.batch.textContent = `epoch ${progress.epoch}/${progress.epochs}, batch ${progress.batch}/${progress.batches}${rest}${losses}`;
    this.bar.value = Math.max(this.epochs.at(-1)?.epoch ?? 0, (progress.epoch ?? 1) - 1 + (progress.batch ?? 0) / (progress.batches || 1));
  }

  showLog(line) {
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 4;
    this.log.append(`${line.text}\n`);
    while (this.log.childNodes.length > LOG_LINES) this.log.firstChild.remove();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  async showPlots() {
    const pictures = await this.gallery(this.run.runId);
    this.plots.replaceChildren(...(pictures.length ? pictures : [el("p", { class: "muted" }, "Plots come when training has ended.")]));
  }

  /** The pictures that a run or an evaluation has left; each is fetched once. */
  async gallery(id) {
    const { plots = [] } = await get(`/api/runs/${id}/plots?page_size=1000`, this.signal);
    return Promise.all(plots.map((plot) => {
      const key = `${id} ${plot.name} ${plot.sha256}`;
      if (!this.pictures.has(key)) this.pictures.set(key, this.picture(id, plot));
      return this.pictures.get(key);
    }));
  }

  async picture(id, plot) {
    const source = URL.createObjectURL(await blob(`/api/runs/${id}/plots/${encodeURIComponent(plot.name)}`, this.signal));
    this.signal.addEventListener("abort", () => URL.revokeObjectURL(source), { once: true });
    return el("figure", {}, el("a", { href: source, target: "_blank" }, el("img", { src: source, alt: plot.title })), el("figcaption", {}, plot.title));
  }

  async showEvaluations() {
    const { evaluations = [] } = await get(`/api/runs/${this.run.runId}/evaluations?page_size=1000`, this.signal);
    if (!evaluations.length) {
      this.evaluations.replaceChildren(el("p", { class: "muted" }, "None yet: ", el("code", {}, `splitrail eval run ${this.run.reference} --split test`)));
      return;
    }
    const part = (item) => (item.part ?? "").replace("PART_", "").toLowerCase();
    const columns = occurring(this.metrics, evaluations.map((item) => item.result?.overall));
    const rows = evaluations.map((item) => [
      String(item.number), stateBadge(item.job?.state), `${part(item)} of ${item.splitReference}`, String(item.result?.images ?? "–"),
      ...columns.map((metric) => (item.result ? `${part(item)} ${figure(item.result.overall?.[metric.key], digits(metric))}` : "–")),
    ]);
    const galleries = await Promise.all(evaluations.filter((item) => item.result).map(async (item) => [
      el("h3", {}, `Plots of evaluation ${item.number} (${part(item)})`), el("div", { class: "plots" }, ...(await this.gallery(item.evaluationId))),
    ]));
    this.evaluations.replaceChildren(table(["#", "State", "Judged on", "#Images", ...columns.map((metric) => `#${label(metric)}`)], rows), ...galleries.flat());
  }
}
