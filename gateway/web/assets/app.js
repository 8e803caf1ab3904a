// The page: a token, then the list of runs (#/) or one run (#/runs/<id>).
import { adoptToken, ApiError, hasToken, setToken } from "./api.js";
import { el } from "./dom.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
let current = new AbortController();

function onLink(stands) {
  link.textContent = stands ? "" : "connection lost, trying again…";
  link.classList.toggle("lost", !stands);
}

function askForToken(why) {
  const input = el("input", { type: "password", "aria-label": "API token", placeholder: "API token", autocomplete: "off", required: true });
  const form = el("form", { class: "token" }, input, el("button", {}, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value.trim());
    route();
  });
  main.replaceChildren(el("h1", {}, "Sign in"), el("p", { class: "muted" }, `${why} The embedded stack prints an address that holds one.`), form);
}

async function route() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  adoptToken();
  document.title = "Splitrail";
  document.getElementById("crumb").textContent = "";
  onLink(true);
  if (!hasToken()) return askForToken("This page needs an API token.");
  const run = /^#\/runs\/([^/]+)$/.exec(location.hash);
  try {
    await (run ? showRun(main, decodeURIComponent(run[1]), signal, onLink) : showRuns(main, signal));
  } catch (error) {
    if (signal.aborted) return undefined;
    if (error instanceof ApiError && error.status === 401) return askForToken("The token was refused.");
    main.replaceChildren(el("h1", {}, "That did not work"), el("p", { class: "error" }, error.message), el("p", {}, el("a", { href: "#/" }, "All runs")));
    if (!(error instanceof ApiError) || error.status >= 500) setTimeout(() => { if (!signal.aborted) route(); }, 3000);
  }
  return undefined;
}

addEventListener("hashchange", route);
route();
