import numpy as np
import pytest
import talib
from scipy.stats import rankdata


def _share(m, x, n):
    return m.rolling(x, n, lambda w, v: (w * v).sum() / v.sum(), m.v)


def _illiquidity(m, n):
    return m.rolling(m.r, n, lambda r, money: np.abs(r).sum() / money.sum(), m.c * m.v)


ORACLES = {
    "relative_volume_20": lambda m: m.v / talib.SMA(m.v, 20),
    "volume_zscore_20": lambda m: m.rolling(m.v, 20, lambda v: (v[-1] - v.mean()) / v.std(ddof=1)),
    "volume_trend_10_60": lambda m: talib.SMA(m.v, 10) / talib.SMA(m.v, 60) - 1,
    "volume_rank_63": lambda m: (m.rolling(m.v, 63, lambda v: rankdata(v)[-1]) - 0.5) / 63,
    "volume_variation_20": lambda m: m.rolling(m.v, 20, lambda v: v.std(ddof=1) / v.mean()),
    # The numerator is the change of TA-Lib's running OBV over the window.
    "obv_20": lambda m: (
        (talib.OBV(m.c, m.v) - m.lag(talib.OBV(m.c, m.v), 20)) / m.rolling(m.v, 20, np.sum)
    ),
    # TA-Lib: percent. In whole cents equal typical prices are equal numbers.
    "mfi_14": lambda m: talib.MFI(*m.cents("h", "l", "c"), m.v, 14) / 100,
    "cmf_20": lambda m: _share(m, (2 * m.c - m.h - m.l) / (m.h - m.l), 20),
    "force_index_13": lambda m: _share(m, m.r, 13),
    "volume_return_correlation_20": lambda m: m.rolling(
        m.r, 20, lambda r, v: np.corrcoef(r, v)[0, 1], m.v
    ),
    "illiquidity_21_126": lambda m: np.log(_illiquidity(m, 21) / _illiquidity(m, 126)),
}


def test_every_volume_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("volume")


@pytest.mark.parametrize("name", ORACLES)
def test_volume_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))
