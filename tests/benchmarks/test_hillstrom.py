"""`make hillstrom` on a made-up file with Hillstrom's columns, arms and rates."""

import pytest

from tests.benchmarks import hillstrom
from tests.retention.uplift import hillstrom as made

pytestmark = pytest.mark.nightly


def test_the_made_up_file_has_the_rates_that_were_published():
    table, _ = made.hillstrom(64_000)
    rates = table.groupby("segment")[["visit", "conversion"]].mean()
    published = {
        "No E-Mail": (0.106, 0.0057),
        "Womens E-Mail": (0.151, 0.0088),
        "Mens E-Mail": (0.183, 0.0125),
    }
    for arm, (visit, conversion) in published.items():
        assert rates.loc[arm, "visit"] == pytest.approx(visit, abs=0.01)
        assert rates.loc[arm, "conversion"] == pytest.approx(conversion, abs=0.0012)
        assert (table["segment"] == arm).mean() == pytest.approx(1 / 3, abs=0.01)


def test_the_products_choice_keeps_up_with_the_textbooks_learners():
    table, _ = made.hillstrom(9000, seed=3)
    found = list(hillstrom.rows(table, published=False, only=("women's",)))
    assert [row.learner for row, _ in found] == ["class transformation", "DR, boosting"]
    assert all(row.holds and row.error > 0 for row, _ in found)
    compared = found[0][1]
    assert compared.ours.shape == compared.choosing.shape == (10,)
    assert compared.ours is compared.qini[compared.chosen]
    assert compared.qini["effect_modelling"].mean() > compared.qini[hillstrom.RISK].mean()
    worse = hillstrom.Row("women's", "x", known=0.08, here=0.06, ours=0.05, error=0.01)
    assert not worse.holds


def test_a_file_that_is_not_hillstroms_is_refused_with_a_sentence(tmp_path, capsys):
    table, _ = made.hillstrom(50)
    table.drop(columns="zip_code").to_csv(tmp_path / "other.csv", index=False)
    assert hillstrom.main(str(tmp_path / "other.csv")) == 2
    assert "has no column 'zip_code'" in capsys.readouterr().err
    assert hillstrom.main(str(tmp_path / "none.csv")) == 2
    assert "there is no file" in capsys.readouterr().err
