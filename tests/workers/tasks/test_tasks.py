"""Test tasks on the tiny shop, as a worker runs them."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from retention import clock, templating
from retention.audiences import store
from retention.audiences.parse import parse
from retention.db import Database
from retention.db.tables import Cohort, DirectoryEntry, Impression, Job, ModelVersion, Outbox
from retention.errors import BadInput, Cancelled, TooLittleData
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.privacy import pseudonym
from retention.registry import gate
from retention.registry import retrain as training
from retention.risk.sentence import MAX_WORDS
from retention.settings import Settings
from tests import readonly
from tests import shop as tiny
from tests.databases import create_tables
from tests.workers.harness import ANALYST, CHANNEL, grant, job_row
from tests.world import add, change, scalar, scalars
from workers import action_ids
from workers.delivery import render
from workers.job_request_base import Request
from workers.job_requests import AudienceSave, CohortCsv, Customers, Digest, Recommend, Score, Sweep
from workers.retrain_request import Retrain
from workers.tasks.audiences import audiences
from workers.tasks.customers import recommend, score, sweep
from workers.tasks.interface import Context, Outcome, Post
from workers.tasks.models import retrain
from workers.tasks.reports import cohort_csv, digest, figures
from workers.tasks.runner import run_inline


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Iterator[tiny.Shop]:
    """A shop with its directory filled by import."""
    with readonly.shared(
        tiny.build(tmp_path_factory.mktemp("built") / "home", customers=160)
    ) as shop:
        yield shop


@pytest.fixture(scope="module")
def trained(built, tmp_path_factory) -> Iterator[tuple[tiny.Shop, Outcome]]:
    """The shop with a churn model, and the outcome of its training."""
    shop = readonly.copy_of(built, tmp_path_factory.mktemp("trained") / "home")
    outcome = _done(shop, retrain.run(_logistic(shop), _context(shop, "train")))
    with readonly.shared(shop) as shared:
        yield shared, outcome


@pytest.fixture(scope="module")
def swept(trained, tmp_path_factory) -> Iterator[tuple[tiny.Shop, Outcome]]:
    """The shop with a churn model and a sweep, and the outcome of the sweep."""
    shop = readonly.copy_of(trained[0], tmp_path_factory.mktemp("swept") / "home")
    outcome = _done(shop, sweep.run(Sweep(tier="medium", as_of=shop.end), _context(shop, "sweep")))
    with readonly.shared(shop) as shared:
        yield shared, outcome


@pytest.fixture
def own(built, tmp_path) -> Iterator[tiny.Shop]:
    """A copy of the shop without a model."""
    copy = readonly.copy_of(built, tmp_path / "own")
    yield copy
    copy.database.dispose()


@pytest.fixture
def trained_copy(trained, tmp_path) -> Iterator[tuple[tiny.Shop, Outcome]]:
    """A copy of the shop with a model, and the outcome of its training."""
    copy = readonly.copy_of(trained[0], tmp_path / "own")
    yield copy, trained[1]
    copy.database.dispose()


@pytest.fixture
def swept_copy(swept, tmp_path) -> Iterator[tuple[tiny.Shop, Outcome]]:
    """A copy of the shop with a model and a sweep, and the outcome of the sweep."""
    copy = readonly.copy_of(swept[0], tmp_path / "own")
    yield copy, swept[1]
    copy.database.dispose()


def _logistic(shop: tiny.Shop) -> Retrain:
    definition = {"horizon": 21, "active_within": 42}
    return Retrain(models=("churn",), model="logistic", cutoff=shop.end, **definition)


def _context(own: tiny.Shop, job: str, request: Request | None = None, **more) -> Context:
    """Store a running job and return its context."""
    asked = {"requested_by": ANALYST, "channel": CHANNEL, "business_at": own.end, "attempt": 1}
    add(own.database, job_row(own.settings, job, request or Retrain(), state="running", **asked))
    return Context(own.database, job, thread_key=None, **asked, **more)


def _done(own: tiny.Shop, outcome: Outcome) -> Outcome:
    with own.database.transaction() as session:
        if outcome.apply:
            outcome.apply(session)
    return outcome


def _words(post: Post) -> str:
    shown = render.message(post.template, **{"zone": "UTC", "demo": False, **post.values})
    return json.dumps([shown.text, shown.blocks], ensure_ascii=False)


def test_unknown_field_of_a_condition_is_refused(own):
    """It would be true of nobody, and the list empty without a word."""
    condition = "foo > 3"
    request = AudienceSave(name="x", expression=condition)
    with pytest.raises(BadInput) as saved:
        audiences.run_audience_save(request, _context(own, "j-save"))
    with pytest.raises(BadInput) as swept:
        sweep.run(Sweep(where=condition), _context(own, "j-sweep"))
    with pytest.raises(BadInput) as listed:
        figures.run_customers(Customers(where=condition), _context(own, "j-list"))
    assert str(swept.value) == str(listed.value) == str(saved.value)


def test_first_model_is_champion_and_announced_without_figures(trained):
    own, outcome = trained
    (model,) = outcome.data["models"]
    row = scalar(own.database, select(ModelVersion).where(ModelVersion.state == "champion"))
    assert (model["promoted"], row.version) == (True, model["version"])
    assert row.metrics["auc"] == model["metrics"]["auc"]
    assert (Path(own.settings.models_url) / row.artefact).exists()
    message = _words(Post("retrain/done", outcome.data))
    wanted = ["AUC", "log-loss", "Recency", "RFM logistic", "BG/NBD", "ordered nothing within"]
    assert [word for word in (*wanted, model["version"]) if word not in message] == []
    printed = templating.text("terminal/retrain.txt.j2", zone="UTC", **outcome.data)
    assert ("The rung of " in printed, "The rung of " in message) == (True, False)
    (post,) = outcome.posts
    assert (outcome.data["first"], post.template, post.key) == (True, "retrain/first", None)
    text = _words(post)
    assert "Lists already posted stay as they are" in text
    assert action_ids.RUN_COMMAND in text  # the sweep again
    assert "AUC" not in text


@pytest.mark.nightly
def test_later_model_is_reported_as_usual(trained_copy):
    own, _ = trained_copy
    outcome = retrain.run(_logistic(own), _context(own, "again"))
    assert (outcome.data["first"], outcome.posts[0].template) == (False, "retrain/done")


@pytest.mark.nightly
def test_sweep_and_digest_of_one_day_show_the_same_figures(trained_copy):
    """Minutes apart, they stood for other moments: $1,838 in one and $1,840 in the other."""
    own, _ = trained_copy
    with clock.frozen(own.end + timedelta(hours=1)):
        swept = sweep.run(Sweep(tier="high"), _context(own, "j-sweep")).data
    with clock.frozen(own.end + timedelta(hours=3)):
        told = digest.run(Digest(), _context(own, "j-digest")).data
    assert swept["as_of"] == told["as_of"]
    assert swept["tiers"] == told["risk"]["tiers"]
    assert swept["customers"] == told["risk"]["customers"]
    assert swept["revenue_at_risk"] == told["risk"]["revenue_at_risk"] > 0


def test_retrain_message_has_one_log_loss_of_the_model():
    """The newest origin's, the mean of the candidates and the pooled one stood side by side."""
    metrics = {"auc": 0.86, "log_loss": 0.2838, "brier": 0.09, "top_decile_lift": 3.8}
    model = {"kind": "churn", "version": "churn-1", "estimator": "ensemble", "promoted": True}
    model |= {"why": "It is the first.", "selection_note": "The ensemble.", "metrics": metrics}
    model |= {
        "rung": "The ensemble. Chosen by log-loss on 3 rolling origins: ensemble 0.2826.",
        "checks": [asdict(gate.check_baselines(0.2826, {"bg_nbd": 0.2998}))],
    }
    size = {"baselines": {}, "base_rate": 0.12, "customers": 2206, "cutoff": "2017-10-02"}
    values = {"models": [model | size], "untrained": [], "note": "", "horizon_days": 28}
    values |= {"cutoff": "2017-10-02", "zone": "UTC"}
    shown = render.message("retrain/done", **values)
    printed = templating.text("terminal/retrain.txt.j2", **values)
    for text in (json.dumps(shown.blocks), printed):
        assert "0.2838" in text
        assert "0.2826" not in text
    assert "0.0172 below that of the best baseline" in json.dumps(shown.blocks)


