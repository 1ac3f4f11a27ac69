"""Nothing that a week of the demo writes or starts holds a secret of the installation."""

from pathlib import Path

import psutil
import pytest

from retention.connect import connections
from retention.db import Database
from retention.settings import Settings
from tests.end_to_end.playground_client import PlaygroundClient, demo
from tests.world import read

pytestmark = [pytest.mark.desk, pytest.mark.nightly, pytest.mark.timeout(1800)]

# Where a secret has its place, with mode 0600. The files in run/secrets are gone after the end.
PLACES = {("key", "home/secret.key"), ("broker", "home/broker/access.conf")}


def secrets_of(home: Path) -> dict[str, str]:
    """Every secret of a running demo, by name."""
    files = (home / "run" / "secrets").glob("*/[A-Z]*")
    secrets = {file.name: file.read_text().strip() for file in files}
    del secrets["SLACK_BOT_TOKEN"]  # a constant of the source, which no Slack takes
    assert {"SLACK_SIGNING_SECRET", "RETENTION_EVENTS_KEY"} <= secrets.keys()
    url = secrets.pop("RETENTION_SMTP_URL", "")  # of the mailbox, without a password
    assert "@" not in url.partition("?")[0]
    secrets["key"] = (home / "secret.key").read_text().split()[0]
    secrets["broker"] = (home / "broker" / "access.conf").read_text().split()[1]
    settings = Settings(home=home, _env_file=None)
    database = Database(settings.database_url.get_secret_value(), settings)
    for connection in read(database, connections.connections):
        place = connections.place_of(connection)
        values = connections.decrypt(settings.keys, connection.secrets, place)
        secrets |= {f"{connection.name} {name}": value for name, value in values.items()}
    database.engine.dispose()
    assert len(secrets) >= 5
    assert all(len(secret) >= 16 for secret in secrets.values())
    return secrets


def shown_to_others() -> str:
    """What other programs see of the processes that we started."""
    texts = []
    for process in psutil.Process().children(recursive=True):
        with process.oneshot():
            texts += [*process.cmdline(), *process.environ().values()]
    return "\n".join(texts)


def use(page: PlaygroundClient) -> None:
    """A week of the desk, with a command that fails."""
    page.command("analyst", "/retention sweep --tier high")
    page.wait(lambda messages: len(messages) > 1)
    page.command("analyst", "/retention campaign draft")
    page.command("admin", "/retention source list")
    page.command("admin", "/retention source add shop --kind shopify --set token=x")
    page.command("admin", "/retention status")
    page.advance("7d")


def test_a_week_of_the_demo_writes_no_secret_anywhere(tmp_path):
    home, log = tmp_path / "home", tmp_path / "demo.log"
    with demo(home, log=log) as page:
        secrets = secrets_of(home)
        shown = shown_to_others()
        use(page)
        shown += shown_to_others()
    assert [name for name, secret in secrets.items() if secret in shown] == []
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 30
    assert {"state.db", "demo.log", "tick.log", "sender.log"} <= {file.name for file in files}
    found = {
        (name, file.relative_to(tmp_path).as_posix())
        for file in files
        for content in [file.read_bytes()]
        for name, secret in secrets.items()
        if secret.encode() in content
    }
    assert found == PLACES
