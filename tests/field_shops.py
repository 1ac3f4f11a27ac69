"""Made-up exports of a subscription shop and of a course platform, with a known truth.

Seeded: the same files every time. What a person does is drawn day by day, so that the files can be
counted by pandas without the product's code.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

BEGIN = pd.Timestamp("2024-01-01")


@dataclass(frozen=True)
class FieldShop:
    """Written exports, and the events that they stand for.

    Attributes
    ----------
    files : list of str
        The exports, sales first.
    events : DataFrame
        ``customer``, ``at`` and ``amount`` of each payment, or of each lesson and enrolment.
    """

    files: list[str]
    events: pd.DataFrame


def _write(path: Path, columns: list[str], rows: list[tuple]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    frame.to_csv(path, index=False)
    return frame


def subscription_box(folder: Path, customers: int = 900, days: int = 540) -> FieldShop:
    """Write monthly subscriptions and the log-ins of their owners.

    Interest is lost at a random moment. From then on, log-ins fall to a sixth, and the owner ends
    the subscription at one of the next two renewals.
    """
    rng = np.random.default_rng(35)
    until = BEGIN + pd.Timedelta(days=days)
    subscriptions, logins, payments = [], [], []
    for number in range(customers):
        customer = f"s{number}"
        start = BEGIN + pd.Timedelta(days=int(rng.integers(0, days - 60)))
        interest = start + pd.Timedelta(days=float(rng.exponential(rng.choice([120, 700]))))
        renewals = [start + pd.DateOffset(months=step) for step in range(days // 28 + 3)]
        ends = [day for day in renewals if interest < day < until][int(rng.integers(2)) :]
        end = ends[0] if ends else None
        paid = [day for day in renewals if day < (end or until)]
        fee = float(rng.choice([19.0, 29.0]))
        renews = None if end else renewals[len(paid)]
        plan = "box" if fee < 20 else "big box"
        subscriptions.append((customer, plan, start, end, fee, renews))
        payments += [(customer, day, fee) for day in paid]
        rate = rng.gamma(4, 0.04)
        for day in pd.date_range(start, (end or until) - pd.Timedelta(days=1)):
            if rng.random() < rate * (1 if day < interest else 1 / 6):
                minutes = int(rng.integers(420, 1400))
                logins.append((customer, day + pd.Timedelta(minutes=minutes), "app"))
    columns = ["subscriber", "plan", "start_date", "end_date", "fee", "next_renewal"]
    files = [folder / "subscriptions.csv", folder / "logins.csv"]
    _write(files[0], columns, subscriptions)
    _write(files[1], ["subscriber", "login_time", "activity"], logins)
    return FieldShop(
        [*map(str, files)], pd.DataFrame(payments, columns=["customer", "at", "amount"])
    )


def course_platform(folder: Path, learners: int = 900, days: int = 365) -> FieldShop:
    """Write enrolments in courses, and the lessons of the learners.

    Each learner has a rhythm of their own, and gives up at a random moment. In the 25 days before,
    sessions are half as frequent, and shorter.
    """
    rng = np.random.default_rng(36)
    enrolments, lessons = [], []
    for number in range(learners):
        learner, course = f"learner{number}", int(rng.integers(8))
        start = BEGIN + pd.Timedelta(days=int(rng.integers(0, days - 40)))
        gives_up = start + pd.Timedelta(days=float(rng.exponential(rng.choice([40, 400]))))
        rate = float(rng.choice([0.1, 0.25, 0.6]))
        enrolled = start + pd.Timedelta(hours=9)
        enrolments.append((learner, f"c{course}", enrolled, 49.0 + 10 * course))
        for day in pd.date_range(start, min(gives_up, BEGIN + pd.Timedelta(days=days - 1))):
            is_tired = (gives_up - day).days < 25
            if rng.random() < rate * (0.5 if is_tired else 1):
                at = day + pd.Timedelta(minutes=int(rng.integers(600, 1300)))
                minutes = int(rng.integers(5, 15) if is_tired else rng.integers(15, 60))
                for lesson in range(int(rng.integers(1, 3))):
                    watched = at + pd.Timedelta(minutes=minutes * lesson)
                    lessons.append((learner, f"c{course}", f"l{lesson}", watched, minutes))
    files = [folder / "enrolments.csv", folder / "lessons.csv"]
    columns = ["learner_id", "course_id", "enrolled_at", "fee"]
    paid = _write(files[0], columns, enrolments)
    columns = ["learner_id", "course_id", "lesson", "watched_at", "minutes"]
    watched = _write(files[1], columns, lessons)
    names = {"learner_id": "customer", "enrolled_at": "at", "watched_at": "at", "fee": "amount"}
    both = pd.concat([paid.rename(columns=names), watched.rename(columns=names)])
    return FieldShop([*map(str, files)], both[["customer", "at", "amount"]].reset_index(drop=True))
