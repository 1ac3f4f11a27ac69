"""Each cleaning rule sets aside what it is for, and leaves alone right rows that look like it."""

import pytest

from retention.errors import BadInput
from retention.lake.cleaning.cleaning_rules import load_clean_policy
from retention.lake.cleaning.faulty_events import BECAME_RETURN
from retention.lake.importing import quarantine
from retention.lake.importing.release import release

HEADER = "customer_id,event_type,occurred_at,order_id,item_id,quantity,amount,discount\n"
USUAL = [
    f"{n % 7},purchase,2025-03-{1 + n % 27:02} 10:{n % 60:02}:{n % 50:02},{n},tea,"
    f"{1 + n % 3},{(1 + n % 3) * 5.0},0"
    for n in range(60)
]


@pytest.fixture
def bring(import_file):
    """Import some lines as one file and say what was quarantined."""

    def import_(*lines: str, name: str = "events.csv"):
        return import_file(HEADER + "\n".join([*USUAL, *lines]) + "\n", name=name)

    return import_


# The order that each line belongs to, and its code.
FAULTY = {
    "x0": ("9,purchase,1970-01-01 00:00:00,x0,tea,1,5,0", "impossible_date"),
    "x1": ("Guest,purchase,2025-03-01 10:00:00,x1,tea,1,5,0", "placeholder_customer"),
    "x2": ("TEST customer 2,purchase,2025-03-01 10:00:00,x2,tea,1,5,0", "test_order"),
    "x3": ("9,purchase,2025-03-02 10:00:00,x3,TEST001,1,5,0", "test_order"),
    "x4": ("Test@shop.example,purchase,2025-03-01 10:00:00,x4,tea,1,5,0", "test_order"),
    "x5": ("9,purchase,2025-03-03 10:00:00,x5,BANK CHARGES,1,15,0", "bookkeeping"),
    "x6": ("9,purchase,2025-03-04 10:00:00,x6,tea,1,-5,0", "contradictory_signs"),
    "x7": ("9,purchase,2025-03-05 10:00:00,x7,tea,1,649.5,0", "unusual_price"),
    "x8": ("3,purchase,2025-03-04 10:03:33,x8,tea,1,5.0,0", "duplicate_order"),
    "4": ("4,purchase,2025-03-05 10:04:04.4,4,tea,2,10.0,0", "duplicate_line_time"),
}


def test_impossible_events_are_quarantined(bring, lake):
    lines = [line for line, _ in FAULTY.values()]
    for accepted in (len(USUAL), 0):  # again: judged beside what the lake holds, with the same end
        report = bring(*lines)
        assert report.rows_accepted == accepted
        rows = lake.duckdb.read_parquet(report.quarantine_path)
        codes = dict(rows.select("order_id, _reason_code").fetchall())
        assert codes == {order: code for order, (_, code) in FAULTY.items()}


def test_bookkeeping_line_is_recognised_by_its_title(import_file, lake, settings):
    normal_titles = ["Bad debtor mug", "Charge card holder", "Adjustable strap", "Adjustment", ""]
    lines = ["Adjust bad debt", " BANK CHARGES", "Write-off", *normal_titles]
    numbered = enumerate(lines)
    rows = "".join(f"{n},2025-03-0{1 + n} 10:00:00,B{n},{title},11.06\n" for n, title in numbered)
    sales = f"who,at,code,Description,paid\n{rows}"
    plain = """[events]
    customer_id = "who"
    occurred_at = "at"
    item_id = "code"
    amount = "paid"
    event_type = { value = "purchase" }
    """

    def bring(text):
        report = import_file(sales, text)
        return report.rows_accepted, report.quarantine_text

    says = r'title asks for the column "Descriptio", .* the nearest is "Description"'
    with pytest.raises(BadInput, match=says):
        bring(plain + 'title = "Descriptio"')
    assert bring(plain + 'title = "Description"') == (5, {"a line of the accounts, not a sale": 3})
    (settings.home / "clean.toml").write_text("[bookkeeping]\ntitle = 'strap'\n")
    assert release(lake, None, settings).rows_accepted == 3
    assert bring(plain) == (0, {})


