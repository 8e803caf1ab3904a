"""The page in a real Chromium: runs, a finished run's epochs, a live one across a restart of the gateway, and no token."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from main_job import ARGUMENTS, EPOCHS, Command, Story
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect
from splitrail_local.shapes import generate
from splitrail_local.testing import RunningStack, until

pytestmark = [pytest.mark.browser, pytest.mark.integration]
WEB = Path(__file__).resolve().parent.parent / "gateway" / "web"
SHOTS = Path(os.environ.get("SPLITRAIL_SHOTS", "test-output"))


@pytest.fixture
def page(browser: Browser, stack: RunningStack) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None
    )
    page.goto(f"{stack.gateway_url}/#token={stack.admin_token}")
    yield page
    context.close()
    assert errors == []


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def test_a_finished_run(story: Story, page: Page):
    assert "token" not in page.url
    row = page.locator("tr", has=page.get_by_role("link", name=story.run["reference"], exact=True))
    expect(row).to_contain_text("succeeded")
    expect(row).to_contain_text(f"{EPOCHS}/{EPOCHS}")
    shot(page, "runs")
    page.get_by_role("link", name=story.run["reference"], exact=True).click()
    expect(page.locator("table").last.locator("tbody tr")).to_have_count(EPOCHS, timeout=20_000)
    expect(page.locator("figure img").first).to_be_visible(timeout=20_000)
    expect(page.locator("main")).to_contain_text("test of cells@v1#1")
    assert page.locator(".charts canvas").count() >= 4
    shot(page, "run")


def test_a_live_run_heals_when_the_gateway_restarts(
    story: Story, page: Page, command: Command, stack: RunningStack, api: httpx.Client
):
    run = command.json("train", "data=cells@v1", "model=yolov8n", "epochs=6", *ARGUMENTS, "--detach")
    page.goto(f"{stack.gateway_url}/#/runs/{run['runId']}")
    rows = page.locator("h2:has-text('Epochs') + div tbody tr")
    expect(rows.first).to_be_visible(timeout=240_000)
    stack.kill("envoy")
    expect(page.locator("#link")).to_have_text("connection lost, trying again…", timeout=20_000)
    expect(page.locator(".strip")).to_contain_text("succeeded", timeout=400_000)
    expect(rows).to_have_count(6)
    assert rows.locator("td:first-child").all_text_contents() == ["6", "5", "4", "3", "2", "1"]
    until(lambda: page.locator("#link").inner_text() == "", "the link stands again", 20)
    shot(page, "run-live")


def test_hostile_text_is_text(story: Story, page: Page, command: Command, stack: RunningStack, tmp_path: Path):
    """A class name and a file name that are markup: shown as they are, and nothing of them runs."""
    hostile = "<img src=x onerror=window.broken=1>"
    generate(tmp_path / "hostile", images=24, size=64, seed=3)
    description = (tmp_path / "hostile" / "data.yaml").read_text()
    (tmp_path / "hostile" / "data.yaml").write_text(description.replace("circle", json.dumps(hostile)))
    command.run("dataset", "import", str(tmp_path / "hostile"), "--name", "hostile")
    command.run("split", "create", "hostile@v1", "--ratios", "0.6,0.2,0.2", "--seed", "1", "--stratify")
    run = command.json("train", "data=hostile@v1", "model=yolov8n", "epochs=1", *ARGUMENTS)
    page.goto(f"{stack.gateway_url}/#/runs/{run['runId']}")
    expect(page.locator(".log")).to_contain_text(hostile, timeout=60_000)
    assert page.evaluate("window.broken") is None


RUN = {"run": {"runId": "run-1", "reference": "cells/1", "epochs": 3, "job": {"state": "JOB_STATE_RUNNING"}}}


def played(context: BrowserContext, answer: Callable[[Request], tuple[int, str]]) -> Page:
    """The page of run-1 before a gateway that is played: `answer` gives status and body of what is below /api."""

    def gateway(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/api/"):
            status, body = answer(route.request)
            route.fulfill(status=status, body=body)
        else:
            route.fulfill(path=WEB / ("index.html" if path == "/" else path[1:]))

    context.route("**/*", gateway)
    page = context.new_page()
    page.goto("http://splitrail.test/#token=any")
    page.goto("http://splitrail.test/#/runs/run-1")
    return page


def test_the_best_epoch_is_the_one_that_the_services_choose(browser: Browser):
    """The highest finite fitness, of equals the latest. No recipe brings such a run about for certain, so the gateway
    is played here.
    """
    epochs = [
        {"epoch": number, "epochs": 3, "metrics": {"fitness": fitness, "mAP50": number / 10}}
        for number, fitness in enumerate([0.5, 0.5, "NaN"], 1)
    ]
    events = [*({"epoch": epoch} for epoch in epochs), {"state": {"state": "JOB_STATE_SUCCEEDED"}}]
    feed = [
        *(
            {"cursor": str(seq), "incarnation": "a", "event": {"seq": str(seq), **event}}
            for seq, event in enumerate(events, 1)
        ),
        {"cursor": "4", "incarnation": "a", "closed": {"reason": "CLOSED_REASON_ENDED"}},
    ]
    answers = {
        "/api/runs/run-1": json.dumps(RUN),
        "/api/runs/run-1/watch": "".join(json.dumps(message) + "\n" for message in feed),
        "/api/metric-schema": json.dumps({"metrics": [{"key": "fitness"}, {"key": "mAP50", "headline": True}]}),
    }

    context = browser.new_context()
    page = played(context, lambda request: (200, answers.get(urlsplit(request.url).path, "{}")))
    expect(page.locator(".strip")).to_contain_text("succeeded")
    expect(page.locator(".strip div", has_text="best epoch").locator("b")).to_have_text("2")
    expect(page.locator(".strip div", has_text="best val mAP50").first.locator("b")).to_have_text("0.200")
    context.close()


def test_a_feed_that_was_restored_from_a_backup_is_read_from_its_start(browser: Browser):
    """The page forgets what it had shown. Restoring a database under a running stack would take the session's stack
    away from the other tests.
    """
    refused = {
        "code": 11,
        "message": "another incarnation",
        "details": [{"reason": "CURSOR_OUT_OF_RANGE", "domain": "splitrail"}],
    }
    asked: list[str] = []

    def epochs(incarnation: str, numbers: range) -> str:
        events = [{"seq": str(number), "epoch": {"epoch": number, "metrics": {"fitness": 0.1}}} for number in numbers]
        return "".join(
            json.dumps({"cursor": event["seq"], "incarnation": incarnation, "event": event}) + "\n" for event in events
        )

    def gateway(request: Request) -> tuple[int, str]:
        parts = urlsplit(request.url)
        if parts.path != "/api/runs/run-1/watch":
            return 200, {"/api/runs/run-1": json.dumps(RUN)}.get(parts.path, "{}")
        asked.append(parts.query)
        if parts.query == "after_seq=0&incarnation=":
            closed = {"cursor": "2", "incarnation": "b", "closed": {"reason": "CLOSED_REASON_ENDED"}}
            return 200, epochs("a", range(1, 4)) if len(asked) == 1 else epochs("b", range(1, 3)) + json.dumps(
                closed
            ) + "\n"
        return 400, json.dumps(refused)

    context = browser.new_context()
    page = played(context, gateway)
    rows = page.locator("h2:has-text('Epochs') + div tbody tr")
    expect(page.locator(".strip")).to_contain_text("2/3", timeout=20_000)
    expect(rows).to_have_count(2)
    assert asked == ["after_seq=0&incarnation=", "after_seq=3&incarnation=a", "after_seq=0&incarnation="]
    context.close()


def test_without_a_token_the_page_asks_for_one(browser: Browser, stack: RunningStack):
    context = browser.new_context()
    page = context.new_page()
    page.goto(stack.gateway_url)
    page.get_by_label("API token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("main")).to_contain_text("The token was refused")
    page.get_by_label("API token").fill(stack.admin_token)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    context.close()


def test_an_address_with_a_token_is_taken_also_by_a_page_that_is_open(browser: Browser, stack: RunningStack):
    """Only the part after # differs, so the browser does not load the page again."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stack.gateway_url}/#token=old")
    expect(page.locator("main")).to_contain_text("The token was refused")
    page.goto(f"{stack.gateway_url}/#token={stack.admin_token}")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    assert page.url == f"{stack.gateway_url}/#/"
    context.close()
