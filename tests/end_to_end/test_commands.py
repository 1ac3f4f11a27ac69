"""Test what a demo of real processes with PostgreSQL answers to commands.

test_browser.py takes a campaign from the training to its result.
"""

import pytest

from tests.end_to_end.playground_client import PlaygroundClient, words

pytestmark = pytest.mark.desk


@pytest.mark.parametrize(
    ("user", "text", "says"),
    [
        ("analyst", "swep", "sweep"),
        ("analyst", "sweep --teir high", "--tier"),
        ("analyst", "score", "customer"),
        ("analyst", "score “nobody-at-all”", "nobody-at-all"),
        ("analyst", "sweep --top many", "many"),
        ("analyst", 'score "unfinished', "quot"),
        ("analyst", "retrain --horizon 28x", "28x"),
        ("viewer", "retrain", "analyst"),
        ("viewer", "help", "/retention"),
        ("viewer", "status", "model"),
    ],
)
def test_unknown_words_get_one_sentence(desk: PlaygroundClient, user, text, says):
    answer = desk.command(user, text)
    assert answer["status"] == 200
    result = str(answer["ack"]) + "\n".join(
        words(m) for m in desk.messages(user=user) if m["ephemeral"]
    )
    assert says.lower() in result.lower()
    assert "Traceback" not in result


def test_channel_without_the_bot_gets_the_answer_by_direct_message(desk: PlaygroundClient):
    answer = desk.command("analyst", "sweep", channel="private")
    assert "/invite" in str(answer["ack"])
    desk.wait(
        lambda messages: any("at risk" in words(each).lower() for each in messages),
        channel="@analyst",
    )