@pytest.mark.nightly
def test_shop_without_items_gets_only_a_churn_model(tmp_path):
    settings = Settings(home=tmp_path / "home", _env_file=None)
    database = Database(settings.database_url.get_secret_value(), settings)
    create_tables(database)
    file = tmp_path / "events.parquet"
    tiny.frames(customers=120, days=80)["events"].drop(columns="item_id").to_parquet(file)
    lake = Lake.open(settings)
    import_files(lake, database, settings, "events", [str(file)])
    shop = tiny.Shop(settings, database, lake, tiny.BEGIN, tiny.BEGIN + timedelta(days=80))
    outcome = retrain.run(Retrain(horizon=14, cutoff=shop.end), _context(shop, "half"))
    assert [model["kind"] for model in outcome.data["models"]] == ["churn"]
    (missed,) = outcome.data["untrained"]
    assert missed["kind"] == "recommend"
    assert "no events with items" in missed["why"]
    assert missed["why"] in _words(outcome.posts[0])
    for models in (("recommend",), ("churn", "recommend")):  # who names both wants both
        request = Retrain(models=models, horizon=14, cutoff=shop.end)
        with pytest.raises(TooLittleData, match="no events with items"):
            retrain.run(request, _context(shop, "+".join(models)))


def test_failed_training_names_all_reasons(own, monkeypatch):
    def refused(settings, lake, used, asked, progress):
        raise TooLittleData(f"Nobody {used}.")

    for kind in ("churn", "recommend"):
        monkeypatch.setattr(training, kind, refused)
    monkeypatch.setattr(retrain, "champion", lambda session, kind: f"{kind}s")
    with pytest.raises(
        TooLittleData, match=r"^Churn: Nobody churns\. Recommend: Nobody recommends\.$"
    ):
        retrain.run(Retrain(horizon=14, cutoff=own.end), _context(own, "neither"))