def test_valid_rows_similar_to_faults_are_accepted(bring):
    report = bring(
        "contest,purchase,2025-03-01 10:00:00,x0,tea,1,5,0",
        "testa@shop.example,purchase,2025-03-01 10:00:00,x1,tea,1,5,0",
        "9,purchase,2025-03-02 10:00:00,x2,POST,1,18,0",
        "9,purchase,2025-03-03 10:00:00,x3,tea,1,0,0",
        "9,purchase,2025-03-04 10:00:00,x4,tea,100,500,0",
        "9,purchase,2025-03-05 10:00:00,x5,tea,1,25,0",
        "3,purchase,2025-03-04 10:05:03,x6,tea,1,5.0,0",
        "4,purchase,2025-03-04 10:03:33,x7,tea,1,5.0,0",
        "3,purchase,2025-03-04 10:03:33,3,tea,1,5.0,0",
    )
    assert report.quarantine_text == {}


def test_negative_sale_becomes_a_return(bring, lake):
    report = bring("3,purchase,2025-03-09 10:03:03,x,tea,-1,-5.0,0")
    assert report.mended == {BECAME_RETURN: 1}
    assert report.quarantine_text == {}
    assert lake.returns().count().execute() == 1


def test_postage_counts_as_money_but_is_never_recommended(bring, lake):
    bring(
        "9,purchase,2025-03-01 10:00:00,x,POST,1,18,0",
        "9,purchase,2025-03-01 10:00:00,x,postcard,1,2,0",
    )
    assert lake.table("items").item_id.execute().tolist() == ["POST"]
    from retention.recommend.catalogue import catalogue

    assert catalogue(lake).barred == {"POST"}
    assert lake.table("events").amount.max().execute() == 18


def test_fast_browsing_is_quarantined_as_a_bot(bring):
    fast = [f"8,view,2025-03-02 12:{n // 60:02}:{n % 60:02}.{n % 2}00,,tea,,," for n in range(150)]
    fast += [f"8,view,2025-03-02 12:{n // 60:02}:{n % 60:02}.500,,cup,,," for n in range(150)]
    slow = [f"9,view,2025-03-02 12:{n // 4:02}:{15 * (n % 4):02},,tea,,," for n in range(150)]
    assert bring(*fast, *slow).quarantine == {"bot": 300}


def test_second_file_is_compared_with_stored_events(bring, lake, settings):
    bring()
    report = bring(
        "3,purchase,2025-03-04 10:03:33,x,tea,1,5.0,0",
        "9,purchase,2025-04-01 10:00:00,y,tea,1,649.5,0",
        name="b.csv",
    )
    assert set(report.quarantine) == {"duplicate_order", "unusual_price"}
    assert release(lake, None, settings).rows_accepted == 0
    text = '[price]\naction = "keep"\n[order_twice]\nseconds = 5\n'
    (settings.home / "clean.toml").write_text(text)
    assert release(lake, None, settings).rows_accepted == 2
    assert quarantine.counts(lake.duckdb, settings) == {}


def test_constant_event_type_still_finds_repeated_orders(import_file, lake, settings):
    """The second file's lines are those of the first, written again.

    They come as a file, and again out of the quarantine.
    """
    head = "who,at,order,sku,pieces,paid\n"
    line = "{who},2025-03-{day:02} 10:00:{seconds},{order},tea,1,5\n"
    first = [line.format(who=n, day=n, seconds="07", order=n) for n in range(1, 9)]
    again = [
        line.format(who=1, day=1, seconds="07.4", order=1),
        line.format(who=2, day=2, seconds="37", order="x"),
        line.format(who=3, day=3, seconds="soon", order=3),
        "test1,2025-03-04 10:00:07,9,tea,-1,-5\n",
    ]
    text = (
        '[events]\ncustomer_id = "who"\noccurred_at = "at"\norder_id = "order"\nitem_id = "sku"\n'
        'quantity = "pieces"\namount = "paid"\nevent_type = { value = "purchase" }\n'
    )
    for name, lines in (("first.csv", first), ("again.csv", again)):
        report = import_file(head + "".join(lines), text, name=name)
    codes = ("not_a_time", "duplicate_line_time", "duplicate_order", "test_order")
    assert report.quarantine == dict.fromkeys(codes, 1)
    result = release(lake, None, settings)
    assert (result.rows_kept, result.notes) == (4, ())
    assert lake.table("events").count().execute() == len(first)


