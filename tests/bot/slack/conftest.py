"""Settings of the tests of Slack's messages."""

import pytest
from pydantic import SecretStr


@pytest.fixture
def settings(settings):
    """Use a fixed key: with 1 of 170 keys the pseudonym of 42 contains "42"."""
    return settings.model_copy(update={"secret_key": SecretStr("no pseudonym spells its id")})