def test_a_cancelled_retrain_publishes_nothing(trained_copy):
    own, _ = trained_copy

    def stop(done, total, what):
        raise Cancelled

    before = sorted(Path(own.settings.models_url).rglob("*"))
    with pytest.raises(Cancelled):
        retrain.run(_logistic(own), _context(own, "x", progress=stop))
    assert sorted(Path(own.settings.models_url).rglob("*")) == before


@pytest.mark.parametrize("kind", ["churn", "recommend"])
def test_cutoff_is_never_after_the_data(own, kind):
    late = Retrain(models=(kind,), cutoff=own.end + timedelta(days=400))
    with pytest.raises(BadInput, match=r"The data ends on .* Take .* or earlier as the cutoff"):
        retrain.run(late, _context(own, "late"))


def test_shop_without_prices_sees_no_money(swept):
    post = swept[1].posts[0]
    assert "with most to lose" in _words(post)
    nothing_at_stake = replace(post, values={**post.values, "revenue_at_risk": 0.0})
    assert "orders have no amounts" not in _words(nothing_at_stake)
    values = {**post.values, "revenue_at_risk": 0.0, "has_amounts": False}
    text = _words(replace(post, values=values))
    assert "What is at stake is not known: orders have no amounts" in text
    assert "next 21 days" not in text
    assert text.count("at stake") == 1


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize(("top", "shown"), [(None, 10), (3, 3), (24, 24), (40, 40)])
def test_message_shows_as_many_customers_as_asked(own, top, shown):
    outcome = sweep.run(Sweep(tier="low", top=top, as_of=own.end), _context(own, "sweep"))
    post, *more = outcome.posts
    listed = [row for part in (post, *more) for row in part.values["customers"]]
    assert len({row["customer"] for row in listed}) == len(listed) == shown
    assert [part.thread_key for part in more] == ["job:sweep"] * len(more)
    assert all(part.values["customers"][-1]["customer"] in _words(part) for part in more)
    text = _words(post)  # rendering checks Slack's limits
    assert all(customer["customer"] in text for customer in post.values["customers"])
    assert len(outcome.data["cohort"]) == min(top or 100, outcome.data["cohort_size"])
    assert "the rest does not fit" not in text
    message = render.message(post.template, **post.values, zone="UTC")
    (table,) = [block for block in message.blocks if block["type"] == "table"]
    assert len(table["rows"]) == min(shown, sweep.MAX_SHOWN) + 1
    assert (f"The next {shown - 24} are in the thread" in text) == (shown > 24)
    assert all(cell["text"] for row in table["rows"] for cell in row)
    why = [row[5]["text"] for row in table["rows"][1:]]
    assert all(len(words.split()) <= MAX_WORDS for words in why)