def test_contradictory_signs_may_be_allowed(bring, lake, settings):
    """A shop that keeps contradictions imports a file again: its returns come in only once."""
    lines = (
        "9,purchase,2025-03-05 10:00:00,x,tea,-1,-5,0",
        "9,purchase,2025-03-06 10:00:00,y,tea,1,-5,0",
    )
    assert bring(*lines).rows_quarantined == 1
    (settings.home / "clean.toml").write_text('[negative]\naction = "keep"\n')
    assert release(lake, None, settings).rows_accepted == 1
    assert bring(*lines).rows_accepted == 0


def test_dates_without_times_show_no_repeated_orders(import_file):
    lines = [
        f"{n},purchase,2025-03-{1 + n:02},{n},tea,1,5,0\n"
        f"{n},purchase,2025-03-{1 + n:02},x{n},tea,1,5,0\n"
        for n in range(20)
    ]
    assert import_file(HEADER + "".join(lines)).rows_accepted == 40


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[prices]\nz = 1\n", "has a rule [prices]; did you mean price?"),
        (
            "[impossible_date]\nearlyest = 1970-01-01\n",
            "has a key 'earlyest'; did you mean earliest?",
        ),
        ("[bot]\ncolour = 1\n", "has a key 'colour'; there are action, events, per_second."),
        ("[impossible_date]\nearliest = 1066-10-14\n", "impossible_date earliest is"),
        ("[price]\nz = -1\n", "price z is -1"),
        ("[price]\naction = 'drop'\n", "price action"),
        ("[missing]\ncolumns = ['colour']\n", "'colour'"),
        (
            "[missing]\ncolumns = 'channel'\n",
            """missing columns is 'channel'; write a list like ["a", "b"]""",
        ),
        ('[bot]\nevents = "9"\n', "bot events is '9'; write a whole number"),
        ("[test_order]\nitem = '('\n", "regular expression"),
        ("price = 3\n", "no rule"),
        ("[price\n", "not TOML"),
    ],
)
def test_invalid_policy_gives_one_sentence(settings, text, says):
    settings.home.mkdir(parents=True)
    (settings.home / "clean.toml").write_text(text)
    with pytest.raises(BadInput) as refusal:
        load_clean_policy(settings)
    assert says in str(refusal.value)


def test_earliest_date_rule_can_be_changed_and_rows_released(bring, lake, settings):
    days = ("1955-05-05", "1969-12-31", "0017-05-05")
    old = [f"9,purchase,{when} 00:00:00,x,tea,1,5,0" for when in days]
    assert bring(*old).quarantine == {"impossible_date": 2, "not_a_time": 1}
    (settings.home / "clean.toml").write_text("[impossible_date]\nearliest = 1960-01-02\n")
    assert release(lake, None, settings).rows_accepted == 1
    expected = {"occurred_at lies before 1960-01-02": 1, "occurred_at is no date or time": 1}
    assert quarantine.counts(lake.duckdb, settings) == expected


def test_quarantined_order_is_quarantined_again_on_reimport(bring):
    """Orders are held against those of the same ten minutes, whatever else the customer did."""
    numbered = enumerate(("12:00:00", "12:00:30", "12:09:50", "12:10:10"))
    twice = [f"8,purchase,2025-03-01 {at},{n},tea,1,5,0" for n, at in numbered]
    first = bring(*twice)
    assert first.quarantine == {"duplicate_order": 1}
    again = bring(*twice)
    assert (again.rows_accepted, again.quarantine) == (0, first.quarantine)


