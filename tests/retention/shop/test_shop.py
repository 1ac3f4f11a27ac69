"""From a messy table to a list: columns, times, ids, too little data."""

import subprocess
import sys
from datetime import UTC, datetime

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import retention
from retention.errors import BadInput, TooLittleData
from retention.shop.shop import SCORES
from retention.window import Window

NAMES = {"customer_id": "who", "occurred_at": "day"}


def read(data, **names):
    return retention.Shop.from_frames(data, verbose=False, **names)


def events(shop):
    return shop._data.lake.table("events").execute().sort_values("occurred_at")


@pytest.mark.nightly
def test_pandas_polars_arrow_and_files_give_the_same_shop(orders, tmp_path):
    orders.to_csv(tmp_path / "orders.csv", index=False)
    orders.to_parquet(tmp_path / "orders.parquet")
    expected = str(read(orders))
    assert "130 customers" in expected
    for same in (
        pl.from_pandas(orders),
        pl.from_pandas(orders).lazy(),
        pa.Table.from_pandas(orders),
        tmp_path / "orders.csv",
        [str(tmp_path / "orders.parquet")],
    ):
        assert str(read(same)) == expected


def test_guessed_columns_are_printed_and_named_ones_are_not_guessed(orders, capsys):
    shop = retention.Shop.from_frames(orders, item_id="item")
    printed = capsys.readouterr().out
    assert "ordered_at" in printed
    (choice,) = shop.columns
    sources = {target: source for target, source, _ in choice.rows}
    assert sources["occurred_at"] == "ordered_at"
    assert sources["amount"] == '"quantity" * "price"'
    assert ("item_id", "item", "as named") in choice.rows
    assert "<table>" in shop._repr_html_()


def test_messy_table_with_commas_gaps_and_mixed_codes_is_read():
    table = pd.DataFrame(
        {
            "Customer ID": [17850.0, None, 13047.0, 17850.0],
            "InvoiceDate": ["01.12.2024 08:26", "01.12.2024 08:28"] + ["13.12.2024 09:00"] * 2,
            "Invoice": [536365, 536366, 536367, 536368],
            "StockCode": [85123, "85123A", "POST", 71053],
            "Quantity": [6, 1, 2, 3],
            "Price": ["2,55", "3,39", "18,00", "1,25"],
        }
    )
    shop = read(table)
    read_events = events(shop)
    assert sorted(read_events.customer_id) == ["13047", "17850", "17850"]
    assert sorted(read_events.amount) == pytest.approx([3.75, 15.3, 36.0])
    assert "1 rows cannot be used" in str(shop)


def test_naive_times_are_in_the_shops_time_zone(monkeypatch):
    table = pd.DataFrame({"who": ["ann", "bob"], "day": ["2025-07-01 00:30", "2025-07-02 12:00"]})
    first = datetime(2025, 6, 30, 22, 30)
    assert events(read(table, timezone="Europe/Berlin", **NAMES)).occurred_at.iloc[0] == first
    monkeypatch.setenv("RETENTION_TIMEZONE", "Europe/Berlin")
    typed = table.assign(day=pd.to_datetime(table.day))
    shop = read(typed, columns=NAMES)
    assert events(shop).occurred_at.iloc[0] == first
    assert shop._data.moment("as_of", "2025-07-01") == datetime(2025, 6, 30, 22, tzinfo=UTC)


def test_equal_rows_count_once():
    table = pd.DataFrame({"who": ["ann"] * 3, "day": ["2025-01-01", "2025-01-01", "2025-01-02"]})
    shop = read(table, **NAMES)
    assert len(events(shop)) == 2
    assert "1 rows are equal to another" in str(shop)


def test_named_column_replaces_another_of_the_canonical_name():
    table = pd.DataFrame(
        {"customer_id": ["x", "y"], "account": ["ann", "bob"], "day": ["2025-01-01", "2025-01-02"]}
    )
    shop = read(table, customer_id="account")
    assert sorted(events(shop).customer_id) == ["ann", "bob"]


@pytest.mark.parametrize(
    ("data", "names", "message"),
    [
        ({"who": ["a"], "day": ["2025-01-01"]}, {"customer_id": "whom"}, "did you mean 'who'"),
        ({"colour": ["red"], "size": ["L"]}, {}, "Name it: "),
        ({"who": [], "day": []}, NAMES, "orders has no rows"),
        ({"who": ["a"], "day": ["2025-01-01"]}, {"columns": {"x": "who"}}, "no column 'x'"),
        ({"who": ["a"], "day": ["2025-01-01"]}, {**NAMES, "horizon": 0}, "horizon is 0"),
        ({"who": ["a"], "day": ["2025-01-01"]}, {**NAMES, "timezone": "Mars"}, "'Mars'"),
        ({"who": ["a"], "day": ["soon"]}, NAMES, "the values of 'day' are not"),
    ],
)
def test_unusable_input_names_the_field_and_the_fix(data, names, message):
    with pytest.raises(BadInput, match=message):
        read(pd.DataFrame(data), **names)


