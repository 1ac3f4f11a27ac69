"""bench.json, and docs/operator/performance.md for people."""

import json
import os
import platform
import textwrap
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.measure import BUILD, Figure
from workers.retrain_request import RECOMMENDERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operator" / "performance.md"

TOLD = {
    "import": (
        "Import of 1,469,307 purchase rows through a map file into an empty lake; "
        "peer: DuckDB's `COPY … TO parquet` of the same file"
    ),
    "import_rate": "the same in rows",
    "import_again": "The same file again: every row is found to be there already",
    "import_peak": "Peak memory of both",
    "import_10m": "Importing 10 million generated events into an empty lake",
    "import_10m_growth": "The same; peer: one million of them, a tenth of the events",
    "import_10m_peak": "Peak memory of both",
    "features": (
        "Eighteen features (recency, windows, gaps, trend, spend, discounts, breadth) of all "
        "active customers at one cutoff; peer: a bare DuckDB scan of the same columns"
    ),
    "features_polars": "The same; peer: polars, from the same files, with the same numbers",
    "features_pandas": (
        "The same; peer: vectorised pandas, from the same files, with the same numbers"
    ),
    "features_all": (
        "The whole catalogue (docs/reference/features.md); peer: a bare DuckDB scan of the same "
        "columns"
    ),
    "features_count": "features in it",
    "features_customers": "customers described",
    "features_peak": "Peak memory",
    "features_10m": (
        "The whole catalogue of a generated shop of 10 million events (`make bench-large`)"
    ),
    "features_10m_peak": "Peak memory",
    "features_100m": "The same of 100 million events; peer: ten times the time of 10 million",
    "features_100m_work": "The same in seconds of all cores' work, whatever else the machine does",
    "features_100m_peak": "Peak memory",
    "train_churn": "Churn model: selection, calibration and fit",
    "train_churn_peak": "Peak memory",
    "score_1m": (
        "Churn probability of a million customers from a table of features; "
        "peer: the fitted estimators' own `predict_proba`"
    ),
    "score_1m_peak": "Peak memory",
    "train_recommend": "Recommender, with a ranker learned on the last three horizons",
    "train_recommend_peak": "Peak memory",
    "sweep": "Sweep: score everybody who is active, with reasons",
    "sweep_peak": "Peak memory",
    "recommend_one": (
        "One customer's list by the job's own function, "
        "in a warm worker that keeps the model and the histories"
    ),
    "recommend_300": "300 customers' lists at once",
    "recommend_peak": "Peak memory",
    "top_10": (
        "The ten best new items of 50,000 customers among 20,000, 64 factors; "
        "peer: implicit's own batched, filtered `recommend` with the same factors"
    ),
    "at_risk": (
        "Lists of 20,000 customers of a generated shop in one run, by the two stages "
        "(`make bench-large`)"
    ),
    "at_risk_train": "Learning that recommender, from 2.4 million events",
    "at_risk_peak": "Peak memory of both",
    "slash_command": (
        "`/retention sweep` over HTTP, signature verified, job row committed, 50 people at once; "
        "peer: a Bolt app that only acknowledges, on gunicorn's threads"
    ),
    "slash_command_p50": "Half of the answers come within",
    "slash_command_p99": "99 of 100 answers come within",
    "demo_first_start": ("`make demo` from a clone to the open page (packages from a warm cache)"),
    "demo_second_start": "`make demo` once more",
    "queue_digest_p50": (
        "From `digest now` to its result while a `retrain` runs, half of 30 "
        "(`make bench-queue`); peer: without one"
    ),
    "queue_digest_p95": "The same, 95 of 100",
    "queue_campaign_draft_p50": "From `campaign draft` to its result, half of 30",
    "queue_campaign_draft_p95": "The same, 95 of 100",
    "queue_score_p50": "From `score CUSTOMER` to its result, half of 30",
    "queue_score_p95": "The same, 95 of 100",
    "queue_trainings": "Trainings that ran meanwhile, one after the other",
    "idle_memory": "Memory of all processes of the demo, just started and idle (summed PSS)",
    "idle_memory_after": "The same after all that, once every worker is idle again",
}
TOLD |= {
    "ask_exact": (
        "Sentences of the report half that are understood exactly: the command, its options and "
        "the parts that no option expresses (tests/benchmarks/sentences)"
    ),
    "ask_right_command": "The command and its options alone",
    "ask_wrong_change_run": "Changing commands that run from a misread sentence",
    "ask_wrong_change_proposed": "Changing commands that a misread sentence proposes",
    "ask_sentences": "Sentences in that half; the parser was tuned on the other",
    "ask_week_exact": (
        "The same of 120 sentences that six weeks of use misread; the parser was mended on them"
    ),
    "ask_audiences_exact": (
        "The same of 40 sentences about audiences, kinds and variants, written before the parser "
        "learned them"
    ),
    "ask_audiences_wrong_change_proposed": "Changing commands that one of these proposes",
    "ask_week_wrong_change_proposed": "Changing commands that one of these, misread, proposes",
}
TOLD |= {
    "live_accepted": (
        "Live events accepted by `POST /events` for 60 s, with a lake of 10 million events"
    ),
    "live_drained": "From the last of them to the end of the inbox",
    "live_answer_p99": "99 of 100 answers to a batch come within",
    "live_slash_p99": "Slash commands meanwhile, 99 of 100",
    "live_alert_p50": "From an event to its alert, half, with 100 events/s of 50 customers",
    "live_alert_p95": "The same, 95 of 100",
    "live_reader_heavy": "A reader of the lake during 5,000 events/s; peer: without events",
    "live_reader_light": "The same during 100 events/s",
}
TOLD |= {
    f"model_{name}{end}": told.format(name)
    for name in RECOMMENDERS
    for end, told in (
        (
            "",
            "`{}`: learning from 200,000 customers × 20,000 items × 5 million pairs "
            "(`make bench-large`)",
        ),
        ("_top", "`{}`: the ten best of all 200,000"),
        ("_peak", "`{}`: peak memory, with the data"),
    )
}


