"""Test exports of subscriptions and of learning platforms: recognition, payments, activity."""

from pathlib import Path

import pandas as pd
import pytest

from retention.connect.sources.dropped_files import recognise
from retention.errors import BadInput
from retention.features import build
from retention.lake import Lake
from retention.lake.importing.import_files import import_files
from retention.lake.suggesting.field_files import propose_field_files
from retention.lake.suggesting.fields import role_of
from retention.lake.suggesting.suggest import propose
from retention.registry.churn_definition import ensure_definition
from retention.settings import Settings
from retention.window import Window
from tests.benchmarks import fields


def payments_lake(folder: Path, text: str) -> tuple[Lake, Settings]:
    """Import a subscription export into a new lake."""
    folder.mkdir(exist_ok=True)
    settings = Settings(home=folder / "home", _env_file=None)
    lake, file, mapped = Lake.open(settings), folder / "subscriptions.csv", folder / "map.toml"
    file.write_text(text, encoding="utf-8")
    proposal = propose(lake, "events", str(file))
    assert 'means       = "renewal"' in proposal.text
    mapped.write_text(proposal.text, encoding="utf-8")
    import_files(lake, None, settings, "events", [str(file)], mapped)
    return lake, settings


def payments(folder: Path, text: str) -> pd.DataFrame:
    """Import a subscription export; return its events."""
    return payments_lake(folder, text)[0].table("events").execute()


def days_of(events: pd.DataFrame, customer: str) -> list[str]:
    own = events[events.customer_id == customer].sort_values("occurred_at")
    return [f"{at:%Y-%m-%d}" for at in own.occurred_at]


@pytest.mark.parametrize(
    ("columns", "role"),
    [
        ("customer,start date,end date,fee", "subscription"),
        ("Customer ID,Start (UTC),Interval,Amount,Current Period End (UTC)", "subscription"),
        ("customer_email,created_at,price,next_charge_scheduled_at", "subscription"),
        ("会员编号,开始日期,到期日,费用", "subscription"),
        ("learner_id,course_id,enrolled_at,fee", "enrolment"),
        ("student,lesson,watched_at", "activity"),
        ("Name,Email,Created at,Cancelled at,Total,Lineitem quantity", None),
        ("order_id,customer_id,order_date,sku,line_total", None),
        ("customer,date,course,price", None),
    ],
)
def test_names_of_columns_tell_the_field(columns, role):
    assert role_of(columns.split(",")) == role


def test_subscription_is_one_payment_each_period_until_it_ends(tmp_path):
    events = payments(
        tmp_path,
        "customer,plan,start date,end date,renewal date,fee,billing interval\n"
        "a,box,2024-01-31,2024-04-15,,10,monthly\n"  # the end of a month stays the end
        "b,box,2024-01-10,,2024-06-10,10,monthly\n"
        "c,box,2024-01-10,,2024-03-10,10,monthly\n"  # did not renew
        "d,big,2023-05-01,,2025-05-01,99,every 12 months\n"
        "e,box,2024-01-01,2023-12-01,,10,monthly\n"
        "f,box,soon,,,10,monthly\n"
        "g,box,2024-01-01,,,10,sometimes\n",
    )
    assert days_of(events, "a") == ["2024-01-31", "2024-02-29", "2024-03-31"]
    assert days_of(events, "b") == [f"2024-0{month}-10" for month in range(1, 6)]
    assert days_of(events, "c") == ["2024-01-10", "2024-02-10"]
    assert days_of(events, "d") == ["2023-05-01", "2024-05-01"]
    assert not {*"efg"} & {*events.customer_id}  # quarantined
    assert events[events.customer_id == "d"].amount.tolist() == [99, 99]


def test_customers_of_one_plan_share_no_payment(tmp_path):
    head = "customer,plan,start date,end date,fee\n"
    rows = "".join(f"c{n},box,2024-01-05,,10\n" for n in range(5)) + "c9,box,2024-03-05,,10\n"
    events = payments(tmp_path, head + rows)
    assert len(events) == 16
    assert events.order_id.is_unique


def test_later_file_does_not_change_what_churn_means(tmp_path, database):
    head = "customer,start date,end date,fee\n"
    lake, _ = payments_lake(tmp_path, head + "a,2024-01-05,,10\nb,2024-06-06,,10\n")
    assert ensure_definition(lake, database, "renewal").means == "renewal"
    assert ensure_definition(lake, database, "activity").means == "renewal"


def test_log_of_a_shop_with_orders_has_views_only(tmp_path):
    head = "customer,start date,end date,fee\n"
    lake, _ = payments_lake(tmp_path, head + "a,2024-01-05,,10\nb,2024-06-06,,10\n")
    log = tmp_path / "log.csv"
    log.write_text("student id,lesson,watched at,minutes\na,one,2024-02-01 10:00,20\n")
    ((_, proposal),) = propose_field_files(lake, [str(log)], "renewal")
    assert "purchase" not in proposal.text
    assert "means" not in proposal.text


@pytest.mark.parametrize(
    ("start", "end"), [("31.01.2024", "15.04.2024"), ("01/31/2024", "04/15/2024")]
)
def test_dates_are_read_as_the_country_writes_them(tmp_path, start, end):
    events = payments(
        tmp_path, f"customer,start date,end date,fee\na,{start},{end},10\nb,{end},,10\n"
    )
    assert days_of(events, "a") == ["2024-01-31", "2024-02-29", "2024-03-31"]


