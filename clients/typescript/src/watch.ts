import { Code, type Client } from "@connectrpc/connect";
import { SplitrailError } from "./errors.js";
import type { BatchProgress } from "./gen/splitrail/events/v1/event_pb.js";
import type { FeedEvent } from "./gen/splitrail/metrics/v1/metrics_pb.js";
import { ClosedReason, type MetricsService } from "./gen/splitrail/metrics/v1/metrics_service_pb.js";
import { ImportState, type Import } from "./gen/splitrail/split/v1/import_pb.js";
import type { ImportService } from "./gen/splitrail/split/v1/import_service_pb.js";
import { jittered, pause } from "./pause.js";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** How to meet interruptions. */
export interface WatchOptions {
  /** Ends the watch: the iteration throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called before each pause, after which the stream is opened again. */
  readonly onInterruption?: (error: SplitrailError, pauseMs: number) => void;
  /** Without a message for this long the connection counts as dead; default 30 s, and services send every 15 s. */
  readonly silenceMs?: number;
  /** When nothing has come for this long since the first interruption, the last error is thrown; default 5 minutes. */
  readonly giveUpMs?: number;
}

/** Where to begin. Both come from the last item that was read. */
export interface WatchRunOptions extends WatchOptions {
  /** The seq of the last event that was read; default 0: from the start. */
  readonly afterSeq?: bigint;
  /** The incarnation that it belongs to. */
  readonly incarnation?: string;
}

/** What a watch of a run gives. */
export type RunItem =
  /** The next event; `event.seq` and `incarnation` are where to continue. */
  | { readonly kind: "event"; readonly event: FeedEvent; readonly incarnation: string }
  /** Progress within the running epoch: transient, any of it may be lost. */
  | { readonly kind: "progress"; readonly progress: BatchProgress }
  /** The feed was restored from a backup: forget what was read, its events come again from the first. */
  | { readonly kind: "restart"; readonly error: SplitrailError };

/**
 * The feed of a run, or of an evaluation by its id: what has happened, then live, until it has ended. Each event comes
 * exactly once and in order, whatever is killed in between: the stream is opened again from its cursor.
 *
 * Throws SplitrailError for a run that is not there or may not be seen, and what broke the connection when it stays
 * broken for `giveUpMs`.
 */
export async function* watchRun(
  metrics: Client<typeof MetricsService>,
  runId: string,
  options: WatchRunOptions = {},
): AsyncGenerator<RunItem, void, undefined> {
  const interruptions = new Interruptions(options);
  let cursor = options.afterSeq ?? 0n;
  let incarnation = options.incarnation ?? "";
  for (;;) {
    let problem = new SplitrailError("the stream ended before the run did", Code.Unavailable);
    interruptions.opening();
    try {
      const request = { runId, afterSeq: cursor, incarnation };
      for await (const { message, ...at } of audible((signal) => metrics.watchRun(request, { signal }), options)) {
        interruptions.messageCame(message.case === "event");
        incarnation = at.incarnation;
        if (message.case === "event") {
          const { seq } = message.value;
          if (seq <= cursor) {
            continue; // read before the connection broke
          }
          if (seq !== cursor + 1n) {
            problem = new SplitrailError(`event ${seq} came after ${cursor}`, Code.Aborted);
            break;
          }
          cursor = seq;
          yield { kind: "event", event: message.value, incarnation };
        } else if (message.case === "progress") {
          yield { kind: "progress", progress: message.value };
        } else if (message.case === "closed") {
          if (message.value.reason === ClosedReason.ENDED) {
            return;
          }
          problem = new SplitrailError("the service is shutting down", Code.Unavailable);
          break;
        }
      }
    } catch (error) {
      problem = SplitrailError.from(error);
    }
    if (problem.reason === "CURSOR_OUT_OF_RANGE" && (cursor > 0n || incarnation !== "")) {
      [cursor, incarnation] = [0n, ""];
      yield { kind: "restart", error: problem };
    } else {
      await interruptions.pause(problem);
    }
  }
}

