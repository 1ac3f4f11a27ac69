"""Find customers at risk of leaving, explain why, and measure what offers earn.

>>> import retention
>>> shop = retention.Shop.from_frames(retention.sample_orders(), verbose=False)
>>> at_risk = shop.score(shop.train_churn())

Names are imported when they are first used: the bot imports this package and must start fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention.errors import BadInput, Refused, TooLittleData
    from retention.shop.churn import ChurnModel, ChurnReport
    from retention.shop.classifier import ChurnClassifier
    from retention.shop.plots import plot_cohorts, plot_lift, plot_qini, plot_reliability, plot_rfm
    from retention.shop.samples import sample_campaign, sample_orders
    from retention.shop.shop import Shop
    from retention.shop.uplift import UpliftResult, evaluate_uplift

__all__ = [
    "BadInput",
    "ChurnClassifier",
    "ChurnModel",
    "ChurnReport",
    "Refused",
    "Shop",
    "TooLittleData",
    "UpliftResult",
    "evaluate_uplift",
    "plot_cohorts",
    "plot_lift",
    "plot_qini",
    "plot_reliability",
    "plot_rfm",
    "sample_campaign",
    "sample_orders",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module: Any
    if name in ("BadInput", "Refused", "TooLittleData"):
        from retention import errors as module
    elif name in ("ChurnModel", "ChurnReport"):
        from retention.shop import churn as module
    elif name == "ChurnClassifier":
        from retention.shop import classifier as module
    elif name.startswith("plot_"):
        from retention.shop import plots as module
    elif name.startswith("sample_"):
        from retention.shop import samples as module
    elif name == "Shop":
        from retention.shop import shop as module
    else:
        from retention.shop import uplift as module
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
