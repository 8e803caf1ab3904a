import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import * as api from "@splitrail/client";
import { MetricsService, RunService, SplitrailError } from "@splitrail/client";
import { connect as connectNode } from "@splitrail/client/node";
import { connect as connectWeb } from "@splitrail/client/web";
import { Gateway } from "./gateway.js";
import { refusal } from "./refusal.js";

const ROOT = new URL("../../../../", import.meta.url);

for (const path of ["gRPC", "gRPC-Web"] as const) {
  test(`${path}: a refusal tells its reason, metadata and fields`, async () => {
    const violations = [{ field: "arguments.epohcs", description: "no such argument; did you mean epochs?" }];
    const gateway = await Gateway.serving(path, (router) =>
      router.service(RunService, {
        createRun() {
          throw refusal(Code.InvalidArgument, "INVALID_FIELD", { metadata: { type: "run" }, violations, retrySeconds: 2 });
        },
      }),
    );
    await gateway.with({}, async (client) => {
      const error = await client.runs.createRun({ model: "yolov8n" }).catch((thrown: unknown) => thrown);
      assert.ok(error instanceof SplitrailError);
      assert.equal(error.code, Code.InvalidArgument);
      assert.equal(error.reason, "INVALID_FIELD");
      assert.deepEqual(error.metadata, { type: "run" });
      assert.deepEqual(error.violations, violations);
      assert.equal(error.retryDelayMs, 2000);
      assert.equal(error.message, "refused: INVALID_FIELD");
    });
  });

  test(`${path}: UNAVAILABLE is repeated, by one request_id and each time with the token of the moment`, async () => {
    const requestIds: string[] = [];
    const tokens: (string | null)[] = [];
    const gateway = await Gateway.serving(path, (router) =>
      router.service(RunService, {
        createRun(request, context) {
          requestIds.push(request.requestId);
          tokens.push(context.requestHeader.get("authorization"));
          if (requestIds.length < 3) {
            throw new ConnectError("not now", Code.Unavailable);
          }
          return { run: { runId: "a run" } };
        },
      }),
    );
    let asked = 0;
    const token = () => Promise.resolve(`token ${++asked}`);
    const answer = await gateway.with({ token }, (client) => client.runs.createRun({ model: "yolov8n" }));
    assert.equal(answer.run?.runId, "a run");
    assert.equal(requestIds.length, 3);
    assert.match(requestIds[0]!, /^[0-9a-f]{32}$/);
    assert.equal(new Set(requestIds).size, 1);
    assert.deepEqual(tokens, ["Bearer token 1", "Bearer token 2", "Bearer token 3"]);
  });

  test(`${path}: the caller's own request_id stays`, async () => {
    const gateway = await Gateway.serving(path, (router) =>
      router.service(RunService, { cancelRun: (request) => ({ run: { externalId: request.requestId } }) }),
    );
    const answer = await gateway.with({}, (client) => client.runs.cancelRun({ requestId: "mine" }));
    assert.equal(answer.run?.externalId, "mine");
  });

  for (const [name, thrown] of [
    ["ABORTED", refusal(Code.Aborted, "ETAG_MISMATCH")],
    ["INTERNAL", new ConnectError("cut", Code.Internal)],
    ["NOT_FOUND", refusal(Code.NotFound, "NOT_FOUND")],
  ] as const) {
    test(`${path}: ${name} is not repeated`, async () => {
      let calls = 0;
      const gateway = await Gateway.serving(path, (router) =>
        router.service(RunService, {
          getRun() {
            calls += 1;
            throw thrown;
          },
        }),
      );
      await assert.rejects(gateway.with({}, (client) => client.runs.getRun({ runId: "" })), SplitrailError);
      assert.equal(calls, 1);
    });
  }

  test(`${path}: a stream is not repeated by the transport`, async () => {
    let openings = 0;
    const gateway = await Gateway.serving(path, (router) =>
      router.service(MetricsService, {
        async *watchRun() {
          openings += 1;
          throw new ConnectError("not now", Code.Unavailable);
        },
      }),
    );
    const watching = gateway.with({}, async (client) => {
      for await (const _ of client.metrics.watchRun({ runId: "" })) {
        assert.fail("there is no message");
      }
    });
    await assert.rejects(watching, (error) => error instanceof SplitrailError && error.code === Code.Unavailable);
    assert.equal(openings, 1);
  });

  test(`${path}: a deadline holds for all attempts together`, async () => {
    const gateway = await Gateway.serving(path, (router) =>
      router.service(RunService, { getRun: () => new Promise(() => {}) }),
    );
    const began = performance.now();
    const late = gateway.with({ timeoutMs: 200 }, (client) => client.runs.getRun({ runId: "" }));
    await assert.rejects(late, (error) => error instanceof SplitrailError && error.code === Code.DeadlineExceeded);
    assert.ok(performance.now() - began < 5000);
  });

  test(`${path}: nobody at the address is UNAVAILABLE`, async () => {
    const gateway = await Gateway.serving(path, () => {});
    const call = gateway.with({ url: "http://127.0.0.1:9" }, (client) => client.runs.getRun({ runId: "" }));
    await assert.rejects(call, (error) => error instanceof SplitrailError && error.code === Code.Unavailable);
  });
}

test("a token goes without TLS to this machine only, unless it is said otherwise", () => {
  for (const connect of [connectNode, connectWeb]) {
    assert.throws(() => connect({ url: "http://splitrail.example.org", token: "a token" }), /without TLS/);
    connect({ url: "http://splitrail.example.org", token: "a token", plaintext: true });
    connect({ url: "https://splitrail.example.org", token: "a token" });
    connect({ url: "http://localhost:8080", token: "a token" });
  }
});

test("calls are repeated as proto/service_config.json says", () => {
  interface Config {
    methodConfig: { name: { service: string; method: string }[]; retryPolicy: Record<string, unknown> }[];
  }
  const text = readFileSync(new URL("proto/service_config.json", ROOT), "utf8");
  const [config, ...others] = (JSON.parse(text) as Config).methodConfig;
  assert.ok(config);
  assert.deepEqual(others, []);
  assert.deepEqual(config.retryPolicy, {
    maxAttempts: api.RETRY_POLICY.maxAttempts,
    initialBackoff: `${api.RETRY_POLICY.initialBackoffMs / 1000}s`,
    maxBackoff: `${api.RETRY_POLICY.maxBackoffMs / 1000}s`,
    backoffMultiplier: api.RETRY_POLICY.backoffMultiplier,
    retryableStatusCodes: ["UNAVAILABLE"],
  });
  const unary = Object.values(api)
    .filter((value) => typeof value === "object" && "kind" in value && value.kind === "service")
    .flatMap((service) => service.methods.filter((method) => method.methodKind === "unary"))
    .map((method) => `${method.parent.typeName}/${method.name}`);
  assert.deepEqual(config.name.map(({ service, method }) => `${service}/${method}`).sort(), unary.sort());
});

test("every mutation has a request_id", () => {
  const reads = /^(Get|List|BatchGet|Resolve|Preview|Compare|Diff|Find|Check|Watch|Export)/;
  const services = Object.values(api).filter((value) => typeof value === "object" && "kind" in value && value.kind === "service");
  const without = services
    .flatMap((service) => service.methods)
    .filter((method) => !reads.test(method.name) && !("requestId" in method.input.field))
    .map((method) => method.name);
  assert.deepEqual(without, []);
});