def test_later_export_adds_payments_and_changes_no_earlier_one(tmp_path):
    head = "customer,start date,end date,fee,next renewal\n"
    then = "a,2024-01-05,,10,2024-04-05\nb,2024-02-01,,10,2024-04-01\n"
    later = (
        "a,2024-01-05,2024-04-02,10,\nb,2024-02-01,,10,2024-07-01\nc,2024-05-20,,10,2024-06-20\n"
    )
    early = payments(tmp_path / "early", head + then)
    late = payments(tmp_path / "late", head + later)
    known = late[late.occurred_at < early.occurred_at.max() + pd.Timedelta(days=1)]
    columns = ["customer_id", "occurred_at", "amount", "order_id"]
    pd.testing.assert_frame_equal(
        early[columns].sort_values(columns).reset_index(drop=True),
        known[columns].sort_values(columns).reset_index(drop=True),
    )
    assert len(late) > len(early)


def test_newest_fee_counts_for_all_payments_and_none_counts_twice(tmp_path):
    head = "customer,start date,end date,fee\n"
    lake, settings = payments_lake(tmp_path, head + "a,2024-01-05,,10\nb,2024-03-06,,10\n")
    raised = tmp_path / "raised.csv"
    raised.write_text(head + "a,2024-01-05,,12\nb,2024-03-06,,10\nc,2024-04-06,,10\n")
    import_files(lake, None, settings, "events", [str(raised)], tmp_path / "map.toml")
    events = lake.table("events").execute()
    assert events[events.customer_id == "a"].amount.tolist() == [12] * 4


def test_last_activity_of_an_export_is_not_used_and_says_why(tmp_path):
    file = tmp_path / "subscriptions.csv"
    file.write_text(
        "customer,start date,end date,fee,last login\na,2024-01-05,2024-02-05,10,2024-02-01\n"
    )
    lake = Lake.open(Settings(home=tmp_path / "home", _env_file=None))
    proposal = propose(lake, "events", str(file))
    assert "export_state" in [doubt.code for doubt in proposal.doubts]
    assert '= "last login"' not in proposal.text


def test_visits_of_a_shop_without_lessons_are_no_field(tmp_path):
    orders, visits = tmp_path / "orders.csv", tmp_path / "visits.csv"
    orders.write_text("order_id,customer_id,order_date,total\n1,a,2024-01-05,10\n")
    visits.write_text("customer_id,timestamp,session_id\na,2024-01-05 10:00,s1\n")
    lake = Lake.open(Settings(home=tmp_path / "home", _env_file=None))
    assert propose_field_files(lake, [str(orders), str(visits)]) == []


@pytest.fixture(scope="module", params=[*fields.SHOPS])
def shop(request, tmp_path_factory) -> fields.ReadShop:
    return fields.read(request.param, tmp_path_factory.mktemp("field"), 150)


def test_figures_and_churn_equal_a_count_by_pandas(shop):
    events = shop.lake.table("events").execute()
    sales = events[events.event_type == "purchase"]
    assert len(sales) == len(shop.events)
    assert sales.customer_id.nunique() == shop.events.customer.nunique()
    assert sales.amount.sum() == pytest.approx(shop.events.amount.sum())
    window = shop.definition.window
    for cutoff in shop.cutoffs:
        assert fields.take_labels(shop, cutoff, window).to_dict() == shop.churned(cutoff).to_dict()


def test_definition_follows_the_field(shop):
    if shop.definition.means == "renewal":
        assert shop.definition.window == Window(35, 31)
    else:
        assert shop.definition.means == "activity"
        assert shop.definition.window == Window(14, 28)


def test_future_payments_change_no_feature(tmp_path):
    shop = fields.read("subscription box", tmp_path, 60)
    cutoff = shop.cutoffs[-1]
    before = build(shop.lake, cutoff, shop.definition.window).execute()
    file = tmp_path / "later.csv"
    rows = [f"s{n},box,{cutoff:%Y-%m-%d},,29,2025-12-01" for n in range(50)]
    file.write_text("\n".join(["subscriber,plan,start_date,end_date,fee,next_renewal", *rows]))
    import_files(
        shop.lake,
        None,
        Settings(home=tmp_path / "home", _env_file=None),
        "events",
        [str(file)],
        tmp_path / "0.toml",
    )
    assert shop.lake.newest_event() > shop.end
    after = build(shop.lake, cutoff, shop.definition.window).execute()
    by = ["customer_id"]
    pd.testing.assert_frame_equal(
        before.sort_values(by).reset_index(drop=True), after.sort_values(by).reset_index(drop=True)
    )


@pytest.mark.nightly
@pytest.mark.parametrize("name", fields.SHOPS)
def test_model_beats_recency_alone_in_both_fields(tmp_path, name):
    gain, low, _ = fields.auc_gain(fields.evaluations(fields.read(name, tmp_path)))
    assert gain > low > 0


def test_unknown_meaning_of_a_map_is_named(tmp_path):
    lake, settings = payments_lake(tmp_path, "customer,start date,end date,fee\na,2024-01-05,,10\n")
    path = tmp_path / "map.toml"
    path.write_text(path.read_text().replace('"renewal"', '"subscribing"'))
    with pytest.raises(BadInput, match=r"means: 'subscribing' .* renewal"):
        import_files(lake, None, settings, "events", [str(tmp_path / "subscriptions.csv")], path)


def test_dropped_subscriptions_are_events(tmp_path):
    lake, _ = payments_lake(tmp_path, "customer,start date,end date,fee\na,2024-01-05,,10\n")
    assert recognise(lake, tmp_path / "subscriptions.csv") == "events"
