"""Measure what is learned from tests of offers, in made-up shops with known effects.

nice python -m tests.benchmarks.learned_offers [--shops 200] [--without-effect]
"""

import argparse

import numpy as np

from tests.retention.campaigns.learning.made_up_shops import TESTS, made_up_shop, run_shop


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shops", type=int, default=200)
    parser.add_argument("--explore", type=float, default=0.3)
    parser.add_argument("--without-effect", action="store_true")
    options = parser.parse_args()
    shops = [
        made_up_shop(seed, has_effect=not options.without_effect) for seed in range(options.shops)
    ]
    runs = [run_shop(shop, explore=options.explore) for shop in shops]
    for name in ("ips always", "dr always", "ips learned", "dr learned"):
        each = [one for run in runs for one in run.covered.get(name, ())]
        print(f"coverage {name}: {np.mean(each):.3f} of {len(each)}")
    for name in ("always A", "even", "learning", "rule"):
        by_test = [
            [run.regret[name][at] for run in runs if len(run.regret.get(name, ())) > at]
            for at in range(TESTS)
        ]
        means = ", ".join(f"{np.mean(one):.3f}" for one in by_test)
        print(f"regret per customer, {name}: {np.concatenate(by_test).mean():.3f} ({means})")
    proposed = np.array([run.proposed for run in runs])
    better = np.array([run.regret["always A"][0] > 0 for run in runs])
    print(f"proposed: {proposed.mean():.3f} of {len(runs)} shops")
    if better.any():
        print(f"proposed where A is not the best: {proposed[better].mean():.3f} of {better.sum()}")
    print(f"proposals worse than A: {sum(run.is_worse for run in runs)}")


if __name__ == "__main__":
    main()