def test_list_offers_ten_customers_and_three_buttons(swept):
    _, outcome = swept
    values, data = outcome.posts[0].values, outcome.data
    blocks = render.message("sweep/cohort", **values, zone="UTC").blocks
    assert blocks[0]["text"]["text"].startswith(f"{data['cohort_size']} customers at medium")
    (actions,) = [block for block in blocks if block["type"] == "actions"]
    select, *buttons = actions["elements"]
    assert select["action_id"] == action_ids.OPEN_CUSTOMER
    assert [option["value"] for option in select["options"]] == [
        f"{customer['customer']}|{data['cohort_id']}" for customer in values["customers"]
    ]
    wanted = [action_ids.DRAFT_CAMPAIGN, action_ids.COHORT_CSV, action_ids.COHORT_DETAILS]
    assert [button["action_id"] for button in buttons] == wanted
    text, jargon = json.dumps(blocks), ("ensemble", "rung", "log-loss", "rhythm (", "symlog")
    assert [word for word in jargon if word in text] == []


@pytest.mark.nightly
def test_list_tells_what_changed_since_the_last_one(swept_copy):
    own, first = swept_copy
    later = _done(own, sweep.run(Sweep(tier="medium", as_of=own.end), _context(own, "again")))
    assert later.data["change"] is None  # of the same day
    with own.database.transaction() as session:
        session.get(Cohort, first.data["cohort_id"]).as_of -= timedelta(days=7)
    third = sweep.run(Sweep(tier="medium", as_of=own.end), _context(own, "third"))
    same = {"before": first.data["cohort_size"], "new": 0, "recovered": 0}
    assert third.data["change"].items() >= same.items()
    assert "0 new*, *0 recovered" in _words(third.posts[0])
    other_tiers = sweep.run(Sweep(tier="high", as_of=own.end), _context(own, "fourth"))
    assert other_tiers.data["change"] is None


def test_rule_score_is_not_shown_as_probability(swept):
    post = swept[1].posts[0]
    first = post.values["customers"][0]["churn_probability"]
    by_rules = replace(post, values={**post.values, "model_version": "rules"})
    assert f'"{100 * first:.0f}%' in _words(post)
    assert f'"{100 * first:.0f} of 100"' in _words(by_rules)
    assert f'"{100 * first:.0f}%' not in _words(by_rules)
    assert "is a rank, not a probability" in _words(by_rules)


def _train_jobs(own: tiny.Shop) -> list[Job]:
    return scalars(own.database, select(Job).where(Job.idem_key.startswith("first-model:")))


def test_first_sweep_of_somebody_who_may_train_starts_one_training(own):
    request, posts = Sweep(as_of=own.end), []
    for name in ("viewer", "first", "second"):
        posts += _done(own, sweep.run(request, _context(own, name, request))).posts[:1]
        if name == "viewer":
            assert _train_jobs(own) == []
            add(own.database, grant(own.settings, ANALYST, "analyst"))
    assert [post.values["training"] for post in posts] == [False, True, True]
    assert "A better model is being trained" in _words(posts[1])
    (job,) = _train_jobs(own)
    assert (job.kind, job.channel, job.requested_by) == ("retrain", CHANNEL, ANALYST)


def test_channel_sees_pseudonyms_and_counts(swept):
    own, swept = swept
    # Chance may spell an id in the cohort's.
    text = _words(swept.posts[0]).replace(swept.data["cohort_id"], "")
    first = swept.data["cohort"][0]["customer_id"]
    assert pseudonym(own.settings.key, first) in text
    assert not any(item["customer_id"] in text for item in swept.data["cohort"])
    assert "sales at risk" in text
    assert swept.posts[0].channel is None
    assert swept.posts[0].images["chart"].content.startswith(b"\x89PNG")
    cohort = scalar(own.database, select(Cohort).where(Cohort.id == swept.data["cohort_id"]))
    assert cohort.size == swept.data["cohort_size"] > 0
    assert swept.runs == ("scores",)
    assert own.lake.scores(cohort.run_id).count().execute() == swept.data["customers"]
    # With a model no training starts
    assert (swept.posts[0].values["training"], _train_jobs(own)) == (False, [])


