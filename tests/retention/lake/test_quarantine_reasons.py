"""Reasons for quarantine have codes; sentences of earlier versions are still understood."""

import pytest

from retention import templating
from retention.errors import BadInput
from retention.lake.importing import quarantine
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode, by_code, by_text
from retention.lake.importing.release import release
from retention.lake.quality import quality
from retention.text import LANGUAGE
from tests.terminal_text import terminal_text

EARLIER = {
    "customer_id is missing": (ReasonCode.MISSING_CUSTOMER, {}),
    "order_id is missing": (ReasonCode.MISSING_VALUE, {"column": "order_id"}),
    "Unit Price is no number": (ReasonCode.NOT_A_NUMBER, {"column": "Unit Price"}),
    "When is no date or time": (ReasonCode.NOT_A_TIME, {"column": "When"}),
    "consent is neither yes nor no": (ReasonCode.NOT_A_FLAG, {"column": "consent"}),
    "attributes is no JSON": (ReasonCode.NOT_JSON, {"column": "attributes"}),
    "arm is none of treatment, control": (
        ReasonCode.UNKNOWN_VALUE,
        {"column": "arm", "values": "treatment, control"},
    ),
    "occurred_at lies in the future": (ReasonCode.FUTURE_TIME, {}),
    "occurred_at lies before 1995": (ReasonCode.IMPOSSIBLE_DATE, {"earliest": "1995"}),
    "no code of ours": (ReasonCode.UNKNOWN_COUPON, {}),
    "nobody to whom a copy of ours had gone in the two weeks before": (
        ReasonCode.UNKNOWN_RECIPIENT,
        {},
    ),
    "the line is broken: too many columns": (ReasonCode.BROKEN_LINE, {"fault": "too many columns"}),
    "customer_id stands for everybody who has none": (ReasonCode.PLACEHOLDER_CUSTOMER, {}),
    "a test order": (ReasonCode.TEST_ORDER, {}),
    "a line of the accounts, not a sale": (ReasonCode.BOOKKEEPING, {}),
    "amount and quantity contradict each other": (ReasonCode.CONTRADICTORY_SIGNS, {}),
    "nothing was paid for the whole order": (ReasonCode.NOTHING_PAID, {}),
    "the same order twice under different ids": (ReasonCode.DUPLICATE_ORDER, {}),
    "the same line of an order twice at nearly the same time": (ReasonCode.DUPLICATE_LINE_TIME, {}),
    "the same line of an order twice for nearly the same amount": (
        ReasonCode.DUPLICATE_LINE_AMOUNT,
        {},
    ),
    "browsing faster than a person can look": (ReasonCode.BOT, {}),
    "a price far from the item's own": (ReasonCode.UNUSUAL_PRICE, {}),
    "rained on {the} way": (ReasonCode.OTHER, {"text": "rained on {the} way"}),
}
HEADER = "Order,Customer,When,Price\n"
MAP = """[events]
customer_id = "Customer"
occurred_at = "When"
order_id    = "Order"
amount      = "Price"
event_type  = { value = "purchase" }
"""


GOOD = "".join(f"{n},c{n},2025-02-0{n} 10:00:00,2.00\n" for n in range(1, 9))
BAD = (
    "101,,2025-02-03 11:00:00,2.00\n102,c2,never,2.00\n103,c3,2025-02-03 11:00:00,cheap\n"
    "104,GUEST,2025-02-05 11:00:00,2.00\n105,c6,1990-01-01 00:00:00,2.00,too,many\n"
)


@pytest.fixture
def report(import_file, database):
    return import_file(HEADER + GOOD + BAD, MAP, name="orders.csv", database=database)


def without_codes(lake, settings):
    """Rewrite the quarantine as earlier versions wrote it: with sentences only."""
    for path in quarantine.files(settings):
        rows = f"SELECT * EXCLUDE (_reason_code, _reason_data) FROM read_parquet('{path}')"
        lake.duckdb.execute(f"CREATE OR REPLACE TABLE earlier AS {rows}")
        lake.duckdb.execute(f"COPY earlier TO '{path}' (FORMAT parquet)")
        lake.duckdb.execute("DROP TABLE earlier")


def test_earlier_sentences_cover_every_code():
    new = {ReasonCode.UNKNOWN_MEMBER}  # of no earlier version
    assert {code for code, _ in EARLIER.values()} == set(ReasonCode) - new


@pytest.mark.parametrize("sentence", EARLIER)
def test_earlier_sentence_maps_to_code_and_data(sentence):
    reason = Reason.parse(sentence)
    assert (reason.code, reason.data) == EARLIER[sentence]
    assert Reason.parse(reason.key) == reason
    assert reason.text == sentence
    assert len(reason.remedy) > 10
    assert "{column}" not in reason.remedy


def test_remedy_names_the_column():
    assert Reason(ReasonCode.NOT_A_NUMBER, {"column": "Price"}).remedy.startswith("write Price in")
    expected = Reason(ReasonCode.UNKNOWN_VALUE, {"column": "Kind", "values": "a, b"}).remedy
    assert "Kind in the map with { sql = 'CASE …' }" in expected


