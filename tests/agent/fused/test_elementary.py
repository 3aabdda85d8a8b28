"""The oracle is numpy in float64."""

import numpy as np
import pytest

from ploutos.agent.fused import elementary
from ploutos.agent.fused.options import fused


def over(function):
    @fused
    def loop(x, out):
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    def apply(x):
        out = np.empty_like(x)
        loop(x, out)
        return out

    return apply


tanh, exp, log = (over(getattr(elementary, name)) for name in ("tanh", "exp", "log"))


@pytest.mark.parametrize(
    ("ours", "oracle", "x", "units"),
    [
        (tanh, np.tanh, np.linspace(-12, 12, 200_001), 5),
        (tanh, np.tanh, np.geomspace(1e-30, 1, 10_001), 5),
        (exp, np.exp, np.linspace(-87, 88, 200_001), 2),
        (log, np.log, np.geomspace(1e-37, 1e38, 200_001), 2),
        (log, np.log, np.linspace(0.5, 2, 10_001), 2),
    ],
    ids=["tanh", "small tanh", "exp", "log", "log near one"],
)
def test_within_a_few_units_in_the_last_place(ours, oracle, x, units):
    x = x.astype(np.float32)
    expected = oracle(x.astype(np.float64))
    off = np.abs(ours(x) - expected) / np.spacing(np.abs(expected).astype(np.float32))
    assert off.max() <= units


@pytest.mark.parametrize("function", [tanh, exp])
def test_nan_stays_nan(function):
    assert np.isnan(function(np.array([np.nan], np.float32)))[0]


def test_infinities_go_to_the_bounds():
    far = np.array([-np.inf, np.inf, -1e30, 1e30], np.float32)
    np.testing.assert_allclose(tanh(far), [-1, 1, -1, 1], atol=3e-7)
    assert (exp(far)[[0, 2]] < 2e-38).all()
    assert (exp(far)[[1, 3]] > 2e38).all()
    assert np.isfinite(exp(far)).all()
