"""Test the progress of steps that count different units."""

from retention.progress import forward_only, seconds_left


def test_forward_only_keeps_the_highest_share_and_names_the_step():
    shown = []
    report = forward_only(lambda *step: shown.append(step))
    for step in ((0, 10, "a"), (5, 10, "b"), (1, 4, "c"), (3, 4, "d"), (9, 3, "e"), (0, 0, "f")):
        report(*step)
    assert shown == [
        (0, 10, "a"),
        (5, 10, "b"),
        (5, 10, "c"),
        (3, 4, "d"),
        (3, 3, "e"),
        (3, 3, "f"),
    ]


def test_time_left_follows_the_measured_pace():
    assert seconds_left(0.25, 10) == 30
    assert seconds_left(0.5, 60) == 60


def test_no_time_left_before_the_pace_is_known_or_at_the_end():
    assert seconds_left(0.0, 100) is None
    assert seconds_left(0.05, 100) is None
    assert seconds_left(0.5, 1) is None
    assert seconds_left(1.0, 60) is None