@pytest.mark.parametrize("column", ['say "it"', "it's", "a {b}", "bot is", "missing_value", "é"])
def test_any_column_name_survives_the_key(column):
    reason = Reason(ReasonCode.NOT_A_TIME, {"column": column})
    assert Reason.parse(reason.key) == reason
    assert Reason.parse(f"{column} is no date or time") == reason
    assert reason.text == f"{column} is no date or time"


def test_counts_are_summed_by_code_and_by_sentence():
    counts = {Reason.missing("item_id"): 1, Reason.missing("order_id"): 2}
    assert by_code(counts) == {"missing_value": 3}
    assert by_text(counts) == {"order_id is missing": 2, "item_id is missing": 1}


def test_import_reports_codes_and_sentences(report):
    told = {
        "missing_customer": "customer_id is missing",
        "not_a_time": "occurred_at is no date or time",
        "not_a_number": "amount is no number",
        "placeholder_customer": "customer_id stands for everybody who has none",
        "broken_line": "the line is broken: too many columns",
    }
    json = report.as_dict()
    assert json["quarantine"] == dict.fromkeys(told, 1)
    assert json["quarantine_text"] == dict.fromkeys(told.values(), 1)


def test_quarantine_file_stores_code_data_and_sentence(lake, report):
    rows = lake.duckdb.execute(
        "SELECT _reason_code, _reason_data, _reason, _remedy "
        f"FROM read_parquet('{report.quarantine_path}')"
    ).fetchall()
    stored = {code: (data, text, remedy) for code, data, text, remedy in rows}
    assert stored["missing_customer"][:2] == (None, "customer_id is missing")
    expected = ('{"column":"occurred_at"}', "occurred_at is no date or time")
    assert stored["not_a_time"][:2] == expected
    expected = ('{"fault":"too many columns"}', "the line is broken: too many columns")
    assert stored["broken_line"][:2] == expected
    assert stored["not_a_number"][2].startswith("write amount in the source as a plain number")


def test_listing_is_the_same_for_files_of_earlier_versions(lake, settings, report):
    today = quarantine.listing(lake.duckdb, settings)
    assert {group["code"] for group in today["reasons"]} == set(report.quarantine)
    without_codes(lake, settings)
    assert quarantine.listing(lake.duckdb, settings) == today
    assert quarantine.summary(lake.duckdb, settings)["quarantine"] == report.quarantine


@pytest.mark.parametrize("is_earlier", [False, True])
def test_release_by_code_retries_only_its_rows(lake, database, settings, report, is_earlier):
    if is_earlier:
        without_codes(lake, settings)
    (settings.home / "clean.toml").write_text('[placeholder_customer]\naction = "keep"\n')
    with pytest.raises(BadInput, match="--reason 'bot' names no reason"):
        release(lake, database, settings, reason="bot")
    assert release(lake, database, settings, reason="missing_customer").rows_tried == 1
    result = release(lake, database, settings, reason="placeholder_customer")
    assert (result.rows_tried, result.rows_accepted) == (1, 1)
    rest = {code: rows for code, rows in report.quarantine.items() if "placeholder" not in code}
    assert result.quarantine == rest
    assert sum(result.quarantine_text.values()) == 4
    (path,) = quarantine.files(settings)
    codes = lake.duckdb.execute(f"SELECT DISTINCT _reason_code FROM read_parquet('{path}')")
    assert {code for (code,) in codes.fetchall()} == set(rest)  # release adds missing codes


def test_stored_sentence_of_another_language_keeps_its_code(lake, settings, report, monkeypatch):
    english = quarantine.counts(lake.duckdb, settings)
    monkeypatch.setenv(LANGUAGE, "en-XA")
    assert all(text.startswith("⟦") for text in quarantine.counts(lake.duckdb, settings))
    assert quarantine.summary(lake.duckdb, settings)["quarantine"] == report.quarantine
    monkeypatch.undo()
    assert quarantine.counts(lake.duckdb, settings) == english


def test_terminal_shows_sentences_instead_of_codes(lake, database, settings, report):
    released = release(lake, database, settings).as_dict()
    for template, result in (("bot/import", report.as_dict()), ("bot/release", released)):
        output = terminal_text(template, result, settings)
        assert "1 row: customer_id is missing" in output
        assert "missing_customer" not in output


def test_stored_report_of_an_earlier_version_is_still_rendered(lake, settings):
    result = {**quality(lake, settings), "as_of": "2025-03-01T00:00:00+00:00", "limits": []}
    result |= {"imports": {"rows_read": 0}, "drift": None, "champion": None, "demo": False}
    del result["quarantine_text"]  # earlier versions had sentences in "quarantine"
    result["quarantine"] = {"customer_id is missing": 3}
    output = templating.text("terminal/data_quality.txt.j2", result=result, zone="UTC", **result)
    assert "3 rows quarantined: customer_id is missing" in output
