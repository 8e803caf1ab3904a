import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { ClosedReason, ImportService, ImportState, MetricsService, SplitrailError } from "@splitrail/client";
import type { RunItem, SplitrailClient, WatchRunOptions } from "@splitrail/client";
import { Feed } from "./feed.js";
import { Gateway, type Path } from "./gateway.js";
import { refusal } from "./refusal.js";

const RUN = "01890a5d-ac96-774b-bcce-b302099a8057";

async function items(
  client: SplitrailClient,
  options: WatchRunOptions = {},
  read: (item: RunItem) => void = () => {},
): Promise<RunItem[]> {
  const found = [];
  for await (const item of client.watchRun(RUN, options)) {
    found.push(item);
    read(item);
  }
  return found;
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}

/** Cuts the gateway's connections when the client has read one of these events, beyond which the feed waits for it. */
function cutAfter(gateway: Gateway, feed: Feed, seqs: readonly bigint[]): (item: RunItem) => void {
  const cuts = new Map(seqs.map((seq) => [seq, withResolvers()]));
  feed.beforeEvent = (seq) => cuts.get(seq - 1n)?.promise;
  return (item) => {
    if (item.kind === "event" && cuts.has(item.event.seq)) {
      gateway.cut();
      cuts.get(item.event.seq)?.resolve();
    }
  };
}

/** Seqs of events, and the kind of what is none. */
function told(found: RunItem[]): (number | string)[] {
  return found.map((item) => (item.kind === "event" ? Number(item.event.seq) : item.kind));
}

const serving = (path: Path, feed: Partial<Feed>) =>
  Gateway.serving(path, (router) => router.service(MetricsService, feed as Feed));