def test_what_is_no_table_is_refused():
    with pytest.raises(BadInput, match="orders is a int"):
        read(5)
    with pytest.raises(BadInput, match="there is no such file"):
        read("nowhere.csv")


def test_too_little_data_gives_the_message_of_the_command(orders):
    from retention.churn.model import train

    shop = read(orders.head(3))
    with pytest.raises((BadInput, TooLittleData)) as by_library:
        shop.train_churn()
    horizon, active = shop.horizon_days, shop.active_within_days
    with pytest.raises((BadInput, TooLittleData)) as by_command:
        train(shop._data.lake, cutoff=shop._data.end, window=Window(horizon, active))
    assert str(by_library.value) == str(by_command.value)


@pytest.fixture(scope="module")
def model(shop):
    return shop.train_churn()


def test_scores_are_sorted_by_value_at_stake_with_reasons(shop, model):
    at_risk = shop.score(model)
    assert tuple(at_risk.columns) == SCORES
    assert at_risk.attrs["model"] != "rules"
    assert at_risk.at_stake.is_monotonic_decreasing
    assert (at_risk.at_stake == at_risk.churn_probability * at_risk.expected_value).all()
    assert at_risk.reasons.str.len().min() > 0
    assert str(at_risk.next_order_at.dt.tz) == "UTC"


def test_wrong_model_and_date_are_refused(shop):
    with pytest.raises(BadInput, match="model is a str"):
        shop.score("auto")
    with pytest.raises(BadInput, match="as_of is 'soon'"):
        shop.score(as_of="soon")
    with pytest.raises(BadInput, match="model is 'magic'"):
        shop.train_churn(model="magic")


@pytest.mark.nightly
def test_recommendations_are_ranked_and_ids_keep_their_type(orders):
    numbered = orders.assign(customer_id=orders.customer_id.str[1:].astype(int))
    for table in (numbered, pl.from_pandas(numbered)):
        shop = read(table)
        at_risk = shop.score()
        assert at_risk.attrs["model"] == "rules"
        assert at_risk.customer_id.dtype == "int64"
        lists = shop.recommend(at_risk.customer_id.head(2), k=3)
        assert lists.customer_id.unique().tolist() == at_risk.customer_id.head(2).tolist()
        assert lists["rank"].tolist() == [1, 2, 3, 1, 2, 3]
        assert lists.why.str.len().min() > 0


def test_customers_and_items_enrich_the_shop(orders):
    items = pd.DataFrame({"sku": orders.item.unique()}).assign(
        title=lambda each: "The " + each.sku, category="coffee"
    )
    shop = retention.Shop.from_frames(orders, items=items, verbose=False)
    assert shop.recommend("c0001", k=1).title[0].startswith("The ")
    assert [choice.table for choice in shop.columns] == ["orders", "items"]


def test_model_can_be_saved_and_loaded(shop, model, tmp_path):
    model.save(tmp_path / "churn.skops")
    loaded = retention.ChurnModel.load(tmp_path / "churn.skops")
    assert str(loaded) == str(model)
    pd.testing.assert_frame_equal(shop.score(loaded), shop.score(model))
    with pytest.raises(BadInput, match="cannot be read"):
        retention.ChurnModel.load(tmp_path / "nothing.skops")


def test_temporary_data_is_deleted_with_the_shop(orders):
    shop = read(orders.head(20))
    home = shop._data.settings.home
    assert home.is_dir()
    shop.close()
    assert not home.exists()
    failed = set(home.parent.glob("retention-shop-*"))
    with pytest.raises(BadInput):
        read(pd.DataFrame({"colour": ["red"], "size": ["L"]}))
    assert set(home.parent.glob("retention-shop-*")) <= failed


def test_installation_is_opened_with_its_definition(tmp_path):
    from retention.db import Database
    from retention.settings import Settings
    from tests.databases import create_tables

    settings = Settings(home=tmp_path, _env_file=None)
    tmp_path.mkdir(exist_ok=True)
    create_tables(Database(settings.database_url.get_secret_value(), settings))
    shop = retention.Shop.open(tmp_path)
    assert (shop.horizon_days, shop.active_within_days) == (28, 56)
    with pytest.raises(TooLittleData, match="no events yet"):
        shop.score()


def test_import_loads_no_modelling_library():
    code = (
        "import sys, retention; retention.BadInput; "
        "print({'pandas', 'numpy', 'sklearn', 'matplotlib', 'duckdb', 'ibis'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