BASKETS = [
    f"{n % 7},purchase,2025-03-{1 + n % 27:02} 11:{n % 60:02}:{n % 50:02},b{n},{item},"
    f"{1 + n % 3},{(1 + n % 3) * price},0"
    for n in range(30)
    for item, price in (("cup", 9.99), ("jug", 100.0), ("bag", 0.33))
]
# b8 is an order of customer 1, of three pieces of each; b9 of customer 2, of one; and so on


@pytest.mark.parametrize("later", [False, True])
def test_line_exported_again_is_quarantined(bring, later):
    """In the same file, or in a later one; the earlier of two lines of one file stays."""
    again = [
        ("1,purchase,2025-03-09 11:08:08,b8,cup,3,29.98,0", "amount"),
        ("2,purchase,2025-03-10 11:09:09,b9,jug,1,100.1,0", "amount"),
        ("3,purchase,2025-03-11 11:10:10.3,b10,bag,2,0.67,0", "amount"),
        ("4,purchase,2025-03-12 11:11:51,b11,cup,3,29.96,0", "amount"),
        ("5,purchase,2025-03-13 11:12:52,b12,cup,1,9.99,0", "time"),
        ("6,purchase,2025-03-14 11:13:05,b13,cup,2,19.98,0", "time"),
    ]
    if later:
        bring(*BASKETS)
    report = bring(*BASKETS, *(line for line, _ in again), name="again.csv")
    assert report.quarantine == {"duplicate_line_amount": 4, "duplicate_line_time": 2}
    assert report.rows_accepted == (0 if later else len(USUAL) + len(BASKETS))


def test_similar_but_different_line_is_accepted(bring):
    report = bring(
        *BASKETS,
        "1,purchase,2025-03-09 11:08:08,b8,cup,3,29.93,0",  # two cents and more
        "2,purchase,2025-03-10 11:09:09,b9,cup,2,10.00,0",  # other pieces
        "3,purchase,2025-03-11 11:10:10,b10,jug,2,200.26,0",
        "4,purchase,2025-03-12 11:11:11,c11,cup,3,29.98,0",  # another order
        "5,purchase,2025-03-13 11:12:52,,cup,1,9.99,0",  # none
        "0,purchase,2025-03-14 11:13:13,b13,cup,2,19.99,0",  # another customer
        "0,purchase,2025-03-15 11:15:34,b14,cup,3,29.97,0",  # added to the order later
        # the cent of the order's discount is on this one
        "1,purchase,2025-03-16 11:15:15,b15,cup,1,9.98,0.01",
    )
    assert report.quarantine_text == {}


def test_weighed_items_of_a_till_are_separate_sales(bring):
    till = [
        f"{n % 7},purchase,2025-03-{1 + n % 27:02} 12:{n % 60:02}:{s:02},t{n},{item},1,{price},0"
        for n in range(30)
        for s, item, price in (
            (1, "pears", 2.31 + n / 100),
            (9, "milk", 1),
            (20, "pears", 2.31 + n / 100),
            (20, "pears", 2.8),
        )
    ]
    # A cent more than the bag beside it.
    weighed = "1,purchase,2025-03-09 12:08:01,t8,pears,1,2.4,0"
    assert bring(*till, weighed).quarantine_text == {}


def test_lines_with_different_source_ids_are_two_sales(import_file):
    head = "event_id,customer_id,event_type,occurred_at,order_id,item_id,quantity,amount\n"
    line = "{},{},purchase,2025-03-09 11:08:08,{},{},1,{}\n"
    lines = [
        line.format(f"{n}{item}", n, n, item, 3.34) for n in range(30) for item in ("cup", "jug")
    ]
    lines.append(line.format("x", 8, 8, "cup", 3.33))
    assert import_file(head + "".join(lines)).rows_accepted == 61


def test_shop_can_require_a_column(bring, settings):
    settings.home.mkdir(parents=True)
    text = '[missing]\ncolumns = ["item_id"]\n[nothing_paid]\naction = "quarantine"\n'
    (settings.home / "clean.toml").write_text(text)
    report = bring(
        "9,purchase,2025-03-01 10:00:00,x,,1,5,0", "9,purchase,2025-03-01 11:00:00,y,tea,1,0,0"
    )
    assert report.quarantine == {"missing_value": 1, "nothing_paid": 1}
