// One chart for each family of metrics, from the service's own descriptors.
import { el } from "./dom.js";

const COLOURS = ["#1f6feb", "#d4572a", "#1a7f4b", "#8250df", "#bf8700", "#0b7285", "#c2255c", "#495057"];

const HEIGHT = 220;

/** Charts of a run; `draw(epochs)` shows the effective timeline. */
export class Charts {
  constructor(descriptors) {
    this.descriptors = descriptors;
    this.node = el("div", { class: "charts" });
    this.plots = new Map();
    this.resized = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) this.plots.get(target.dataset.family)?.setSize({ width: contentRect.width, height: HEIGHT });
    });
  }

  draw(epochs) {
    const keys = new Set(epochs.flatMap((epoch) => Object.keys(epoch.metrics ?? {})));
    const families = new Map();
    for (const descriptor of this.descriptors) {
      if (!keys.has(descriptor.key)) continue;
      families.set(descriptor.family, [...(families.get(descriptor.family) ?? []), descriptor]);
    }
    for (const [family, members] of families) {
      const data = [epochs.map((epoch) => epoch.epoch), ...members.map((member) => epochs.map((epoch) => {
        const value = Number(epoch.metrics?.[member.key]);
        return Number.isFinite(value) ? value : null;
      }))];
      const known = this.plots.get(family);
      if (known && known.series.length === data.length) known.setData(data);
      else this.build(family, members, data);
    }
  }

  build(family, members, data) {
    const known = this.plots.get(family)?.root.parentElement;
    const panel = el("div", { class: "panel", "data-family": family }, el("h3", {}, members[0].familyTitle));
    if (known) known.replaceWith(panel);
    else this.node.append(panel);
    const style = getComputedStyle(document.documentElement);
    const axis = { stroke: style.getPropertyValue("--muted"), grid: { stroke: style.getPropertyValue("--line"), width: 1 } };
    const plot = new uPlot({
      width: 320, height: HEIGHT,
      scales: { x: { time: false } }, axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] }, { ...axis, values: (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(4)))) }],
      cursor: { sync: { key: "epoch" } },
      series: [{ label: "epoch" }, ...members.map((member, i) => ({
        label: member.title, stroke: COLOURS[i % COLOURS.length], width: 2, dash: member.key.startsWith("val_") ? [6, 4] : undefined,
        points: { show: data[0].length < 3 }, value: (_, value) => (value === null ? "–" : value.toPrecision(4)),
      }))],
    }, data, panel);
    this.plots.set(family, plot);
    this.resized.observe(panel);
  }
}
