import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { Code, type StreamResponse, type Transport } from "@connectrpc/connect";
import { SplitrailError } from "./errors.js";
import { jittered, pause } from "./pause.js";

/** Where the gateway is and who asks. */
export interface ConnectOptions {
  /** The gateway: `https://splitrail.example.org`. */
  readonly url: string;
  /** A token, or where to get one: asked before every call, so it should keep a token until shortly before its end. */
  readonly token: string | (() => string | Promise<string>);
  /** Deadline of a unary call with its retries; default 30 s. A call's own `timeoutMs` wins; 0: none. */
  readonly timeoutMs?: number;
  /** Also sends the token without TLS to another machine: for a network that is trusted, such as a cluster's own. */
  readonly plaintext?: boolean;
}

/** The gateway's address. Throws for one that would carry the token in the clear to another machine. */
export function gatewayUrl({ url, plaintext = false }: ConnectOptions): string {
  const { protocol, hostname } = new URL(url);
  const isThisMachine = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
  if (protocol !== "https:" && !isThisMachine && !plaintext) {
    throw new Error(`the token would go to ${hostname} without TLS: use https, or plaintext: true on a trusted network`);
  }
  return url;
}

const DEFAULT_TIMEOUT_MS = 30_000;

/** As `proto/service_config.json` has it for other languages' gRPC: UNAVAILABLE on unary RPCs, never on streams. */
export const RETRY_POLICY = { maxAttempts: 4, initialBackoffMs: 100, maxBackoffMs: 2000, backoffMultiplier: 2 } as const;

/** Adds to a transport what every call of this client has: the token, a deadline, a request_id, retries, typed errors. */
export function withCallPolicy(inner: Transport, options: ConnectOptions): Transport {
  async function authorized(given: HeadersInit | undefined): Promise<Headers> {
    const header = new Headers(given);
    const token = typeof options.token === "string" ? options.token : await options.token();
    header.set("authorization", `Bearer ${token}`);
    return header;
  }

  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const limit = timeoutMs ?? options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
      const end = limit > 0 ? performance.now() + limit : Infinity;
      const message = withRequestId(method.input, input);
      let backoff: number = RETRY_POLICY.initialBackoffMs;
      for (let attempt = 1; ; attempt++) {
        try {
          const left = end === Infinity ? undefined : Math.max(1, Math.ceil(end - performance.now()));
          return await inner.unary(method, signal, left, await authorized(header), message, contextValues);
        } catch (thrown) {
          const error = SplitrailError.from(thrown);
          const wait = Math.max(jittered(backoff), error.retryDelayMs);
          const isLast = attempt === RETRY_POLICY.maxAttempts || performance.now() + wait >= end;
          if (error.code !== Code.Unavailable || isLast || signal?.aborted) {
            throw error;
          }
          await pause(wait, signal);
          backoff = Math.min(backoff * RETRY_POLICY.backoffMultiplier, RETRY_POLICY.maxBackoffMs);
        }
      }
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      try {
        const opened = await inner.stream(method, signal, timeoutMs, await authorized(header), input, contextValues);
        return { ...opened, message: typedErrors(opened.message) } satisfies StreamResponse;
      } catch (error) {
        throw SplitrailError.from(error);
      }
    },
  };
}

/** What makes a mutation safe to repeat: the same request_id in every attempt. The caller's own one stays. */
function withRequestId<I extends DescMessage>(schema: I, input: MessageInitShape<I>): MessageInitShape<I> {
  const given = input as { requestId?: string };
  return "requestId" in schema.field && !given.requestId ? { ...input, requestId: newRequestId() } : input;
}

/** A new request_id. (Browsers have crypto.randomUUID on secure origins only.) */
export function newRequestId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function* typedErrors<T>(messages: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw SplitrailError.from(error);
  }
}
