"""Every exported name is documented, and its examples run."""

import doctest
import inspect
from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot

import retention
from retention import errors
from retention.shop.shop import Shop

ROOT = Path(__file__).parents[3]
matplotlib.use("Agg")  # before a test, which must not change it


@pytest.fixture(scope="module")
def shared_shop(module_patch):
    """One sample shop with one model for all examples: each would make its own."""
    made, read, train, evaluate = {}, Shop.from_frames, Shop.train_churn, Shop.evaluate_churn
    sample = retention.sample_orders()

    def read_once(cls, orders, *args, **names):
        if not sample.equals(orders) or names.keys() - {"verbose"}:
            return read(orders, *args, **names)
        if "shop" not in made:
            made["shop"] = read(orders, *args, **names)
        return made["shop"]

    def train_once(shop, **names):
        if shop is not made.get("shop"):
            return train(shop, **names)
        if "model" not in made:
            made["model"] = train(shop, **names)
        return made["model"]

    def evaluate_once(shop, *args, **names):
        if "report" not in made:
            made["report"] = evaluate(shop, *args, **names)
        return made["report"]

    module_patch.setattr(Shop, "from_frames", classmethod(read_once))
    module_patch.setattr(Shop, "train_churn", train_once)
    module_patch.setattr(Shop, "evaluate_churn", evaluate_once)
    module_patch.setattr(Shop, "close", lambda shop: None)


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    pyplot.close("all")


def _documented():
    """Exported names, and the public methods of exported classes that have examples."""
    for name in retention.__all__:
        thing = getattr(retention, name)
        yield name, thing
        if inspect.isclass(thing) and thing.__module__.startswith("retention.shop"):
            for method, function in inspect.getmembers(thing, callable):
                if not method.startswith("_") and ">>>" in (inspect.getdoc(function) or ""):
                    yield f"{name}.{method}", function


EXAMPLES = dict(_documented())  # before anything is patched


@pytest.mark.nightly
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_library_run(name, shared_shop):
    thing = EXAMPLES[name]
    finder = doctest.DocTestFinder(recurse=False)
    examples = [
        test for test in finder.find(thing, name, globs=vars(errors).copy()) if test.examples
    ]
    assert examples
    runner = doctest.DocTestRunner()
    for test in examples:
        assert runner.run(test).failed == 0


def test_exported_names_have_parameters_and_examples():
    for name in retention.__all__:
        text = inspect.getdoc(getattr(retention, name)) or ""
        assert "Examples\n--------" in text, name
        thing = getattr(retention, name)
        if inspect.isfunction(thing):
            for section in ("Parameters", "Returns", "Raises"):
                assert f"{section}\n{'-' * len(section)}" in text, f"{name}: {section}"


def test_dir_lists_exported_names_and_unknown_ones_fail():
    assert set(retention.__all__) <= set(dir(retention))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = retention.nothing


@pytest.mark.nightly
def test_examples_of_the_library_page_run(shared_shop):
    text = (ROOT / "docs" / "data_scientist" / "library.md").read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, "library.md", "library.md", 0)
    assert len(page.examples) >= 8
    assert doctest.DocTestRunner().run(page).failed == 0
