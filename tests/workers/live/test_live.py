"""Test the live path: inbox, lake, scores, alerts, and a crash at every step."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from sqlalchemy import delete, func, select

from retention import clock
from retention.alerts import live as live_alerts
from retention.alerts import store
from retention.alerts.condition import parse_condition
from retention.connect.live import events, inbox
from retention.db.tables import (
    AlertFiring,
    DirectoryEntry,
    EventBatch,
    EventKey,
    ImportLog,
    LiveFiring,
    LiveScore,
    LiveSender,
    Outbox,
)
from retention.lake import Lake
from retention.lake.importing import live_import
from retention.lake.schema import EVENTS
from retention.lake.storage import delta_store as lake_store
from retention.privacy import erased
from retention.risk.policy import load_policy
from retention.risk.sweep import sweep
from retention.window import Window
from tests.world import change, one, scalar, scalars
from workers.live import live_events as live
from workers.live.live_events import Drain, TakenByOther

STEPS = ("read", "appended", "scored", "published", "committed")


class Crash(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def desk(shop_copy):
    """A shop at noon, an hour after its last event."""
    now = (shop_copy.end + timedelta(days=1)).replace(hour=12, minute=0, second=0)
    clock.configure(fixed=now)
    return shop_copy


def event(number, customer="c0001", **fields) -> dict:
    at = clock.now() - timedelta(minutes=10)
    return {
        "event_id": f"live-{number}",
        "customer_id": customer,
        "event_type": "view",
        "occurred_at": at.isoformat(),
        **fields,
    }


def accept(desk, *rows) -> None:
    checked = events.check_rows(rows, clock.now(), source="test")
    assert not checked.rejected
    change(desk.database, inbox.add, checked.rows, checked.keys)


def drain(desk, *rows) -> int:
    """Accept rows, and handle what waits."""
    if rows:
        accept(desk, *rows)
    return Drain(desk.database).round()


def forget_keys(desk) -> None:
    """Forget the keys of accepted events, as after a week, or for events of a file."""
    with desk.database.transaction() as session:
        session.execute(delete(EventKey))


def in_lake(desk) -> list[str]:
    table = Lake.open(desk.settings).table("events")
    found = table.filter(table.event_id.startswith("live-")).event_id.execute()
    return sorted(found)


def count(desk, table) -> int:
    return scalar(desk.database, select(func.count()).select_from(table))


def watch(desk, condition: str, since=timedelta(days=1)) -> int:
    """Add an alert whose last complete check was some time ago."""
    with desk.database.transaction() as session:
        parsed = parse_condition(condition)
        alert = store.add(session, "vip", parsed, audience=None, channel="C0CRM", by="U1")
        alert.state = {"as_of": (clock.now() - since).isoformat()}
        return alert.id


def bought(number, customer, **fields) -> dict:
    order = {"event_type": "purchase", "amount": 60.0, "quantity": 1, "item_id": "i001"}
    return event(number, customer, **order, order_id=f"live-{number}", currency="EUR", **fields)


def test_events_reach_lake_scores_and_directory(desk):
    rows = event(1), event(2, "brand-new", source="erp"), bought(3, "brand-new")
    assert drain(desk, *rows) == 3
    assert in_lake(desk) == ["live-1", "live-2", "live-3"]
    with desk.database.reading() as session:
        scored = {row.customer_id: row for row in session.scalars(select(LiveScore))}
        assert session.get(DirectoryEntry, ("local", "brand-new")).pseudonym
        (entry,) = session.scalars(select(ImportLog).where(ImportLog.source == "live"))
    assert scored["brand-new"].as_of == clock.now()
    assert entry.report["rows_accepted"] == 3
    assert (count(desk, EventBatch), drain(desk)) == (0, 0)
    senders = scalars(desk.database, select(LiveSender).order_by(LiveSender.name))
    assert [(row.name, row.last_at) for row in senders] == [
        ("erp", clock.now()),
        ("test", clock.now()),
    ]


def test_live_scores_equal_those_of_a_sweep(desk):
    customers = [f"c{number:04d}" for number in range(6)]
    drain(desk, *(bought(number, name) for number, name in enumerate(customers)))
    lake = Lake.open(desk.settings)
    rows = {row.customer_id: row for row in scalars(desk.database, select(LiveScore))}
    from retention.registry import definition_in_force

    definition = definition_in_force(lake, desk.database)
    swept = sweep(
        lake, None, load_policy(desk.settings), as_of=clock.now(), window=definition.window
    ).scores.set_index("customer_id")
    assert set(rows) == set(customers)
    for name, row in rows.items():
        assert row.churn_probability == pytest.approx(swept.churn_probability[name], abs=1e-9)
        assert row.expected_value == pytest.approx(swept.expected_value[name], abs=1e-9)
        assert row.tier == swept.tier[name]


@pytest.mark.parametrize("step", STEPS)
def test_crash_at_any_step_loses_and_doubles_nothing(desk, monkeypatch, step):
    alert = watch(desk, "orders >= 1")
    accept(desk, bought(1, "brand-new"), event(2))

    def crash(reached):
        if reached == step:
            raise Crash

    monkeypatch.setattr(live, "failpoint", crash)
    with pytest.raises(Crash):
        drain(desk)
    monkeypatch.setattr(live, "failpoint", lambda reached: None)
    drain(desk)
    assert in_lake(desk) == ["live-1", "live-2"]
    assert (count(desk, EventBatch), count(desk, AlertFiring)) == (0, 1)
    with desk.database.reading() as session:
        assert session.scalars(select(LiveFiring.customer_id)).all() == ["brand-new"]
        assert session.scalar(select(AlertFiring.alert_id)) == alert


def test_batch_that_another_process_published_publishes_nothing(desk, monkeypatch):
    watch(desk, "orders >= 1")
    accept(desk, bought(1, "brand-new"))
    first, second = (Drain(desk.database) for _ in range(2))

    def overtake(reached):
        if reached == "scored":
            monkeypatch.setattr(live, "failpoint", lambda reached: None)
            second.round()

    monkeypatch.setattr(live, "failpoint", overtake)
    with pytest.raises(TakenByOther):
        first.round()
    assert (in_lake(desk), count(desk, AlertFiring)) == (["live-1"], 1)


def test_alert_fires_once_for_a_customer_who_crosses_a_tier(desk):
    lake = Lake.open(desk.settings)
    policy, window = load_policy(desk.settings), Window(active_within_days=56)
    swept = sweep(lake, None, policy, as_of=clock.now(), window=window)
    silent = swept.cohort.customer_id[0]
    alert = watch(desk, "risk <= low and value > 0", since=timedelta(minutes=30))
    drain(desk, bought(1, silent))
    with desk.database.reading() as session:
        firing = session.scalars(select(AlertFiring)).one()
        assert (firing.alert_id, firing.customers, firing.state) == (alert, 1, "sent")
        assert session.scalar(select(func.count()).select_from(Outbox)) == 1
        assert live_alerts.reported(session) == {alert: frozenset({silent})}
    drain(desk, bought(2, silent))
    assert count(desk, AlertFiring) == 1


def test_no_alert_fires_in_the_quiet_hours(desk):
    watch(desk, "orders >= 1")
    clock.configure(fixed=clock.now().replace(hour=23))
    drain(desk, bought(1, "brand-new"))
    assert (in_lake(desk), count(desk, AlertFiring)) == (["live-1"], 0)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("later", [timedelta(hours=hours) for hours in (0, -0.001, 20)])
def test_known_id_with_the_same_or_another_time_is_a_duplicate(desk, later):
    """A sender cut its times to seconds, and each event that it repeated counted again."""
    row = bought(1, "c0001")
    at = clock.now() - timedelta(days=1)
    moved = {"occurred_at": (at + later).isoformat()}
    row |= {"occurred_at": at.isoformat()}
    accept(desk, row)
    assert drain(desk, row | moved) == 1  # the server counted the other one
    forget_keys(desk)
    drain(desk, row | moved, bought(2, "c0001"))
    assert in_lake(desk) == ["live-1", "live-2"]


def test_known_id_of_the_last_month_is_a_duplicate(desk):
    first = clock.now().replace(day=1, hour=1)
    row = bought(1, "c0001") | {"occurred_at": (first - timedelta(hours=2)).isoformat()}
    drain(desk, row)
    forget_keys(desk)
    drain(desk, row | {"occurred_at": first.isoformat()})
    assert in_lake(desk) == ["live-1"]


@pytest.mark.nightly
def test_each_round_takes_few_months_of_old_events_and_compacts_no_few_files(desk, monkeypatch):
    monkeypatch.setattr(live_import, "MAX_FILES", 12)
    first = clock.now() - timedelta(days=400)
    months = [(first - timedelta(days=31 * number)).isoformat() for number in range(30)]
    old = [event(number, occurred_at=at) for number, at in enumerate(months)]
    accept(desk, *old, bought(90, "c0001"))
    process = Drain(desk.database)
    process.round()
    stored = in_lake(desk)
    assert "live-90" in stored
    assert len(stored) <= 1 + live.MAX_OLD_MONTHS + 1
    accept(desk, bought(91, "c0002"))
    process.round()
    assert "live-91" in in_lake(desk)
    while process.round():
        pass
    assert len(in_lake(desk)) == 32
    assert count(desk, EventBatch) == 0
    assert not live_import.compact_events(desk.lake.root)


@pytest.mark.nightly
def test_page_event_with_the_id_of_an_order_deletes_no_order(desk):
    view = event(1)
    checked = events.check_rows([view], clock.now(), source="browser", is_page=True)
    change(desk.database, inbox.add, checked.rows, checked.keys)
    drain(desk)
    drain(desk, bought(1, "c0001"))
    assert in_lake(desk) == ["live-1"]


def test_amounts_in_another_currency_are_quarantined(desk):
    drain(desk, bought(1, "c0001") | {"currency": "USD"}, bought(2, "c0002"))
    assert in_lake(desk) == ["live-2"]
    report = one(desk.database, select(ImportLog).where(ImportLog.source == "live")).report
    assert report["quarantine"] == {"unknown_value": 1}
    assert report["rows_read"] == 2


def test_first_amount_decides_the_currency_of_a_new_home(settings, database):
    new = SimpleNamespace(settings=settings, database=database)
    live_path = Drain(database)
    batches = [
        [event(1)],  # has no amount
        [bought(2, "c0002"), bought(3, "c0003") | {"currency": "USD"}],
        [bought(4, "c0004") | {"currency": "USD"}],
    ]
    for rows in batches:
        accept(new, *rows)
        live_path.round()
    assert in_lake(new) == ["live-1", "live-2"]
    assert Lake.open(settings).currency(settings) == "EUR"


def test_events_of_erased_customers_are_dropped(desk):
    accept(desk, event(1, "c0001"), event(2, "c0002"))
    change(desk.database, erased.record_erased, ["c0001"], "U1", clock.now())
    drain(desk)
    assert in_lake(desk) == ["live-2"]


def test_identified_customers_are_merged_into_the_lake(desk):
    row = {"customer_id": "c0001", "email": "ann@shop.example"}
    change(desk.database, inbox.add, [row], ["k1"], "customers")

    def customers():
        frame = Lake.open(desk.settings).table("customers").execute()
        return frame.set_index("customer_id").sort_index()

    before = customers()
    assert drain(desk) == 1
    after = customers()
    assert after.email["c0001"] == "ann@shop.example"
    assert after.drop(columns="email").equals(before.drop(columns="email"))
    assert count(desk, EventBatch) == 0


@pytest.mark.nightly
def test_small_files_are_compacted_and_an_open_version_stays_readable(desk, monkeypatch):
    monkeypatch.setattr(live_import, "MAX_FILES", 12)
    reader = Lake.open(desk.settings).table("events")
    before = reader.count().execute()
    process = Drain(desk.database)
    for number in range(12):
        accept(desk, event(number))
        process.round()
    files = lake_store.files(lake_store.open_table(desk.lake.root, EVENTS))
    assert len(files) < 12
    assert reader.count().execute() == before
    assert len(in_lake(desk)) == 12


class Stop(threading.Event):
    """Asks the process to end once it has waited a number of times; never really waits."""

    def __init__(self, waits: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.waits, self.meanwhile = waits, meanwhile

    def wait(self, timeout: float | None = None) -> bool:
        self.waits -= 1
        self.meanwhile()
        if not self.waits:
            self.set()
        return self.is_set()


@pytest.fixture
def _silent(monkeypatch):
    """No thread reports that the process lives: it would wait at the test's `Stop`."""
    monkeypatch.setattr(live.live_processes, "keep_reporting", lambda *_: None)


