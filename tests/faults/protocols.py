"""A state machine of hypothesis over the protocols of jobs, messages, campaigns and codes.

Its rules are the steps of the desk in any order; each breaks at a point that hypothesis chooses.
Hypothesis looks for an order of steps and points that breaks a promise, and names the shortest one.
"""

import random
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.faults.desk_steps import Desk
from tests.faults.frame import Counts
from tests.faults.step_kills import desk_with_slack

STEPS_EACH = 10  # of an example
POINTS = st.integers(1, 60)  # more than most steps have; a step without the point just ends


def machine_of(desk: Desk) -> type[RuleBasedStateMachine]:
    """Return the machine of a desk. Examples share its database, but no job or campaign."""

    class Protocols(RuleBasedStateMachine):
        def _take(self, at: int, step: Callable[[], Any]) -> None:
            desk.forks.next_at = at
            step()

        @rule(at=POINTS)
        def submit(self, at: int) -> None:
            self._take(at, desk.submit)

        @rule(at=POINTS)
        def run_job(self, at: int) -> None:
            self._take(at, desk.run_job)

        @rule(at=POINTS)
        def lose_lease(self, at: int) -> None:
            self._take(at, desk.lose_lease)

        @rule(at=POINTS)
        def send(self, at: int) -> None:
            self._take(at, desk.send)

        @rule(at=POINTS)
        def decide(self, at: int) -> None:
            self._take(at, desk.decide)

        @rule(at=POINTS)
        def promote(self, at: int) -> None:
            self._take(at, desk.promote)

        @rule(at=POINTS)
        def redeem(self, at: int) -> None:
            self._take(at, desk.redeem)

        @rule(at=POINTS)
        def tick(self, at: int) -> None:
            self._take(at, desk.tick)

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
