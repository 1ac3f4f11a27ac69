"""What the tests of sending share."""

import pytest

from retention.settings import Settings
from tests.retention.outreach.live_campaigns import LiveCampaign


@pytest.fixture
def settings(tmp_path) -> Settings:
    """An installation that can send e-mails."""
    ways = {"smtp_url": "smtp://x", "public_url": "https://crm.shop.example/"}
    return Settings(home=tmp_path / "home", **ways, _env_file=None)


@pytest.fixture
def campaign(database, settings) -> LiveCampaign:
    """A campaign of ten customers, of whom nine get an e-mail."""
    return LiveCampaign(database, settings, 10)
