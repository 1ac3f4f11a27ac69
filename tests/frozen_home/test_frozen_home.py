"""Today's code works with an old version's home. See docs/contributor/stored_formats.md."""

import json
from collections import Counter
from datetime import datetime, timedelta

import pandas as pd
import pytest

from tests.frozen_home import adapter
from tests.frozen_home.conftest import golden

ANALYST, LEAD, CRM = "U0ANALYST", "U0LEAD", "C0CRM"
# Probabilities are sums of products, which another CPU or BLAS adds in another order: differences
# of about 1e-16. The purchase model (BG/NBD) is different: it is fitted to the lake whenever
# features are computed, and its optimiser stops up to 1e-5 away on another OpenBLAS kernel. So
# features are compared loosely, the stored models get the old features, and the champion is a model
# without purchase-model features. Measured: see docs/contributor/stored_formats.md.
PROBABILITY_TOLERANCE = 1e-12
FEATURE_TOLERANCE = 1e-3  # relative, and 1e-4 absolute
SCORE_TOLERANCE = 1e-4  # lists mix in the purchase model


# ---------------------------------------------------------------- models


@pytest.fixture(scope="module")
def old_features(unpacked) -> pd.DataFrame:
    """Features of all active customers, as the frozen version computed them."""
    return pd.read_parquet(unpacked / "inputs" / "features.parquet")


def champion() -> tuple[str, dict]:
    """The stored champion's version and predictions."""
    predictions = golden("predictions").items()
    (found,) = [(name, model) for name, model in predictions if model["state"] == "champion"]
    return found


def largest_difference(found: dict[str, float], expected: dict[str, float]) -> float:
    assert found.keys() == expected.keys()
    return max(abs(found[who] - expected[who]) for who in expected)


def test_stored_churn_models_give_their_old_probabilities(home, old_features):
    for version, model in golden("predictions").items():
        found = adapter.probabilities(home, version, old_features)
        difference = largest_difference(found, model["probabilities"])
        assert difference <= PROBABILITY_TOLERANCE, model["estimator"]


def test_features_of_stored_churn_models_are_unchanged(home, about, old_features):
    as_of = datetime.fromisoformat(about["now"])
    compared: set[str] = set()
    for version, model in golden("predictions").items():
        if model["estimator"] in ("quadratic", "bg_season"):
            today = adapter.features(home, version, as_of)
            old = old_features[list(today.columns)]
            loosely = {"rtol": FEATURE_TOLERANCE, "atol": 1e-4, "check_names": False}
            pd.testing.assert_frame_equal(today, old, **loosely)
            compared |= set(today.columns)
    # The two models ask for every feature of the others.
    assert compared == set(old_features.columns)


def test_champion_scores_all_active_customers_as_before(home, about):
    version, model = champion()
    today = adapter.features(home, version, datetime.fromisoformat(about["now"]))
    found = adapter.probabilities(home, version, today)
    assert largest_difference(found, model["probabilities"]) <= PROBABILITY_TOLERANCE


def test_stored_recommenders_give_their_old_lists(home, about):
    for version, model in golden("recommendations").items():
        customers, as_of = list(model["lists"]), datetime.fromisoformat(about["now"])
        found = adapter.recommendations(home, version, customers, 8, as_of)
        for who, expected in model["lists"].items():
            items, scores, sources = zip(*found[who], strict=True)
            old_items, old_scores, old_sources = zip(*expected, strict=True)
            label = f"{model['estimator']} for {who}"
            assert (items, sources) == (old_items, old_sources), label
            assert scores == pytest.approx(old_scores, abs=SCORE_TOLERANCE), label


def test_commands_use_the_stored_champions(path, about):
    # The frozen shop sells wine, which a policy has to allow by now.
    policy = path / "policy.toml"
    text = policy.read_text(encoding="utf-8")
    allowed = text.replace("[recommend]", "[recommend]\nexclude_category_words = []")
    policy.write_text(allowed, encoding="utf-8")
    # Without --as-of the cutoff is the shop's midnight by now, and not the moment of the command.
    moment = ("--as-of", about["now"])
    scored = adapter.command("score", about["scored"], *moment)
    version, model = champion()
    assert scored["model_version"] == version
    expected = model["probabilities"][about["scored"]]
    assert scored["churn_probability"] == pytest.approx(expected, abs=PROBABILITY_TOLERANCE)
    liked = adapter.command("recommend", about["scored"], "--k", "8", *moment)
    assert [item["item_id"] for item in liked["items"]] == about["recommended_by_command"]


# ---------------------------------------------------------------- jobs and schedules


