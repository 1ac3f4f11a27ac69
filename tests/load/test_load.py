"""A short load on a whole desk, and how `make soak` judges a long one."""

import asyncio
import signal
import time
from collections import Counter

import numpy as np
import pytest

from bot.playground import seed
from tests.load.desk import Samples, running_desk
from tests.load.judging import AFTER, STEADY, TENFOLD, Run, growth, recovery, verdicts
from tests.load.mix import Mix
from tests.load.page import section
from tests.load.traffic import ANSWERED, ERROR, PROMISED, REFUSED, SHED, Phase, Traffic, Typed

PHASES = [Phase(STEADY, 20, 60), Phase(TENFOLD, 200, 10), Phase(AFTER, 20, 100)]


def run_of(slow_until: float = 0.0, leak: float = 0.0, steady: str = ANSWERED) -> Run:
    """A run in which the tenfold load sheds and its slow answers end after some seconds."""
    typed = [Typed(at / 2, 0.02, steady, "help", f"t{at}") for at in range(120)]
    typed += [Typed(60 + at / 2, 0.9, SHED, "help", f"u{at}") for at in range(20)]
    times = [70 + at / 2 for at in range(200)]
    typed += [
        Typed(at, 0.9 if at < 70 + slow_until else 0.02, ANSWERED, "help", "v") for at in times
    ]
    noise = np.random.default_rng(3).normal(0, 1, 34)
    memory = [(5.0 * n, {"bot": 200 + noise[n] + leak * n, "tick": 90.0}) for n in range(34)]
    samples = Samples([(float(at), at % 3, 0) for at in range(170)], memory)
    about = {"commit": "c", "date": "d", "machine": "m", "database": "sqlite"}
    return Run(about, PHASES, typed, samples, [])


def broken(run: Run) -> list[str]:
    """The promises that a run broke, by their first word and the next."""
    return [each.what for each in verdicts(run) if not each.kept]


def test_run_without_fault_keeps_every_promise():
    assert broken(run_of()) == []
    assert section(run_of()).count("| yes |") == len(verdicts(run_of()))


def test_error_leak_slow_recovery_and_loss_each_break_one_promise():
    cases = [run_of(steady=REFUSED), run_of(leak=2.0), run_of(slow_until=80.0)]
    lost = run_of()
    lost.lost.append("job 1 has no message")
    broken_by = [broken(each) for each in (*cases, lost)]
    assert [len(each) for each in broken_by] == [1, 1, 1, 1]
    assert len({each for (each,) in broken_by}) == 4


def test_recovery_counts_from_the_end_of_the_tenfold_load():
    assert [recovery(run_of()), recovery(run_of(slow_until=12.0))] == [0, 15]


def test_growth_of_alike_neighbours_is_noise_and_a_line_is_growth():
    chance, at = np.random.default_rng(5), np.arange(0, 1800, 5.0)
    waves = 300 + 4 * np.sin(at / 40) + chance.normal(0, 1, len(at))
    assert growth(at, waves).is_flat(0)
    rising = growth(at, waves + at / 60)
    assert (rising.is_flat(0), round(rising.growth / 30, 1)) == (False, 1.0)


@pytest.mark.nightly
@pytest.mark.desk
@pytest.mark.timeout(900)
def test_desk_sheds_a_burst_and_keeps_every_promised_result():
    phases = [Phase(STEADY, 10, 10), Phase(TENFOLD, 600, 1), Phase(AFTER, 10, 5)]
    with running_desk(trained=False) as desk:
        mix = Mix(desk.customers, 1, {"customers --top {top}": 40, "sales": 20})
        # A busy machine may be late with every answer, so no answer counts as late here.
        secret, patience = seed.SIGNING_SECRET, 120
        traffic = Traffic(desk.settings.port, secret, mix, patience, late_after=patience)

        async def type_while_the_bot_pauses() -> None:
            """Let the whole burst wait at the bot, so that it finds it at once on any machine."""
            typing = asyncio.create_task(traffic.run(phases, time.monotonic()))
            [bot] = [each.process for each in desk.supervisor.children if each.name == "bot"]
            await asyncio.sleep(10)
            bot.send_signal(signal.SIGSTOP)
            while traffic.sent < 500:
                await asyncio.sleep(0.1)
            bot.send_signal(signal.SIGCONT)
            await typing

        asyncio.run(type_while_the_bot_pauses())
        promised = [each.trigger for each in traffic.typed if each.kind == PROMISED]
        assert desk.settle(300)
        kinds = Counter(each.kind for each in traffic.typed)
        assert (kinds[ERROR], kinds[REFUSED]) == (0, 0), traffic.typed
        assert kinds[SHED] > 0
        assert desk.losses(promised) == []