for (const path of ["gRPC", "gRPC-Web"] as const) {
  test(`${path}: each event comes once and in order although connections are cut in the middle`, async () => {
    const feed = new Feed(9);
    const gateway = await serving(path, feed);
    const interruptions: SplitrailError[] = [];
    const options = { onInterruption: (error: SplitrailError) => interruptions.push(error) };
    const found = await gateway.with({}, (client) => items(client, options, cutAfter(gateway, feed, [3n, 6n])));
    assert.deepEqual(told(found), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.equal(interruptions.length, 2);
    assert.ok(interruptions.every((error) => error.reason === ""));
    assert.deepEqual(
      feed.openings.map(({ afterSeq, incarnation }) => [afterSeq, incarnation]),
      [[0n, ""], [3n, "first"], [6n, "first"]],
    );
  });

  test(`${path}: a cursor of another incarnation starts from 0, and the caller is told`, async () => {
    const feed = new Feed(3);
    const gateway = await serving(path, feed);
    const cut = cutAfter(gateway, feed, [2n]);
    const read = (item: RunItem) => {
      if (item.kind === "event" && item.event.seq === 2n && feed.incarnation === "first") {
        feed.incarnation = "restored";
        cut(item);
      }
    };
    const found = await gateway.with({}, (client) => items(client, {}, read));
    assert.deepEqual(told(found), [1, 2, "restart", 1, 2, 3]);
    assert.deepEqual(
      feed.openings.map(({ afterSeq, incarnation }) => [afterSeq, incarnation]),
      [[0n, ""], [2n, "first"], [0n, ""]],
    );
  });

  for (const [name, thrown] of [
    ["UNAVAILABLE", refusal(Code.Unavailable, "DEPENDENCY_UNAVAILABLE")],
    ["RESOURCE_EXHAUSTED", refusal(Code.ResourceExhausted, "WATCHER_TOO_SLOW")],
    ["DEADLINE_EXCEEDED", new ConnectError("late", Code.DeadlineExceeded)],
    ["ABORTED", new ConnectError("aborted", Code.Aborted)],
    ["INTERNAL without ErrorInfo", new ConnectError("stream reset", Code.Internal)],
    ["UNKNOWN without ErrorInfo", new ConnectError("who knows", Code.Unknown)],
    ["CANCELLED without ErrorInfo", new ConnectError("cancelled", Code.Canceled)],
  ] as const) {
    test(`${path}: ${name} opens the watch again`, async () => {
      const feed = new Feed(2);
      feed.beforeEvent = (seq, opening) => {
        if (opening === 1 && seq === 2n) {
          throw thrown;
        }
      };
      const found = await (await serving(path, feed)).with({}, (client) => items(client));
      assert.deepEqual(told(found), [1, 2]);
      assert.deepEqual(feed.openings.map((request) => request.afterSeq), [0n, 1n]);
    });
  }

  for (const [name, thrown] of [
    ["NOT_FOUND", refusal(Code.NotFound, "NOT_FOUND")],
    ["INVALID_ARGUMENT", refusal(Code.InvalidArgument, "INVALID_FIELD")],
    ["PERMISSION_DENIED", refusal(Code.PermissionDenied, "ROLE_MISSING")],
    ["UNAUTHENTICATED", new ConnectError("no token", Code.Unauthenticated)],
    ["UNIMPLEMENTED", new ConnectError("no such RPC", Code.Unimplemented)],
    ["INTERNAL with ErrorInfo", refusal(Code.Internal, "INTERNAL")],
    ["OUT_OF_RANGE of a watch from the start", refusal(Code.OutOfRange, "CURSOR_OUT_OF_RANGE")],
  ] as const) {
    test(`${path}: ${name} ends the watch`, async () => {
      let openings = 0;
      const gateway = await Gateway.serving(path, (router) =>
        router.service(MetricsService, {
          async *watchRun() {
            openings += 1;
            throw thrown;
          },
        }),
      );
      const refused = gateway.with({}, (client) => items(client));
      await assert.rejects(refused, (error) => error instanceof SplitrailError && error.code === thrown.code);
      assert.equal(openings, 1);
    });
  }

  test(`${path}: a service that shuts down, and an end without closed, open the watch again`, async () => {
    let openings = 0;
    const gateway = await Gateway.serving(path, (router) =>
      router.service(MetricsService, {
        async *watchRun(request) {
          openings += 1;
          if (openings === 2) {
            return;
          }
          const reason = openings === 1 ? ClosedReason.DRAINING : ClosedReason.ENDED;
          yield { cursor: request.afterSeq, incarnation: "first", message: { case: "closed" as const, value: { reason } } };
        },
      }),
    );
    assert.deepEqual(await gateway.with({}, (client) => items(client)), []);
    assert.equal(openings, 3);
  });

  test(`${path}: a silent connection is dropped and the watch opened again`, async () => {
    const feed = new Feed(2);
    let ended = false;
    const gateway = await Gateway.serving(path, (router) =>
      router.service(MetricsService, {
        async *watchRun(request, context) {
          if (feed.openings.length === 0) {
            feed.openings.push(request);
            yield { cursor: 0n, incarnation: "first", message: { case: "heartbeat" as const, value: {} } };
            await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
            ended = true;
            return;
          }
          yield* feed.watchRun(request, context);
        },
      }),
    );
    const found = await gateway.with({}, (client) => items(client, { silenceMs: 200 }));
    assert.deepEqual(told(found), [1, 2]);
    assert.ok(ended, "the silent stream was cancelled");
  });

  test(`${path}: a gap between events is not passed on`, async () => {
    const feed = new Feed(3);
    let openings = 0;
    const gateway = await Gateway.serving(path, (router) =>
      router.service(MetricsService, {
        async *watchRun(request, context) {
          const from = ++openings === 1 ? request.afterSeq + 1n : request.afterSeq;
          yield* feed.watchRun({ ...request, afterSeq: from }, context);
        },
      }),
    );
    assert.deepEqual(told(await gateway.with({}, (client) => items(client))), [1, 2, 3]);
    assert.equal(openings, 2);
  });

  test(`${path}: whoever stops reading ends the stream, and an aborted watch throws the signal's reason`, async () => {
    const cancelled: unknown[] = [];
    const gateway = await Gateway.serving(path, (router) =>
      router.service(MetricsService, {
        async *watchRun(_, context) {
          yield { cursor: 1n, incarnation: "first", message: { case: "event" as const, value: { seq: 1n } } };
          await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
          cancelled.push(context.signal.reason);
        },
      }),
    );
    await gateway.with({}, async (client) => {
      for await (const item of client.watchRun(RUN)) {
        assert.equal(item.kind, "event");
        break;
      }
      const controller = new AbortController();
      const watching = (async () => {
        for await (const _ of client.watchRun(RUN, { signal: controller.signal })) {
          controller.abort(new Error("enough"));
        }
      })();
      await assert.rejects(watching, /enough/);
      while (cancelled.length < 2) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
  });

  test(`${path}: a connection that stays broken is given up`, async () => {
    const gateway = await serving(path, {
      async *watchRun() {
        throw new ConnectError("gone", Code.Unavailable);
      },
    } as unknown as Feed);
    const pauses: number[] = [];
    const watching = gateway.with({}, (client) =>
      items(client, { giveUpMs: 500, onInterruption: (_, pauseMs) => pauses.push(pauseMs) }),
    );
    await assert.rejects(watching, (error) => error instanceof SplitrailError && error.code === Code.Unavailable);
    assert.ok(pauses.length >= 2 && pauses[0]! <= 100 && pauses.at(-1)! > pauses[0]!, `pauses grow: ${pauses}`);
  });

  test(`${path}: an import is followed to its end over a cut`, async () => {
    let openings = 0;
    const gateway: Gateway = await Gateway.serving(path, (router) =>
      router.service(ImportService, {
        async *watchImport() {
          openings += 1;
          yield { datasetImport: { state: ImportState.RUNNING } };
          if (openings === 1) {
            gateway.cut();
          }
          yield { datasetImport: { state: ImportState.SUCCEEDED } };
        },
      }),
    );
    const states = await gateway.with({}, async (client) => {
      const found: ImportState[] = [];
      for await (const { state } of client.watchImport(RUN)) {
        found.push(state);
      }
      return found;
    });
    assert.equal(states.at(-1), ImportState.SUCCEEDED);
    assert.equal(openings, 2);
  });
}