@pytest.mark.usefixtures("_silent")
def test_process_handles_what_comes_until_it_is_stopped(desk):
    come = iter([lambda: accept(desk, event(1)), lambda: accept(desk, event(2))])
    live.run(desk.settings, Stop(4, lambda: next(come, lambda: None)()))
    assert in_lake(desk) == ["live-1", "live-2"]


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize("error", [TakenByOther(), ValueError("unforeseen")])
def test_failed_round_is_repeated(desk, monkeypatch, error):
    accept(desk, event(1))
    failing = iter([error])

    def fail_once(reached):
        for first in failing:
            raise first

    monkeypatch.setattr(live, "failpoint", fail_once)
    live.run(desk.settings, Stop(3))
    assert in_lake(desk) == ["live-1"]


@pytest.mark.usefixtures("_silent")
def test_second_process_of_a_host_waits_for_the_first(desk):
    accept(desk, event(1))
    with live.only_one(desk.settings) as is_ours:
        live.run(desk.settings, Stop(2))
    assert is_ours
    assert in_lake(desk) == []


def test_population_is_measured_anew_beside_the_old_one(desk, monkeypatch):
    standard = live.Standard(desk.database)
    first = standard.population(clock.now())
    assert standard.population(clock.now()) is first
    monkeypatch.setattr(live, "MEASURE_SECONDS", 0)
    measure, may_go_on = standard._measure, threading.Event()
    monkeypatch.setattr(standard, "_measure", lambda now: may_go_on.wait() and measure(now))
    assert standard.population(clock.now()) is first  # while a thread measures
    may_go_on.set()
    standard._thread.join()
    assert standard.population(clock.now()) is not first
    standard._thread.join()


def test_population_stays_when_a_measurement_fails(desk, monkeypatch):
    standard = live.Standard(desk.database)
    first = standard.population(clock.now())
    monkeypatch.setattr(live, "definition_in_force", Mock(side_effect=OSError))
    standard._measure(clock.now())
    assert standard.population(clock.now()) is first


def test_packed_rows_are_restored():
    rows = [{"customer_id": "é\n", "amount": 1.5}]
    assert [json.loads(line) for line in inbox.unpack(inbox.pack(rows)).splitlines()] == rows


def test_texts_of_live_reviews_and_support_reach_the_lake_once(desk):
    said = {"text": "Too late!", "language": "en", "rating": 2.0}
    rows = event(1, event_type="review", **said), event(2, event_type="support", text="Help")
    for _ in range(2):
        drain(desk, *rows, event(3, text="of a view"))
        forget_keys(desk)
    found = Lake.open(desk.settings).table("texts").order_by("text_id").execute()
    columns = found[["text_id", "kind", "text", "stars"]].astype(object)
    assert columns.where(columns.notna(), None).to_numpy().tolist() == [
        ["live-1", "review", "Too late!", 2.0],
        ["live-2", "ticket", "Help", None],
    ]