@pytest.mark.parametrize("name", ["accepted", "unaccepted"])
def test_queued_job_runs_to_done(home, about, sql, name):
    job_id = about["jobs"][name]
    assert adapter.run_job(home, job_id) == "done"
    assert sql("SELECT state, error FROM jobs WHERE id = ?", job_id) == [("done", None)]


def test_each_schedule_fires_once_at_its_due_time(path, sql, monkeypatch):
    due = {
        "sweep": datetime.fromisoformat("2025-06-03T06:15:00+00:00"),  # 07:15 in London
        "digest": datetime.fromisoformat("2025-06-09T09:30:00+00:00"),
    }
    known = [job_id for (job_id,) in sql("SELECT id FROM jobs")]
    marks = ", ".join("?" * len(known))
    fired = f"SELECT kind, args FROM jobs WHERE idem_key LIKE 'schedule:%' AND id NOT IN ({marks})"

    def tick_at(moment: datetime) -> list[tuple[str, dict]]:
        monkeypatch.setenv("RETENTION_NOW", moment.isoformat())
        with adapter.open_home() as home:
            adapter.tick(home)
        return [(kind, json.loads(args)) for kind, args in sql(fired, *known)]

    assert tick_at(due["sweep"] - timedelta(minutes=1)) == []
    ((kind, args),) = tick_at(due["sweep"] + timedelta(minutes=1))
    assert (kind, args["tier"], args["top"]) == ("sweep", "medium", 20)
    adapter.parse_request(kind, args)
    assert len(tick_at(due["sweep"] + timedelta(minutes=2))) == 1
    assert Counter(kind for kind, _ in tick_at(due["digest"] - timedelta(minutes=1)))["digest"] == 0
    later = tick_at(due["digest"] + timedelta(minutes=1))
    assert Counter(kind for kind, _ in later)["digest"] == 1
    for kind, args in later:
        adapter.parse_request(kind, args)
    assert Counter(kind for kind, _ in tick_at(due["digest"] + timedelta(minutes=2)))["digest"] == 1


# ---------------------------------------------------------------- buttons


def buttons(sql, key: str) -> dict[str, str]:
    """Action id → value of the buttons and menu entries in a stored message."""
    ((payload,),) = sql("SELECT payload FROM outbox WHERE key = ?", key)
    found: dict[str, str] = {}

    def note(node: dict) -> dict:
        if "action_id" in node:
            found[node["action_id"]] = node.get("value", "")
        return node

    json.loads(payload, object_hook=note)
    return found


def keys(sql) -> set[str]:
    return {key for (key,) in sql("SELECT key FROM outbox")}


def test_old_cancel_button_cancels_the_job(path, about, sql):
    job_id = about["jobs"]["cancellable"]
    before = keys(sql)
    value = buttons(sql, f"job:{job_id}")["job.cancel"]
    with adapter.slack_at_the_wire() as api, adapter.open_home() as home:
        assert adapter.slack_app(home, api).press("job.cancel", value, ANALYST).status == 200
        adapter.wait_until(
            lambda: sql("SELECT state FROM jobs WHERE id = ?", job_id) == [("cancelled",)]
        )
    assert keys(sql) == before  # the message is updated; there is no second one
    revisions = "SELECT sent_revision, revision FROM outbox WHERE key = ?"
    assert sql(revisions, f"job:{job_id}") == [(1, 2)]


def test_old_approve_button_approves_the_campaign(path, about, sql):
    campaign_id = about["campaigns"]["submitted"]
    ((post_key,),) = sql("SELECT post_key FROM campaigns WHERE id = ?", campaign_id)
    before = keys(sql)
    value = buttons(sql, post_key)["campaign.approve"]
    with adapter.slack_at_the_wire() as api, adapter.open_home() as home:
        adapter.slack_app(home, api).press("campaign.approve", value, LEAD)
        state = "SELECT state, decided_by FROM campaigns WHERE id = ?"
        adapter.wait_until(lambda: sql(state, campaign_id) == [("approved", LEAD)])
    new = {f"campaign:{campaign_id}:{what}:1" for what in ("approved", "clearance")}
    assert keys(sql) - before == new
    counts = "SELECT arm, count(*) FROM assignments WHERE campaign_id = ? GROUP BY arm"
    arms = dict(sql(counts, campaign_id))
    assert arms.keys() <= {"treatment", "control", "excluded"}
    assert arms["treatment"] > arms["control"] > 0