def test_very_large_tier_gets_a_note(swept):
    post, shown = swept[1].posts[0], "the list sets few apart"
    scored = post.values["scored"]
    for high, expected in ((scored // 2, False), (scored // 2 + 1, True)):
        tiers = {"high": high, "medium": scored - high, "low": 0}
        text = _words(replace(post, values={**post.values, "tiers": tiers}))
        assert (shown in text) == expected


def test_cohort_file_goes_to_the_requester_and_thread_notes_it(swept_copy):
    own, swept = swept_copy
    add(own.database, Outbox(key="job:sweep", channel=CHANNEL, payload={}))
    request = CohortCsv(cohort_id=swept.data["cohort_id"])
    outcome = _done(own, cohort_csv.run(request, _context(own, "csv")))
    file, sent, downloaded = outcome.posts
    assert file.channel == sent.channel == ANALYST
    assert file.file.sensitive
    rows = list(csv.DictReader(io.StringIO(file.file.content.decode("utf-8-sig"))))
    assert len(rows) == swept.data["cohort_size"] == outcome.data["rows"]
    assert rows[0]["email"].endswith("@example.com")
    assert rows[0]["reasons"] == swept.data["cohort"][0]["sentence"]
    assert (downloaded.channel, downloaded.thread_key) == (CHANNEL, "job:sweep")
    public = _words(downloaded)
    assert "<@U0ANALYST>" in public
    assert rows[0]["customer_id"] not in public
    with pytest.raises(BadInput, match="no list"):
        cohort_csv.run(CohortCsv(cohort_id="nope"), _context(own, "csv2"))


def test_list_of_an_audience_keeps_the_tiers_of_its_condition(swept_copy):
    own, _ = swept_copy
    counted = store.Counted(1, own.end)
    change(own.database, store.save, "calm", parse("risk = low"), counted=counted, by="operator")
    listed = sweep.run(Sweep(audience="calm", as_of=own.end), _context(own, "calm")).data["cohort"]
    assert {customer["tier"] for customer in listed} == {"low"}


@pytest.mark.nightly
def test_score_goes_to_the_requester_in_full(swept_copy):
    own, swept = swept_copy
    listed = swept.data["cohort"][0]
    request = Score(customer_id=listed["customer_id"], as_of=own.end)
    outcome = score.run(request, _context(own, "score"))
    data, (card,) = outcome.data, outcome.posts
    assert data["preferences"]["summary"].startswith(("mostly ", "a bit of everything"))
    assert data["preferences"]["categories"][0]["share"] > 0
    for name in ("churn_probability", "expected_value"):
        assert data[name] == pytest.approx(listed[name], rel=1e-6)
    assert (data["tier"], data["reasons"]) == (listed["tier"], listed["reasons"])
    assert data["recommendations"]
    assert data["action"]
    assert 0 < data["intent"]["7d"] < data["intent"]["30d"] < data["intent"]["90d"] < 1
    early, late = data["next_order_between"]
    assert early < data["next_order_at"] < late
    risk = data["churn_probability"], data["average"], data["model_version"]
    compared = templating.first_capital(templating.beside_average(*risk))
    text = _words(card)
    for part in (data["preferences"]["summary"], compared, listed["customer_id"], data["sentence"]):
        assert part
        assert part in text
    assert card.channel == ANALYST
    assert "Chance of an order" not in text  # behind Details
    shown = {**card.values, "zone": "UTC", "currency": "EUR"}
    assert "Chance of an order" in json.dumps(render.view("score/details", **shown))
    orders = own.lake.table("events", before=own.end)
    orders = orders.filter(orders.customer_id == listed["customer_id"]).execute()
    spent = (
        orders[orders.event_type == "purchase"]
        .groupby("order_id")
        .agg(at=("occurred_at", "max"), amount=("amount", "sum"))
    )
    newest = spent.sort_values("at", ascending=False).head(5)
    assert [order["amount"] for order in data["last_orders"]] == pytest.approx(list(newest.amount))


@pytest.mark.nightly
def test_card_of_a_lapsed_customer_agrees_with_the_lapsed_list(trained_copy):
    own, _ = trained_copy
    request = Sweep(tier="lapsed", as_of=own.end)
    cohort = sweep.run(request, _context(own, "lapsed")).data["cohort"]
    people = own.lake.table("customers").execute()
    agreed = set(people[people.marketing_consent.eq(True)].customer_id)
    listed = next(each for each in cohort if each["customer_id"] in agreed)
    request = Score(customer_id=listed["customer_id"], as_of=own.end)
    outcome = score.run(request, _context(own, "score"))
    for name in ("tier", "churn_probability", "expected_value", "sentence", "reasons"):
        assert outcome.data[name] == listed[name]
    assert "Lapsed" in outcome.data["action"]  # the policy's rule
    chance = templating.percent(1 - listed["churn_probability"], 1)
    assert chance in _words(outcome.posts[0])
    values = {"zone": "UTC", "result": outcome.data, **outcome.data}
    assert chance in templating.text("terminal/score.txt.j2", **values)


@pytest.mark.nightly
def test_card_of_a_listed_customer_has_the_offer_of_the_list(trained_copy):
    own, _ = trained_copy
    swept = _done(own, sweep.run(Sweep(top=1000, as_of=own.end), _context(own, "list"))).data
    tier_of = {one["customer_id"]: one["tier"] for one in swept["cohort"]}
    listed = next(customer for customer, tier in tier_of.items() if tier == "low")
    scores = own.lake.scores("list-1").execute()
    other = scores[(scores.tier == "low") & scores.list_rank.isna()].customer_id.iloc[0]
    for customer, is_on_it in ((listed, True), (other, False)):
        card = score.run(Score(customer_id=customer, as_of=own.end), _context(own, customer))
        assert ("On the list" in card.data["action"]) == is_on_it


@pytest.mark.nightly
def test_card_shows_the_risk_of_past_lists_as_a_picture(swept_copy):
    own, swept = swept_copy
    first = swept.data["cohort"][0]
    request = Score(customer_id=first["customer_id"], as_of=own.end)
    assert score.run(request, _context(own, "alone")).data["trend"] == []
    with own.database.transaction() as session:
        cohort = session.get(Cohort, swept.data["cohort_id"])
        cohort.as_of = earlier = cohort.as_of - timedelta(days=7)
    outcome = score.run(request, _context(own, "again"))
    assert outcome.data["trend"] == [
        {"at": earlier.isoformat(), "risk": pytest.approx(first["churn_probability"])}
    ]
    picture = outcome.posts[0].images["trend"]
    assert picture.content.startswith(b"\x89PNG")
    assert picture.alt_text.startswith("Risk in 2 lists: ")
    with own.database.transaction() as session:  # ranks by rules are no probabilities
        session.get(Cohort, swept.data["cohort_id"]).model_version = "rules"
    assert score.run(request, _context(own, "third")).data["trend"] == []


def test_unknown_customers_and_missing_orders_are_refused(trained_copy):
    own, _ = trained_copy
    with pytest.raises(BadInput, match="nobody-at-all"):
        score.run(Score(customer_id="nobody-at-all", as_of=own.end), _context(own, "s1"))
    first = own.lake.table("events").execute().groupby("customer_id").occurred_at.min()
    early = Score(customer_id=first.idxmax(), as_of=own.begin + timedelta(days=40))
    with pytest.raises(BadInput, match="no order before"):
        score.run(early, _context(own, "s2"))


def _recommended(own: tiny.Shop, name: str, customer: str = "c0001", **more) -> Outcome:
    request = Recommend(customer_id=customer, as_of=own.end, **more)
    return _done(own, recommend.run(request, _context(own, name)))


def test_recommendation_policies_filter_items_with_a_note(own):
    stranger = {"customer_id": "c0000-unknown", "pseudonym": "0000-0000", "team_id": "local"}
    bought = own.lake.table("events").filter(lambda e: e.customer_id == "c0001").item_id.execute()
    for policy in ("repeat", "new"):
        data = _recommended(own, f"list-{policy}", policy=policy, k=3).data
        assert data["policy"] == policy
        assert {item["item_id"] in set(bought) for item in data["items"]} == {policy == "repeat"}
        assert "popular items" not in data["note"]
    add(own.database, DirectoryEntry(**stranger))
    data = _recommended(own, "list-none", stranger["pseudonym"], policy="repeat", k=3).data
    assert (data["customer_id"], len(data["items"])) == (stranger["customer_id"], 3)
    assert set(data["items"][0]) == {"item_id", "title", "score", "source", "why"}
    assert "Nothing they bought can be offered again" in data["note"]


def test_only_shown_items_are_impressions(own):
    """Sixty were kept as shown, and the report divided by them."""
    typed = Recommend(customer_id="c0001", k=60, as_of=own.end)
    assert run_inline(own.database, typed, user="operator")["items"]  # in the terminal
    assert scalars(own.database, select(Impression)) == []
    outcome = _recommended(own, "long", k=60)
    items, (post,) = outcome.data["items"], outcome.posts
    assert len(items) > recommend.MAX_SHOWN
    shown = select(Impression.item_id).where(Impression.shown_in == "long")
    stored = scalars(own.database, shown.order_by(Impression.position))
    assert stored == [item["item_id"] for item in items[: recommend.MAX_SHOWN]]
    text = _words(post)
    table = next(block for block in json.loads(text)[1] if block["type"] == "table")
    assert len(table["rows"]) == recommend.MAX_SHOWN + 1
    assert f"the first {recommend.MAX_SHOWN} of {len(items)}" in text
    assert items[0]["title"] in text
    assert f"wrong|long|{pseudonym(own.settings.key, 'c0001')}|3" in text
    assert post.channel == ANALYST
