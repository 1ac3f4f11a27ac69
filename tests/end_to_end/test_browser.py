"""Test a CRM team's weeks by clicks in the browser, and take screenshots.

The pictures go to ``RETENTION_PICTURES``, by default ``build/pictures``. ``make docs`` uses
docs/pictures.
"""

import csv
import re
from typing import Any

import pytest

from tests.chromium import page
from tests.end_to_end.playground_client import PlaygroundClient
from tests.end_to_end.screen import SLOW, Screen
from workers import action_ids

pytestmark = [pytest.mark.browser, pytest.mark.desk, pytest.mark.nightly]


@pytest.mark.timeout(1800)
def test_a_person_uses_every_feature_in_the_browser(desk: PlaygroundClient, browser: Any) -> None:
    with page(browser, str(desk.http.base_url)) as shown:
        screen = Screen(shown)
        shown.get_by_text("I find customers at risk of leaving").first.wait_for()
        screen.picture("welcome")
        _learn_and_sweep(screen)
        _draft_edit_submit(screen)
        _approve(screen)
        _codes_and_results(screen, desk)


def _learn_and_sweep(screen: Screen) -> None:
    screen.type("/retention retrain churn")
    assert "start" in screen.message(says="Only visible to you.*Retrain").inner_text()
    learnt = screen.message(says="first trained model is ready")
    screen.picture("retrain", learnt)
    screen.type("/retention sweep --tier high")
    cohort = screen.message(says="at risk", having=action_ids.DRAFT_CAMPAIGN)
    assert re.search(r"\d+ days.*(pause|order)", cohort.inner_text(), re.S)
    screen.picture("cohort", cohort)
    screen.press(cohort, action_ids.COHORT_CSV)
    screen.go("Retention Desk")
    with screen.shown.expect_download() as download:
        screen.shown.get_by_role("link", name=re.compile("Download .*csv")).last.click(timeout=SLOW)
    rows = list(csv.DictReader(download.value.path().read_text("utf-8-sig").splitlines()))
    assert len(rows) > 20
    screen.shown.locator("#messages").get_by_text("Reading the cohort").wait_for(
        state="detached", timeout=SLOW
    )
    screen.picture("direct_message")
    screen.go("crm")


def _draft_edit_submit(screen: Screen) -> None:
    screen.press(screen.message(having=action_ids.DRAFT_CAMPAIGN), action_ids.DRAFT_CAMPAIGN)
    draft = screen.message(says="Draft:", having=action_ids.SUBMIT_CAMPAIGN)
    screen.press(draft, action_ids.EDIT_CAMPAIGN)
    dialog = screen.shown.get_by_role("dialog", name="Edit campaign")
    dialog.get_by_label("Hold-out %").fill("200", timeout=SLOW)
    dialog.get_by_role("button", name="Save").click()
    dialog.locator(".input-error", has_text=re.compile(r"\w")).wait_for()
    dialog.get_by_label("Hold-out %").fill("15")
    screen.picture("edit_modal")
    dialog.get_by_role("button", name="Save").click()
    dialog.wait_for(state="detached")
    draft = screen.message(says=r"\(15%\) get nothing", having=action_ids.SUBMIT_CAMPAIGN)
    screen.press(draft, action_ids.SUBMIT_CAMPAIGN)
    submitted = screen.message(having=action_ids.APPROVE_CAMPAIGN)
    screen.press(submitted, action_ids.APPROVE_CAMPAIGN, sure="Approve")  # one's own: told why not
    assert "approve" in screen.message(says="Only visible to you.*approve").inner_text().lower()


def _approve(screen: Screen) -> None:
    screen.become("Leo Okafor")
    screen.press(
        screen.message(having=action_ids.APPROVE_CAMPAIGN),
        action_ids.APPROVE_CAMPAIGN,
        sure="Approve",
    )
    screen.button(action_ids.APPROVE_CAMPAIGN).wait_for(state="detached", timeout=SLOW)
    approved = screen.message(says="Approved.*Leo Okafor")
    screen.picture("approved_campaign", approved)


def _codes_and_results(screen: Screen, desk: PlaygroundClient) -> None:
    screen.shown.locator("#next-day").click()
    live = screen.message(says="Live:", having=action_ids.CAMPAIGN_CSV)
    screen.shown.locator("#clock:not(.moving)").wait_for(timeout=SLOW)
    screen.press(live, action_ids.CAMPAIGN_CSV)
    screen.message(says="Only visible to you.*Campaign file.*started")
    screen.go("Retention Desk")
    screen.shown.locator(".file-preview", has_text="code").wait_for(timeout=SLOW)
    screen.go("crm")
    screen.weeks(1)
    screen.picture("digest", screen.message(says="The week to"))
    screen.weeks(4)  # the window of 28 days is over
    card = screen.message(says="Promised")
    card.get_by_role("button", name=re.compile("repl")).click()
    thread = screen.shown.get_by_role("complementary", name="Thread")
    thread.get_by_text(re.compile("Advice")).first.wait_for(timeout=SLOW)
    assert "simulated" in thread.inner_text().lower()
    screen.picture("result")
    digests = [
        message
        for message in desk.messages()
        if message["text"].endswith("at stake.") and not message["thread_ts"]
    ]
    assert len(digests) == 5
