// Elements from values. Text is always set as text, never as markup: names and log lines come from users.

/** An element with attributes and children; strings become text nodes. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A table from column titles (those that start with "#" are numbers, aligned right) and rows of cells. */
export function table(titles, rows) {
  const kinds = titles.map((title) => (title.startsWith("#") ? { class: "number" } : {}));
  const cells = (tag, values) => el("tr", {}, ...values.map((value, i) => el(tag, kinds[i], value)));
  return el("div", { class: "panel scroll" },
    el("table", {}, el("thead", {}, cells("th", titles.map((title) => title.replace(/^#/, "")))), el("tbody", {}, ...rows.map((row) => cells("td", row)))));
}

/** A number of protobuf's JSON (NaN and infinity are strings) with digits after the point; a dash when absent. */
export function figure(value, digits = 3) {
  if (value === undefined || value === null) return "–";
  const number = Number(value);
  return Number.isFinite(number) ? number.toFixed(digits) : String(value);
}

/** "2 min ago" for an RFC 3339 time. */
export function ago(time) {
  if (!time) return "–";
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  const [unit, size] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, length]) => seconds >= length) ?? ["second", 1];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(seconds / size), unit);
}

/** "3 min 20 s" */
export function duration(seconds) {
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A badge for a JobState's name. */
export function stateBadge(state) {
  const name = (state ?? "JOB_STATE_UNSPECIFIED").replace("JOB_STATE_", "");
  return el("span", { class: `state ${name}` }, name.toLowerCase());
}