@pytest.mark.parametrize("where", ["card", "clearance"])
def test_old_stop_button_stops_the_approved_campaign(path, about, sql, where):
    campaign_id = about["campaigns"]["approved"]
    ((post_key,),) = sql("SELECT post_key FROM campaigns WHERE id = ?", campaign_id)
    before = keys(sql)
    key = post_key if where == "card" else f"campaign:{campaign_id}:clearance:1"
    value = buttons(sql, key)["campaign.stop"]
    with adapter.slack_at_the_wire() as api, adapter.open_home() as home:
        app = adapter.slack_app(home, api)
        app.press("campaign.stop", value, LEAD)
        opened = api.wait("views.open")["view"]
        opened = json.loads(opened) if isinstance(opened, str) else opened

        view = {"callback_id": "campaign.stop.view", "private_metadata": f"{campaign_id}:1:{CRM}"}
        assert opened.items() >= view.items()

        def submit(payload):  # as a modal does that was opened before the upgrade
            payload["view"] |= view
            payload["view"]["state"]["values"] = {"reason": {"value": {"value": "out of stock"}}}

        app.interact("view_submission.json", LEAD, submit)
        state = "SELECT state, reason FROM campaigns WHERE id = ?"
        adapter.wait_until(lambda: sql(state, campaign_id) == [("cancelled", "out of stock")])
    assert keys(sql) - before == {f"campaign:{campaign_id}:cancelled:1"}


def test_old_cohort_button_delivers_the_customers_of_the_old_run(path, about, sql):
    value = buttons(sql, f"job:{about['jobs']['sweep']}")["cohort.csv"]
    with adapter.slack_at_the_wire() as api, adapter.open_home() as home:
        adapter.slack_app(home, api).press("cohort.csv", value, LEAD)
        queued = "SELECT id FROM jobs WHERE kind = 'cohort_csv' AND requested_by = ?"
        ((job_id,),) = adapter.wait_until(lambda: sql(queued, LEAD))
        assert adapter.run_job(home, job_id) == "done"
    ((payload,),) = sql("SELECT payload FROM outbox WHERE job_id = ? AND kind = 'file'", job_id)
    ((content,),) = sql("SELECT content FROM files WHERE id = ?", json.loads(payload)["file"])
    ((size,),) = sql("SELECT size FROM cohorts WHERE id = ?", value)
    listed = content.decode("utf-8-sig").splitlines()[1:]
    assert len(listed) == size - 1  # the erased customer was at risk, too
    assert not any(line.startswith(about["erased"]) for line in listed)


def test_old_feedback_button_stores_what_was_said(path, about, sql):
    value = buttons(sql, f"job:{about['jobs']['score']}:0")["feedback.useful"]
    with adapter.slack_at_the_wire() as api, adapter.open_home() as home:
        adapter.slack_app(home, api).press("feedback.useful", value, ANALYST)
        stored = "SELECT customer_id, user_id, verdict FROM feedback"
        assert adapter.wait_until(lambda: sql(stored)) == [(about["scored"], ANALYST, "useful")]


def test_every_old_button_still_has_a_listener(path):
    """Slack shows a warning to whoever presses a button that nothing listens to."""
    with adapter.slack_at_the_wire() as api, adapter.open_home() as home:
        app = adapter.slack_app(home, api)
        ids = golden("stored_formats")["ids"]
        views = {"EDIT_VIEW", "REJECT_VIEW", "STOP_VIEW", "FEEDBACK_VIEW"}
        for name in ids.keys() - views - {"POST_EVENT"}:
            assert app.press(ids[name], "unknown").status == 200, ids[name]
        for name in views:
            answer = app.interact(
                "view_submission.json",
                ANALYST,
                lambda payload, name=name: payload["view"].update(callback_id=ids[name]),
            )
            assert answer.status == 200, ids[name]
        assert app.press("no such action", "unknown").status == 404


# ---------------------------------------------------------------- the outbox


def test_sender_sends_no_duplicates(path, about, sql):
    jobs = about["jobs"]
    doubted = f"job:{jobs['accepted']}"
    waiting = {f"job:{job_id}" for job_id in (jobs["unaccepted"], *jobs["pending"])}
    unsent = "SELECT key FROM outbox WHERE state IN ('pending', 'ambiguous')"
    assert {key for (key,) in sql(unsent)} == {doubted, *waiting}
    sent_before = sql("SELECT key, ts FROM outbox WHERE state = 'sent' ORDER BY id")

    with adapter.slack_stand_in(), adapter.open_home() as home:
        web = adapter.slack_client(home)
        # What Slack accepted unheard.
        posted = web.chat_postMessage(channel=CRM, **about["posted_in_doubt"])
        direct = [web.conversations_open(users=user)["channel"]["id"] for user in (ANALYST, LEAD)]
        for _ in range(2):
            adapter.deliver_all(home)
            shown = Counter()
            for channel in (CRM, *direct):
                how = {"include_all_metadata": True, "limit": 100}
                messages = web.conversations_history(channel=channel, **how)["messages"]
                shown.update(each["metadata"]["event_payload"]["key"] for each in messages)
            assert shown == dict.fromkeys([doubted, *waiting], 1)
    assert sql("SELECT ts, sent_revision FROM outbox WHERE key = ?", doubted) == [(posted["ts"], 1)]
    assert sql(unsent) == []
    marks = ", ".join("?" * len(sent_before))
    stored = f"SELECT key, ts FROM outbox WHERE key IN ({marks}) ORDER BY id"
    assert sql(stored, *(key for key, _ in sent_before)) == sent_before