def save(figures: dict[str, Figure], skipped: dict[str, str]) -> None:
    """Write both; figures of groups that did not run this time are kept from the run before."""
    BUILD.mkdir(exist_ok=True)
    file = BUILD / "bench.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    known.update({name: figure.as_dict() for name, figure in figures.items()})
    file.write_text(
        json.dumps({name: known[name] for name in TOLD if name in known}, indent=2) + "\n"
    )
    PAGE.write_text(_page({name: Figure(**known[name]) for name in TOLD if name in known}, skipped))


def _page(figures: dict[str, Figure], skipped: dict[str, str]) -> str:
    lines = [
        "# Performance",
        "",
        "How fast is it, and how much memory does it need? `make bench` writes this page.",
        "",
        _paragraph(
            "It measures the whole Complete Journey: one year, 2,469 households. The same run "
            "measures the peers, in turns, because a ratio travels between machines better than a "
            "time. A ratio is the median of the pairs, with the smallest and the largest in "
            "brackets."
        ),
        "",
        _paragraph(
            "A bound is 15% above the slowest of three machines with 2 cores (AMD and Intel). "
            "There, the same commit differed by up to half:"
        ),
        "",
        "| ratio | from | to |",
        "| --- | --- | --- |",
        "| import | 3.6 | 4.9 |",
        "| ten times the events | 9 | 12.2 |",
        "| pandas | .23 | .32 |",
        "| one list | 8.5 ms | 18.1 ms |",
        "| the peer's commands | .73 | .34 |",
        "",
        _paragraph(f"Machine: {_machine()}. Measured {datetime.now(UTC):%d %B %Y}."),
        "",
        "| what | value | peer | ratio | bound | kept |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, figure in figures.items():
        peer = "" if figure.peer is None else _number(figure.peer, figure.unit)
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        if figure.spread:
            ratio += f" ({figure.spread[0]:.2f} to {figure.spread[1]:.2f})"
        kept = "" if figure.met is None else "yes" if figure.met else "**no**"
        lines.append(
            f"| {TOLD[name]} | {_number(figure.value, figure.unit)} | {peer} | {ratio} "
            f"| {figure.target} | {kept} |"
        )
    lines += [f"\nNot measured: {name} ({why})." for name, why in skipped.items()]
    return "\n".join(lines) + "\n" + _large_part()


def _large_part() -> str:
    """Return the page's part of the large measurements, which are made by hand once in a while."""
    _, heading, rest = PAGE.read_text().partition("\n## The large measurements\n")
    return heading + rest


def _paragraph(text: str) -> str:
    return textwrap.fill(text, width=100, break_long_words=False, break_on_hyphens=False)


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f} {unit}"


def _machine() -> str:
    model = next(
        (
            line.split(":")[1].strip()
            for line in _lines("/proc/cpuinfo")
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    memory = next(
        (
            int(line.split()[1]) / 2**20
            for line in _lines("/proc/meminfo")
            if line.startswith("MemTotal")
        ),
        0,
    )
    parts = [
        f"{os.cpu_count()} cores ({model})",
        f"{memory:.0f} GiB",
        platform.system(),
        f"Python {platform.python_version()}",
    ]
    return ", ".join(
        [*parts, *(f"{name} {version(name)}" for name in ("duckdb", "scikit-learn", "slack-bolt"))]
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
