"""A state machine of hypothesis over the protocols of jobs, messages, campaigns and codes.

It takes the steps of the desk in any order; each breaks at a point that hypothesis chooses.
Hypothesis looks for an order of steps and points that breaks a promise, and names the shortest one.
"""

import random

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.faults.desk_steps import Desk
from tests.faults.frame import Counts
from tests.faults.step_kills import desk_with_slack

STEPS_EACH = 10  # of an example
STEPS = ("submit", "run_job", "lose_lease", "send", "decide", "promote", "redeem", "tick")
POINTS = st.integers(1, 60)  # more than most steps have; a step without the point just ends


def machine_of(desk: Desk) -> type[RuleBasedStateMachine]:
    """Return the machine of a desk. Examples share its database, but no job or campaign."""

    class Protocols(RuleBasedStateMachine):
        @rule(at=POINTS, step=st.sampled_from(STEPS))
        def take(self, at: int, step: str) -> None:
            desk.forks.next_at = at
            getattr(desk, step)()

        def teardown(self) -> None:
            desk.drain()
            broken = [*desk.counts.lost, *desk.counts.doubled]
            assert not broken, broken

    return Protocols


def count_row(injections: int, seed: int) -> Counts:
    """Explore with about so many injections, and count."""
    with desk_with_slack(random.Random(seed)) as desk:
        machine = hypothesis.seed(seed)(machine_of(desk))
        chosen = hypothesis.settings(
            max_examples=max(injections // STEPS_EACH, 1),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # a shrink would run for hours; the lines name what broke
            suppress_health_check=list(HealthCheck),
        )
        while desk.counts.injections < injections and not desk.counts.lost:
            try:
                run_state_machine_as_test(machine, settings=chosen)
            except AssertionError as error:
                desk.counts.lost.append(str(error)[:1000])
        desk.compare()
        return desk.counts
