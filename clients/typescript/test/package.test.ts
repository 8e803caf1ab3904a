import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** Every module that a module of the package reaches, by its own imports. */
function reached(entry: string, found = new Set<string>()): Set<string> {
  const text = readFileSync(new URL(entry), "utf8");
  for (const [, name] of text.matchAll(/^(?:import|export) [^";]*"([^"]+)";$/gm)) {
    if (name!.startsWith(".")) {
      const next = new URL(name!, entry).href;
      if (!found.has(next)) {
        found.add(next);
        reached(next, found);
      }
    } else {
      found.add(name!);
    }
  }
  return found;
}

test("what a browser loads needs nothing of Node", () => {
  const packages = [...reached(import.meta.resolve("@splitrail/client/web"))].filter((name) => !name.startsWith("file:"));
  const known = ["@bufbuild/protobuf/codegenv2", "@bufbuild/protobuf/wkt", "@connectrpc/connect", "@connectrpc/connect-web"];
  assert.deepEqual(packages.sort(), known);
});

test("internal packages are not shipped", () => {
  for (const entry of ["", "/web", "/node"]) {
    const modules = [...reached(import.meta.resolve(`@splitrail/client${entry}`))];
    assert.ok(modules.some((name) => name.endsWith("/splitrail/trainer/v1/run_service_pb.js")));
    assert.ok(!modules.some((name) => name.includes("/internal/")), entry);
  }
});
