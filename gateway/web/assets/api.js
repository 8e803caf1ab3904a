// The gateway's JSON, with the token of this browser session.

const KEY = "splitrail-token";

/** Raised for an answer that is not 2xx; `status` is HTTP's. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

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
  let message = text;
  try { message = JSON.parse(text).message ?? text; } catch (error) { if (!(error instanceof SyntaxError)) throw error; }
  throw new ApiError(response.status, message || `HTTP ${response.status}`);
}

export const get = async (path, signal) => (await request(path, { signal })).json();
export const blob = async (path, signal) => (await request(path, { signal })).blob();

/** One NDJSON stream as an async iterator of messages. */
async function* lines(path, signal) {
  const response = await request(path, { signal, headers: { accept: "application/x-ndjson" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
  }
}

/**
 * Follows a run's feed until it is closed; a lost connection is opened again from the cursor, so that `onMessage` gets every event once and in order.
 * `onLink(true|false)` says whether the connection stands.
 */
export async function watch(runId, signal, onMessage, onLink) {
  let cursor = "0";
  let wait = 250;
  while (!signal.aborted) {
    try {
      for await (const message of lines(`/api/runs/${encodeURIComponent(runId)}/watch?after_seq=${cursor}`, signal)) {
        if (message.error) throw new ApiError(503, message.error.message ?? "the stream broke");
        onLink(true);
        wait = 250;
        cursor = message.cursor ?? cursor;
        onMessage(message);
        if (message.closed?.reason === "ended") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    }
    onLink(false);
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
    wait = Math.min(wait * 2, 5000);
  }
}
