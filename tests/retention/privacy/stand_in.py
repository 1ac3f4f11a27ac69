"""Noise from numpy with a seed instead of OpenDP's, which is not installed here and has none."""

from math import log, sqrt

import numpy as np
import pytest

from retention.privacy import extra, noise


@pytest.fixture
def numpy_noise(monkeypatch):
    rng = np.random.default_rng(5)

    def rho_of(epsilon, delta):
        return (sqrt(log(1 / delta) + epsilon) - sqrt(log(1 / delta))) ** 2

    monkeypatch.setattr(extra, "is_installed", lambda: True)
    monkeypatch.setattr(noise, "rho_of", rho_of)
    monkeypatch.setattr(
        noise, "noisy_vector", lambda exact, scale: exact + scale * rng.standard_normal(len(exact))
    )
    monkeypatch.setattr(
        noise, "noisy_count", lambda exact, scale: exact + round(rng.laplace(0, scale))
    )
