"""Training, the sweep and recommendations on the whole year."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from retention.window import Window
from tests.benchmarks.lake import CUTOFF
from tests.benchmarks.measure import (
    FOLDER,
    Figure,
    alone,
    in_turns,
    paired,
    peak_mb,
    seconds,
    settings,
)
from tests.world import model_version

MILLION = 1_000_000
CHURN, RECOMMEND = FOLDER / "churn.model", FOLDER / "recommend.model"


def home() -> dict[str, Figure]:
    """The year itself, through the demo's importer; kept for the next run."""
    from retention.db import Database
    from retention.db.migrate import upgrade
    from retention.demo.journey import import_whole_year

    place = settings()
    upgrade(place)
    database = Database.of(place)
    import_whole_year(database)
    database.dispose()
    return {}


def churn() -> dict[str, Figure]:
    from retention.churn.model import train
    from retention.lake import Lake

    lake = Lake.open(settings())
    value = seconds(lambda: CHURN.write_bytes(train(lake, cutoff=CUTOFF).to_bytes()))
    return {"train_churn": alone(value, "s"), "train_churn_peak": alone(peak_mb(), "MiB")}


def scoring() -> dict[str, Figure]:
    """Score a million customers from a table of features.

    The peer is the time of the fitted estimator itself.
    """
    import numpy as np
    import pandas as pd

    from retention.churn.model import TrainedChurn
    from retention.churn.population import population
    from retention.lake import Lake

    trained = TrainedChurn.from_bytes(CHURN.read_bytes(), version="bench")
    few = population(Lake.open(settings()), CUTOFF, window=Window(trained.horizon_days, None))
    drawn = np.random.default_rng(0).integers(0, len(few.frame), MILLION)
    frame = few.frame[list(trained.columns)].iloc[drawn].reset_index(drop=True)
    many = replace(few, frame=pd.DataFrame(frame.to_numpy(dtype=float), columns=frame.columns))
    X = many.matrix(trained.columns)

    def bare() -> None:
        for _, member in trained.members:
            member.predict_proba(X)

    pairs = in_turns(lambda: trained.predict(many), bare, times=3)
    return {"score_1m": paired(pairs, "s", most=1.3), "score_1m_peak": alone(peak_mb(), "MiB")}


def recommender() -> dict[str, Figure]:
    from retention.lake import Lake
    from retention.recommend import train

    lake = Lake.open(settings())
    value = seconds(lambda: RECOMMEND.write_bytes(train(lake, cutoff=CUTOFF).to_bytes()))
    return {"train_recommend": alone(value, "s"), "train_recommend_peak": alone(peak_mb(), "MiB")}


def sweep() -> dict[str, Figure]:
    """From opening the lake to a cohort with reasons."""
    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.risk.policy import load_policy
    from retention.risk.sweep import sweep as run

    place = settings()
    trained = TrainedChurn.from_bytes(CHURN.read_bytes(), version="bench")
    value = seconds(lambda: run(Lake.open(place), trained, load_policy(place), as_of=CUTOFF))
    return {"sweep": alone(value, "s", most=20), "sweep_peak": alone(peak_mb(), "MiB", most=2048)}


def lists() -> dict[str, Figure]:
    """One customer's list by the job's own function in a warm worker, and three hundred at once."""
    from retention.lake import Lake
    from retention.recommend import TrainedRecommender, recommend

    job = _job()
    for number in range(1, 4):
        job(str(number))  # the second question reads everybody's history
    asked = iter(range(900, 2_000))  # another customer each time
    per_list = seconds(lambda: job(str(next(asked))), times=25)
    lake = Lake.open(settings())
    trained = TrainedRecommender.from_bytes(RECOMMEND.read_bytes())
    many = [str(number) for number in range(1, 301)]
    return {
        "recommend_one": alone(1000 * per_list, "ms", most=21),
        "recommend_300": alone(seconds(lambda: recommend(trained, lake, many, as_of=CUTOFF)), "s"),
        "recommend_peak": alone(peak_mb(), "MiB"),
    }


def _job() -> Callable[[str], Any]:
    """The task of ``/retention recommend`` for a customer, with the bench's recommender in use."""
    from retention import clock
    from retention.db import Database
    from retention.registry import champion, promote, save
    from workers.job_requests import Recommend
    from workers.tasks.customers.recommend import run
    from workers.tasks.interface import Context

    place = settings()
    database = Database.of(place)
    content = RECOMMEND.read_bytes()
    with database.transaction() as session:
        row = champion(session, "recommend")
        if row is None or row.sha256 != hashlib.sha256(content).hexdigest():
            row = model_version(place, kind="recommend", estimator="bench", cutoff=CUTOFF)
            save(place, row, content)
            promote(session, row, "bench")

    context = Context(  # of a job's row, read before the job's function is called
        database=database.using(place),
        job_id="bench",
        attempt=1,
        requested_by="bench",
        channel=None,
        thread_key=None,
        business_at=clock.now(),
    )

    def job(customer: str) -> Any:
        return run(Recommend(customer_id=customer), context)

    return job
