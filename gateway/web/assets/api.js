// The gateway's JSON, with the token of this browser session.

const KEY = "splitrail-token";

/** Raised for an answer that is not 2xx: `status` is HTTP's, `code` google.rpc.Code's, `reason` that of ErrorInfo (none: no service said this). */
export class ApiError extends Error {
  constructor(status, { code = 2, message = "", details = [] }) {
    super(message || `HTTP ${status}`);
    Object.assign(this, { status, code, reason: details.find((detail) => detail.reason)?.reason });
  }
}

const INVALID_ARGUMENT = 3, NOT_FOUND = 5, PERMISSION_DENIED = 7, UNIMPLEMENTED = 12, INTERNAL = 13, UNAUTHENTICATED = 16;

/** Whether a watch ends with this error, by the rule beside WatchRun in the contracts; after any other it is opened again. */
function isFinal(error) {
  if (!(error instanceof ApiError)) return false;
  if ([UNIMPLEMENTED, UNAUTHENTICATED].includes(error.code)) return true;
  return error.reason !== undefined && [INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, INTERNAL].includes(error.code);
}

const SILENCE_MS = 30_000; // a watch says something every 15 s

/** Takes a token from the address (`#token=…`), so that it does not stay in the history, and keeps it for this session. */
export function adoptToken() {
  const match = /^#token=([^&]+)/.exec(location.hash);
  if (!match) return;
  sessionStorage.setItem(KEY, decodeURIComponent(match[1]));
  history.replaceState(null, "", location.pathname + "#/");
}

export const setToken = (token) => sessionStorage.setItem(KEY, token);
export const hasToken = () => sessionStorage.getItem(KEY) !== null;

async function request(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}`, ...options.headers } });
  if (response.ok) return response;
  const text = await response.text();
  let status = { message: text };
  try { status = JSON.parse(text); } catch (error) { if (!(error instanceof SyntaxError)) throw error; }
  throw new ApiError(response.status, status);
}

export const get = async (path, signal) => (await request(path, { signal })).json();
export const blob = async (path, signal) => (await request(path, { signal })).blob();
export const post = async (path, body, signal) =>
  (await request(path, { signal, method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();

/** One NDJSON stream as an async iterator of messages; one that falls silent is dropped. */
async function* lines(path, signal) {
  const silence = new AbortController();
  const drop = () => silence.abort(new Error("the stream fell silent"));
  let timer = setTimeout(drop, SILENCE_MS);
  try {
    const response = await request(path, { signal: AbortSignal.any([signal, silence.signal]), headers: { accept: "application/x-ndjson" } });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(drop, SILENCE_MS);
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part.trim()) yield JSON.parse(part);
    }
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Follows a run's feed until it is closed; a lost connection is opened again from the cursor, so that `onMessage` gets every event once and in order.
 * `onLink(true|false)` says whether the connection stands. `onRestart()`: forget every message so far, the feed begins again (its service was restored from a backup).
 */
export async function watch(runId, signal, { onMessage, onLink, onRestart }) {
  let cursor = "0";
  let incarnation = "";
  let wait = 250;
  while (!signal.aborted) {
    try {
      const query = new URLSearchParams({ after_seq: cursor, incarnation });
      for await (const message of lines(`/api/runs/${encodeURIComponent(runId)}/watch?${query}`, signal)) {
        onLink(true);
        wait = 250;
        ({ cursor, incarnation } = message);
        onMessage(message);
        if (message.closed?.reason === "CLOSED_REASON_ENDED") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isFinal(error)) throw error;
      if (error.reason === "CURSOR_OUT_OF_RANGE") {
        cursor = "0";
        incarnation = "";
        onRestart();
      }
    }
    onLink(false);
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
    wait = Math.min(wait * 2, 5000);
  }
}