/** The import each time that it changes, the last time as SUCCEEDED, FAILED or CANCELLED. Throws as watchRun does. */
export async function* watchImport(
  imports: Client<typeof ImportService>,
  importId: string,
  options: WatchOptions = {},
): AsyncGenerator<Import, void, undefined> {
  const interruptions = new Interruptions(options);
  for (;;) {
    let problem = new SplitrailError("the stream ended before the import did", Code.Unavailable);
    interruptions.opening();
    try {
      for await (const { datasetImport } of audible((signal) => imports.watchImport({ importId }, { signal }), options)) {
        interruptions.messageCame(true);
        if (datasetImport !== undefined) {
          yield datasetImport;
          if ([ImportState.SUCCEEDED, ImportState.FAILED, ImportState.CANCELLED].includes(datasetImport.state)) {
            return;
          }
        }
      }
    } catch (error) {
      problem = SplitrailError.from(error);
    }
    await interruptions.pause(problem);
  }
}

/** The messages of one stream; an error after too long a silence. The stream is cancelled when the iteration ends. */
async function* audible<T>(open: (signal: AbortSignal) => AsyncIterable<T>, options: WatchOptions): AsyncGenerator<T> {
  const silenceMs = options.silenceMs ?? 30_000;
  const controller = new AbortController();
  const stop = () => controller.abort(options.signal?.reason);
  options.signal?.throwIfAborted();
  options.signal?.addEventListener("abort", stop, { once: true });
  try {
    const messages = open(controller.signal)[Symbol.asyncIterator]();
    for (;;) {
      const next = await within(silenceMs, messages.next());
      if (next.done) {
        return;
      }
      yield next.value;
    }
  } finally {
    options.signal?.removeEventListener("abort", stop);
    controller.abort();
  }
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    const text = `nothing was heard for ${ms / 1000} s`;
    timer = setTimeout(() => reject(new SplitrailError(text, Code.DeadlineExceeded)), ms);
  });
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}

/** Pauses between attempts that grow while no message comes. Opening again is safe: it only reads. */
class Interruptions {
  private longestMs = FIRST_PAUSE_MS;
  private brokenSince: number | undefined;
  private openedAt = 0;

  constructor(private readonly options: WatchOptions) {}

  opening(): void {
    this.openedAt = performance.now();
  }

  /** A heartbeat shows a living stream, but only news shows one that is of use: a service may die right after it. */
  messageCame(isNews: boolean): void {
    this.brokenSince = undefined;
    if (isNews || performance.now() - this.openedAt > LONGEST_PAUSE_MS) {
      this.longestMs = FIRST_PAUSE_MS;
    }
  }

  /** Waits before the next attempt; throws `error` when there shall be none. */
  async pause(error: SplitrailError): Promise<void> {
    this.options.signal?.throwIfAborted();
    this.brokenSince ??= performance.now();
    if (!mayReopen(error) || performance.now() - this.brokenSince > (this.options.giveUpMs ?? 300_000)) {
      throw error;
    }
    const wait = Math.max(jittered(this.longestMs), error.retryDelayMs);
    this.longestMs = Math.min(this.longestMs * 2, LONGEST_PAUSE_MS);
    this.options.onInterruption?.(error, wait);
    await pause(wait, this.options.signal);
  }
}

/** What the comment of MetricsService.WatchRun says of each code. */
function mayReopen(error: SplitrailError): boolean {
  switch (error.code) {
    case Code.Unavailable:
    case Code.ResourceExhausted:
    case Code.DeadlineExceeded:
    case Code.Aborted:
      return true;
    case Code.Unauthenticated:
    case Code.Unimplemented:
      return false;
    default:
      return error.reason === ""; // from the connection: a service or the gateway was killed
  }
}
