"""Test the numbers of texts for people: one minus sign everywhere."""

import ast
import re
from decimal import Decimal
from pathlib import Path

import pytest

from retention import templating
from retention.churn.evaluation.uncertainty import Interval
from retention.csv_text import to_csv
from retention.number_format import (
    count,
    exact_percent,
    figure,
    money,
    percent,
    percent_limit,
    printf,
    signed,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (money(-1234.5, "EUR"), "−\u2060€1,235"),
        (money(-5, "CHF", 2), "−CHF 5.00"),
        (money(Decimal("2.5"), "USD"), "$3"),
        (money(0.125, "EUR", 2), "€0.13"),
        (money(-0.5, "USD"), "−\u2060$1"),
        (money(-0.4, "USD"), "$0"),
        (signed(-24.83, 1), "−24.8"),
        (figure(-0.42, 1), "−0.4"),
        (figure(-0.01), "0"),
        (percent(-0.041, 1), "−4.1%"),
        (exact_percent(-0.125), "−12.5%"),
        (count(-1234, "order"), "−1,234 orders"),
        (count(-0.4, "order"), "0 orders"),
        (printf("%8.2f", -0.5), "   −0.50"),
        (printf("%+.4f (%+.4f to %+.4f)", -0.1, -0.2, 0.1), "−0.1000 (−0.2000 to +0.1000)"),
        (printf("%-8s%+.1f", "c-7 -7", -1), "c-7 -7  −1.0"),
        (printf("%.2g", 0.00001), "1e-05"),
        (str(Interval(-0.01, -0.02, 0.001)), "−0.0100 (95% −0.0200 to +0.0010)"),
    ],
)
def test_negative_numbers_have_a_true_minus(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    ("probability", "average", "version", "text"),
    [
        (0.63, 0.3, "churn-1", "2.1 times the shop's average"),
        (0.97, 0.93, "churn-1", "the shop's average is 93%"),  # and not 1.0 times
        (0.31, 0.3, "churn-1", "the shop's average"),
        (0.63, None, "churn-1", ""),
        (0.63, 0.3, "rules", ""),  # a rank is no probability
    ],
)
def test_risk_is_compared_with_the_shops_average(probability, average, version, text):
    assert templating.beside_average(probability, average, version) == text


def test_templates_print_true_minuses():
    effect = {"log_loss": -0.0123, "low": -0.02, "high": 0.001}
    template = templating.environment(autoescape=False).from_string(
        "{{ '%+.4f (%+.4f to %+.4f)' | format(e.log_loss, e.low, e.high) }} {{ -3 | count }}"
    )
    assert template.render(e=effect) == "−0.0123 (−0.0200 to +0.0010) −3"


def test_csv_keeps_the_ascii_minus():
    import pandas as pd

    assert b"-1.5" in to_csv(pd.DataFrame({"profit": [-1.5]}))


def _has_signed_format(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(re.search(r"\{\w*:\+", node.value))
    spec = node.format_spec if isinstance(node, ast.FormattedValue) else None
    return spec is not None and "+" in ast.unparse(spec)


@pytest.mark.nightly
def test_sentences_do_not_format_signs_themselves():
    """`signed` and `figure` do; a format such as ``:+.4f`` prints an ASCII minus."""
    files = [
        file
        for package in ("bot", "retention", "workers")
        for file in (ROOT / package).rglob("*.py")
        if file.name != "number_format.py"
    ]
    offenders = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if _has_signed_format(node)
    ]
    assert offenders == []


BLANK_BEFORE_PERCENT = re.compile(r"[0-9}][ \u00a0]%(?=$|[ ,.;:)\"'`<{])")


def _texts(path: Path) -> list[str]:
    """Return the strings of a module, or a template without its statements."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [re.sub(r"{%.*?%}", "{%%}", text, flags=re.DOTALL)]
    parts = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            values = (part.value if isinstance(part, ast.Constant) else "0" for part in node.values)
            parts.append("".join(map(str, values)))
    return [part for part in parts if not re.search(r"\b(SELECT|PRAGMA)\b", part)]


@pytest.mark.nightly
def test_no_text_has_a_blank_before_the_percent_sign():
    paths = [
        path
        for folder in ("bot", "workers", "retention", "templates")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".j2"}
    ]
    assert len(paths) > 500
    assert not [
        (str(path.relative_to(ROOT)), found[0])
        for path in paths
        for text in _texts(path)
        for found in BLANK_BEFORE_PERCENT.finditer(text)
    ]


@pytest.mark.parametrize(
    ("share", "limit"), [(0.2579, "25.7%"), (0.25, "25%"), (-0.2, "−20%"), (0.05, "5%")]
)
def test_limit_is_rounded_down_so_that_it_is_allowed(share, limit):
    assert percent_limit(share) == limit
