"""Training, the sweep and recommendations on the whole year."""

from tests.benchmarks.lake import CUTOFF
from tests.benchmarks.measure import FOLDER, Figure, alone, peak_mb, seconds, settings

CHURN, RECOMMEND = FOLDER / "churn.model", FOLDER / "recommend.model"


def home() -> dict[str, Figure]:
    """The year itself, through the demo's importer; kept for the next run."""
    from retention.db import Database
    from retention.db.migrate import upgrade
    from retention.demo import whole_year

    place = settings()
    upgrade(place)
    database = Database.of(place)
    whole_year(place, database)
    database.dispose()
    return {}


def churn() -> dict[str, Figure]:
    from retention.churn import train
    from retention.lake import Lake

    lake = Lake.open(settings())
    value = seconds(lambda: CHURN.write_bytes(train(lake, cutoff=CUTOFF).to_bytes()))
    return {"train_churn": alone(value, "s"), "train_churn_peak": alone(peak_mb(), "MiB")}


def recommender() -> dict[str, Figure]:
    from retention.lake import Lake
    from retention.recommend import train

    lake = Lake.open(settings())
    value = seconds(lambda: RECOMMEND.write_bytes(train(lake, cutoff=CUTOFF).to_bytes()))
    return {"train_recommend": alone(value, "s"), "train_recommend_peak": alone(peak_mb(), "MiB")}


def sweep() -> dict[str, Figure]:
    """From opening the lake to a cohort with reasons."""
    from retention.churn import TrainedChurn
    from retention.lake import Lake
    from retention.risk.policy import load_policy
    from retention.risk.sweep import sweep as run

    place = settings()
    trained = TrainedChurn.from_bytes(CHURN.read_bytes(), version="bench")
    value = seconds(lambda: run(Lake.open(place), trained, load_policy(place), as_of=CUTOFF))
    return {"sweep": alone(value, "s", most=20), "sweep_peak": alone(peak_mb(), "MiB", most=2048)}


def lists() -> dict[str, Figure]:
    """One customer's list from a warm worker, and three hundred at once."""
    from retention.lake import Lake
    from retention.recommend import TrainedRecommender, recommend

    lake = Lake.open(settings())
    trained = TrainedRecommender.from_bytes(RECOMMEND.read_bytes())
    recommend(trained, lake, ["1"], as_of=CUTOFF)
    one = seconds(lambda: recommend(trained, lake, ["900"], as_of=CUTOFF), times=5)
    many = [str(number) for number in range(1, 301)]
    return {
        "recommend_one": alone(one, "s"),
        "recommend_300": alone(seconds(lambda: recommend(trained, lake, many, as_of=CUTOFF)), "s"),
        "recommend_peak": alone(peak_mb(), "MiB"),
    }
