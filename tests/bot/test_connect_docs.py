"""Follow the pages that connect a shop word by word, against its stand-in."""

import io
import re
import shlex
from pathlib import Path

import pytest
from sqlalchemy import select

from bot.http.web import Site
from bot.terminal import run
from retention.db import Database
from retention.db.tables import Webhook
from retention.lake import Lake
from retention.settings import Settings
from tests.bot.http.test_server import ask
from tests.retention.connect.shops import SHOPS, orders_of, records_of
from tests.standins import shopify
from tests.world import scalars
from workers.schedule import due_shop_checks
from workers.tasks.runner import run_job

DOCS = Path(__file__).parents[2] / "docs" / "operator"
COMMANDS = re.compile(r"^```\n((?:export .*\n)?(?:retention .*\n)+)```$", re.MULTILINE)


@pytest.fixture
def folder(home, monkeypatch):
    """A folder with a home, and a public address."""
    monkeypatch.setenv("RETENTION_PUBLIC_URL", "https://desk.example")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n" * 9))  # Enter for "token"
    return home.parent


def retention(*arguments: str) -> None:
    assert run(list(arguments)) == 0


def follow(kind: str, stand_in, folder: Path, monkeypatch) -> None:
    """Type the commands of a page; secrets are in files, and the shop is the stand-in."""
    values = SHOPS[kind].values(stand_in)
    page = (DOCS / f"connect_{kind}.md").read_text(encoding="utf-8")
    (block,) = COMMANDS.findall(page)
    retention("init")
    for line in block.splitlines():
        words = shlex.split(line)
        if words[0] == "export":
            for name in (word.partition("=")[0] for word in words[1:]):
                file = folder / name  # of a secret
                file.write_text(values[name.removesuffix("_FILE").lower()])
                monkeypatch.setenv(name, str(file))
            continue
        typed = [re.sub(r"^shop=.*", f"shop={stand_in.url}", word) for word in words[1:]]
        retention(*(word.replace("CLIENT_ID", shopify.CLIENT_ID) for word in typed))


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("kind", SHOPS)
def test_page_connects_a_shop_and_its_webhooks_arrive(kind, folder, monkeypatch):
    with SHOPS[kind].stand_in.start() as stand_in:
        records_of(stand_in).fill()
        follow(kind, stand_in, folder, monkeypatch)
        settings = Settings(_env_file=None)
        database = Database.of(settings)
        assert events(settings) == 46
        new = records_of(stand_in).add_order(777)
        hooks = getattr(stand_in, "subscriptions", None) or stand_in.webhooks
        secret = next(iter(hooks)).get("secret")  # WooCommerce's is made by the desk
        headers, body = stand_in.delivery(SHOPS[kind].topic, new, secret=secret)
        address = next(iter(hooks)).get("uri") or next(iter(hooks))["delivery_url"]
        path = address.removeprefix("https://desk.example")
        assert ask(Site(settings, database), "POST", path, body, headers)[0] == 200
        job_id = due_shop_checks.submit_due(database)
        assert job_id
        run_job(database, job_id, "test")
        assert events(settings) == 47
        retention("source", "remove", "shop")
        assert not scalars(database, select(Webhook))
    assert 777 in orders_of(stand_in)
    database.dispose()


def events(settings) -> int:
    return int(Lake.open(settings).table("events").count().execute())
