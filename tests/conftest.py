"""Fixtures that every test may use."""

import gc
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis

from retention import clock, text
from retention.db import Database, engine
from retention.settings import Settings
from retention.window import Window
from tests import process_state, readonly
from tests import shop as tiny
from tests import short_transactions as short
from tests.chromium import chromium
from tests.databases import create_tables, migrate_once_per_process
from tests.haste import hastily

# Tests that compare English text: `make test-pseudo` runs all others in the pseudo-locale.
ENGLISH_TESTS = Path(__file__).parent / "english_tests.txt"

# As in training workers (`workers.app.WAITING`): on a busy machine boosting is ten times quicker.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell ignores Ctrl-C in what it runs in the background, and so would the processes of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# With all libraries loaded, a twentieth of the time went into searches for cycles.
gc.set_threshold(20_000, 20, 20)

# No test cuts the power: SQLite need not wait for the disk. Processes that a test starts do wait.
engine.SYNCHRONOUS = "OFF"

migrate_once_per_process()

# How long an example takes says nothing on a busy machine.
hypothesis.register_profile("any machine", deadline=None)
hypothesis.load_profile("any machine")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Print the seed of the random order: pytest's own header is not shown with ``-q``."""
    _print_seed(session.config)


def pytest_terminal_summary(config: pytest.Config, exitstatus: int) -> None:
    """Print the seed again below the failures."""
    if exitstatus:
        _print_seed(config)


def _print_seed(config: pytest.Config) -> None:
    seed = config.getoption("randomly_seed", None)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if seed is not None and terminal and not hasattr(config, "workerinput"):
        terminal.write_line(f"Random order. Repeat it with --randomly-seed={seed}")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Move later variants to the nightly tests, and order files that start a whole desk.

    Those come last, by path: that is the longest first. Only their tests are shuffled.
    """
    seen: Counter[str] = Counter()
    for item in items:
        if mark := item.get_closest_marker("nightly_after"):
            seen[name := item.nodeid.partition("[")[0]] += 1
            if seen[name] > mark.args[0]:
                item.add_marker(pytest.mark.nightly)
    yield
    items.sort(key=lambda item: str(item.path) if item.get_closest_marker("desk") else "")
    if text.is_pseudo():
        english = set(ENGLISH_TESTS.read_text(encoding="utf-8").split())
        for item in items:
            if item.nodeid.partition("[")[0] in english:
                item.add_marker(pytest.mark.skip("compares English text"))


@pytest.fixture(autouse=True)
def _process_state_unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that changes the process for those after it: environment, logging and so on.

    Not where the test runs Spark or torch: they set variables and a signal handler for as long as
    the process lives, and their tests have a process of their own.
    """
    if any(map(request.node.get_closest_marker, ("spark", "deep", "pictures"))):
        yield
        return
    with process_state.unchanged():
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; without one, the test is skipped."""
    with chromium() as started:
        yield started


@pytest.fixture
def short_transactions() -> Iterator[None]:
    """Fail where the lake is read or a picture is drawn while a write transaction is open."""
    with short.checked():
        yield


@pytest.fixture(autouse=True)
def _shared_data_unchanged() -> Iterator[None]:
    """Fail a test that changes data which other tests read."""
    yield
    readonly.verify()


@pytest.fixture(autouse=True)
def _own_clock():
    """No test leaves its business time to the next."""
    yield
    clock.configure()


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Iterator[tiny.Shop]:
    """The tiny shop (tests/shop.py), built once and read-only.

    A test that writes uses `shop_copy`.
    """
    with readonly.shared(tiny.build(tmp_path_factory.mktemp("shop") / "home")) as shop:
        yield shop


@pytest.fixture
def shop_copy(shop, tmp_path) -> Iterator[tiny.Shop]:
    """A writable copy of the tiny shop, of this test's own."""
    copy = readonly.copy_of(shop, tmp_path / "shop")
    yield copy
    copy.database.dispose()


@pytest.fixture(scope="session")
def champion_shop(tmp_path_factory) -> Iterator[tiny.Shop]:
    """A read-only shop with a churn champion that two colleagues gave feedback on."""
    from retention.feedback import Subject, record
    from retention.registry import promote
    from retention.registry.retrain import RetrainRequest, churn

    shop = tiny.build(tmp_path_factory.mktemp("champion") / "home", customers=160)
    request = RetrainRequest(shop.end, Window(21, 42), "logistic", "U0LEAD", None)
    row = churn(shop.settings, shop.lake, None, request, lambda *_: None).row
    reason = "=HYPERLINK(<script>alert(1)</script>) & by phone"
    with shop.database.transaction() as session:
        session.add(row)
        promote(session, row, "U0LEAD")
        subject = Subject("c1", row.version, shop.end)
        record(session, subject, "wrong", "U1", reason)
        record(session, subject, "useful", "U2")
    with readonly.shared(shop) as shared:
        yield shared


@pytest.fixture
def champion_shop_copy(champion_shop, tmp_path) -> Iterator[tiny.Shop]:
    """A writable copy of the shop with a champion."""
    copy = readonly.copy_of(champion_shop, tmp_path / "shop")
    yield copy
    copy.database.dispose()


@pytest.fixture
def hasty():
    """Train rankers of recommendations hastily.

    For tests that ask how and from what they learn, not how well.
    """
    with hastily():
        yield


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Settings of an empty installation of this test's own."""
    return Settings(home=tmp_path / "home", _env_file=None)


@pytest.fixture
def database(settings) -> Database:
    """Its SQL database, with all tables."""
    made = Database.of(settings)
    create_tables(made)
    _ = settings.key  # as in each real home: rows of the directory are hashed with it
    yield made
    made.dispose()
