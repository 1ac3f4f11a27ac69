"""What the tests of sending share."""

import pytest

from retention.settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    """An installation that can send e-mails."""
    ways = {"smtp_url": "smtp://x", "public_url": "https://crm.shop.example/"}
    return Settings(home=tmp_path / "home", **ways, _env_file=None)