# ---------------------------------------------------------------- customers


def test_old_unsubscribe_link_withdraws_consent(home, about, sql):
    address, url = next(iter(about["unsubscribe"].items()))
    customer = address.partition("@")[0]
    link = url.removeprefix("https://crm.shop.example")
    suppressed = "SELECT customer_id, source, campaign_id FROM suppressions"
    assert adapter.request(home, "GET", link).status == 200
    assert sql(suppressed) == []  # mail scanners follow links, too
    assert adapter.request(home, "POST", link).status == 200
    assert sql(suppressed) == [(customer, "unsubscribe", about["campaigns"]["live"])]
    wrong = f"{link[:-1]}{'1' if link.endswith('0') else '0'}"
    assert adapter.request(home, "GET", wrong).status == 404


def test_old_coupon_code_can_be_redeemed(path, about, sql, monkeypatch):
    key = "shared with the till, and long enough"
    monkeypatch.setenv("RETENTION_REDEMPTION_KEY", key)
    valid = "SELECT code, customer_id FROM coupons WHERE campaign_id = ? AND state = 'issued'"
    code, customer = sql(valid, about["campaigns"]["live"])[0]
    use = {"code": code, "customer_id": customer, "order_id": "o1", "at": about["now"]}
    body = json.dumps(use).encode()
    headers = adapter.signature_headers(key, body, datetime.now().astimezone())
    with adapter.open_home() as home:
        request = ("POST", "/redemptions", body, headers)
        first, again = (adapter.request(home, *request) for _ in range(2))
    assert (first.status, json.loads(first.body)["outcome"]) == (200, "redeemed")
    assert again == first
    assert sql("SELECT state, order_id FROM coupons WHERE code = ?", code) == [("redeemed", "o1")]


def test_erased_customer_stays_erased_after_a_new_import(path, unpacked, about, sql, tmp_path):
    erased = about["erased"]
    inputs = unpacked / "inputs"
    for table in ("events", "customers"):
        renamed = tmp_path / f"again-{table}.parquet"
        renamed.write_bytes((inputs / f"{table}.parquet").read_bytes())
        for file in (inputs / f"{table}.parquet", renamed):
            report = adapter.command("import", table, str(file))
            assert report["rows_accepted"] == 0
            assert report["rows_filtered"] > 0  # those of the erased customer
    with adapter.open_home() as home:
        for table in ("events", "customers", "treatments"):
            stored = adapter.customers_in_lake(home, table)
            assert erased not in stored
            assert "c0001" in stored or table == "treatments"
    assert sql("SELECT 1 FROM directory WHERE customer_id = ?", erased) == []
    assert sql("SELECT 1 FROM sends WHERE customer_id = ?", erased) == []
    assert sql("SELECT count(*) FROM erasures") == [(1,)]


def test_events_without_an_own_id_keep_their_hash(home, about):
    """Used coupons and model fingerprints are stored by it."""
    old = golden("stored_formats")
    found, now = adapter.event_ids(home), datetime.fromisoformat(about["now"])
    assert {"ids": found[:20], "count": len(found)} == old["events"]
    assert adapter.data_fingerprint(home, now) == old["fingerprint"]


def test_old_quarantine_is_listed_by_reason(home, about):
    assert adapter.quarantine_counts(home) == about["quarantined"]


# ---------------------------------------------------------------- campaigns


def test_campaigns_show_their_state_and_history(path, about, sql):
    for state, campaign_id in about["campaigns"].items():
        shown = adapter.command("campaign", "show", campaign_id)
        assert shown["campaign"]["state"] == state
        steps = "SELECT count(*) FROM audit WHERE subject = ? AND action LIKE 'campaign.%'"
        assert sql(steps, campaign_id) == [(len(shown["history"]),)]
    adapter.command("campaign", "result", about["campaigns"]["live"])


def test_live_campaign_is_sent_to_nobody_twice(path, about, sql, monkeypatch):
    """A tick after the upgrade finds every copy sent or bounced already."""
    states = dict(sql("SELECT state, count(*) FROM sends GROUP BY state"))
    assert states.keys() == {"sent", "bounced"}
    with adapter.open_home() as home:
        adapter.tick(home)
    assert dict(sql("SELECT state, count(*) FROM sends GROUP BY state")) == states
    assert sql("SELECT 1 FROM jobs WHERE kind = 'campaign_deliver' AND state = 'queued'") == []
