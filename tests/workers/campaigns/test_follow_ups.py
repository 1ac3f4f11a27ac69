"""Test what a result says about the next draft if that cannot be made."""

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from retention.campaigns.planning.draft import EmptyAudience
from retention.errors import BadInput, TooLittleData
from workers.campaigns import follow_ups
from workers.tasks.campaigns import campaign_draft

NOBODY = {"action": None, "customers": 0, "reachable": 0}


def found(desk, monkeypatch, error):
    """What is found if the draft that a result advises raises an error."""

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(campaign_draft, "make_draft", fail)
    monkeypatch.setattr(follow_ups, "verdict", lambda *_: {"next": "repeat"})
    return follow_ups.find_follow_up(desk.campaign(), {}, context=None)


@pytest.mark.campaign("live")
@pytest.mark.parametrize(
    ("error", "follow"),
    [
        (EmptyAudience("Nobody can be written to."), NOBODY),
        (BadInput("No carrier for text messages is set up."), None),
        (TooLittleData("There are too few orders."), None),
        (RuntimeError("a bug"), None),
    ],
    ids=lambda each: type(each).__name__,
)
def test_only_an_empty_audience_has_no_customers(desk, monkeypatch, error, follow):
    assert found(desk, monkeypatch, error) == follow


@pytest.mark.campaign("live")
def test_time_limit_ends_the_search_for_a_follow_up(desk, monkeypatch):
    with pytest.raises(SoftTimeLimitExceeded):
        found(desk, monkeypatch, SoftTimeLimitExceeded())


def test_time_limit_ends_what_learns_from_past_campaigns():
    def stop():
        raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        campaign_draft._attempt(stop)
