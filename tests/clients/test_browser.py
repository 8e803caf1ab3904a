"""The TypeScript package in a real Chromium, over gRPC-Web through the gateway."""

import json
import re
from pathlib import Path

import pytest
from main_job import EPOCHS, Story
from playwright.sync_api import Browser, Route
from splitrail_local.testing import RunningStack

from .programs import TYPESCRIPT, require, run

pytestmark = [pytest.mark.browser, pytest.mark.integration]
MODULES = {
    "@bufbuild/protobuf": "@bufbuild/protobuf/dist/esm/index.js",
    "@bufbuild/protobuf/codegenv2": "@bufbuild/protobuf/dist/esm/codegenv2/index.js",
    "@bufbuild/protobuf/reflect": "@bufbuild/protobuf/dist/esm/reflect/index.js",
    "@bufbuild/protobuf/wire": "@bufbuild/protobuf/dist/esm/wire/index.js",
    "@bufbuild/protobuf/wkt": "@bufbuild/protobuf/dist/esm/wkt/index.js",
    "@connectrpc/connect": "@connectrpc/connect/dist/esm/index.js",
    "@connectrpc/connect/protocol": "@connectrpc/connect/dist/esm/protocol/index.js",
    "@connectrpc/connect/protocol-connect": "@connectrpc/connect/dist/esm/protocol-connect/index.js",
    "@connectrpc/connect/protocol-grpc-web": "@connectrpc/connect/dist/esm/protocol-grpc-web/index.js",
    "@connectrpc/connect-web": "@connectrpc/connect-web/dist/esm/index.js",
}
"""What a bundler reads from package.json files."""
IMPORT_MAP = json.dumps({"imports": {name: f"/client/node_modules/{file}" for name, file in MODULES.items()}})
PAGE = f'<!doctype html><script type="importmap">{IMPORT_MAP}</script>'
PROGRAM = """async ([token, runId]) => {
    const { connect } = await import("/client/dist/web.js");
    const client = connect({ url: location.origin, token });
    let epochs = [];
    for await (const item of client.watchRun(runId)) {
        const { case: kind, value } = item.kind === "event" ? item.event.payload : {};
        if (kind === "epoch") {
            epochs.push(value.epoch);
        } else if (kind === "rolledBack") { // the pod was killed
            epochs = epochs.filter((epoch) => epoch <= value.epoch);
        }
    }
    const { run } = await client.runs.getRun({ runId });
    const refusal = await client.runs.getRun({ runId: "no id" }).catch((error) => error);
    return { epochs, reference: run.reference, reason: refusal.reason, field: refusal.violations[0].field };
}"""


def from_this_folder(route: Route) -> None:
    """Files of the package lie below /client/ of the gateway's own origin."""
    name = re.sub(r"^https?://[^/]+/client/", "", route.request.url)
    path = Path(TYPESCRIPT / name)
    if name == "":
        route.fulfill(body=PAGE, content_type="text/html")
    elif path.is_file():
        route.fulfill(path=path, content_type="text/javascript")
    else:
        route.fulfill(status=404)


def test_the_package_in_a_browser(story: Story, stack: RunningStack, browser: Browser):
    require("typescript", ["node", "npm"])
    run(["npm", "ci", "--no-audit", "--no-fund"], TYPESCRIPT)
    run(["npm", "run", "build"], TYPESCRIPT)
    page = browser.new_context().new_page()
    page.route("**/client/**", from_this_folder)
    page.goto(f"{stack.gateway_url}/client/")
    said = page.evaluate(PROGRAM, [stack.admin_token, story.run["runId"]])
    page.context.close()
    assert said == {
        "epochs": list(range(1, EPOCHS + 1)),
        "reference": story.run["reference"],
        "reason": "INVALID_FIELD",
        "field": "run_id",
    }
