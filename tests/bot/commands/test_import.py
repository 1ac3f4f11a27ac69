"""Test `retention import`: the suggested map and the missing file."""

import sqlite3
import tomllib
from contextlib import closing
from types import SimpleNamespace

from bot.commands.parsing import parse
from bot.commands.tree import Call
from retention.lake import Lake
from retention.lake.importing.import_files import import_files


def test_import_prints_only_the_suggested_map(home, tmp_path, cli):
    path = tmp_path / "sales.csv"
    rows = [
        f"{n % 40},{1000 + n // 5},{1 + n % 7},"
        f"2010-01-{4 + n // 20:02} 08:{n % 60:02}:00,{2 + n % 9}.5"
        for n in range(400)
    ]
    path.write_text("\n".join(["user_id,order_id,product_id,created_at,price", *rows]))
    proposal = tomllib.loads(cli.text(f"import events --suggest-map {path}"))
    assert proposal["events"]["customer_id"] == "user_id"
    assert "Name at least one file" in cli.error("import events")


def _shop(path) -> str:
    with closing(sqlite3.connect(path)) as shop, shop:
        shop.execute("CREATE TABLE invoices (InvoiceId, CustomerId, InvoiceDate, Total)")
        rows = [(n, n % 9, f"2024-01-{n % 28 + 1:02} 10:00:00", n + 0.99) for n in range(60)]
        shop.executemany("INSERT INTO invoices VALUES (?, ?, ?, ?)", rows)
    return f"sqlite:///{path}"


def test_suggests_a_map_for_a_database_query(home, tmp_path, cli):
    url, query = _shop(tmp_path / "shop.sqlite"), "SELECT * FROM invoices"
    proposal = cli.text(f"import events --suggest-map {url} --query '{query}'")
    section = tomllib.loads(proposal)["events"]
    assert (section["order_id"], section["amount"]) == ("InvoiceId", "Total")
    assert "--query" in proposal
    (tmp_path / "map.toml").write_text(proposal)
    imported = cli.json(f"import events {url} --query '{query}' --map map.toml")
    assert imported["rows_accepted"] == 60

    for more in ("", "--query 'SELECT 1'"):  # the file instead of its URL
        hint = cli.error(f"import events --suggest-map {tmp_path / 'shop.sqlite'} {more}")
        assert f"'{url}' --query 'SELECT * FROM \"invoices\"'" in hint


def test_events_as_of_a_day_are_those_of_the_shops_calendar(settings, tmp_path):
    """An analyst counts the rows whose local date is at most that day."""
    own = settings.model_copy(update={"timezone": "Asia/Tokyo"})
    hours = ("00:00", "00:30", "08:00", "08:30", "23:00", "23:30")
    times = [f"2025-03-{day} {hour}" for day in (23, 24, 25) for hour in hours]
    path, map_path = tmp_path / "orders.csv", tmp_path / "map.toml"
    path.write_text("customer,at\n" + "".join(f"c{n},{at}\n" for n, at in enumerate(times)))
    map_path.write_text(
        '[events]\ntimezone = "Asia/Tokyo"\ncustomer_id = "customer"\noccurred_at = "at"\n'
        'event_type = { value = "purchase" }\n'
    )
    lake = Lake.open(own)
    import_files(lake, None, own, "events", [str(path)], map_path)
    parsed = parse("cohort --as-of 2025-03-24")
    services = SimpleNamespace(settings=own, database=None)
    request = parsed.command.handle(Call(services, "U1", "slack", "k"), parsed.params)
    known = lake.table("events", request.as_of).count().execute()
    assert known == sum(at[:10] <= "2025-03-24" for at in times) == 12
    assert f"{lake.local(request.as_of):%d %b}" == "24 Mar"
