import numpy as np
import pytest
import talib


def _position(m, x, n):
    return m.rolling(x, n, lambda w: (w[-1] - w.min()) / (w.max() - w.min()))


def _rsi(m):
    return talib.RSI(m.c, 14) / 100


# TA-Lib counts oscillators and TRIX in percent and starts Wilder's and exponential means on a mean,
# ours start on the first value: after 252 bars neither start is left.
ORACLES = {
    **{
        f"momentum_{n}": lambda m, n=n: np.log(m.c / m.lag(m.c, n)) for n in (1, 5, 10, 21, 63, 126)
    },
    "momentum_252_21": lambda m: np.log(m.lag(m.c, 21) / m.lag(m.c, 252)),
    "acceleration_10": lambda m: np.log(m.c * m.lag(m.c, 20) / m.lag(m.c, 10) ** 2),
    "rsi_14": _rsi,
    "rsi_change_5": lambda m: _rsi(m) - m.lag(_rsi(m), 5),
    "rsi_divergence_14": lambda m: _position(m, m.c, 14) - _position(m, _rsi(m), 14),
    "stochastic_k_14": lambda m: talib.STOCHF(m.h, m.l, m.c, 14, 1)[0] / 100,
    "stochastic_d_14_3": lambda m: talib.STOCHF(m.h, m.l, m.c, 14, 3)[1] / 100,
    "williams_r_14": lambda m: talib.WILLR(m.h, m.l, m.c, 14) / 100,
    "ultimate_oscillator_7_14_28": lambda m: talib.ULTOSC(m.h, m.l, m.c, 7, 14, 28) / 100,
    "trix_15": lambda m: talib.TRIX(m.c, 15) / 100,
    "gain_share_21": lambda m: m.rolling(m.r, 21, lambda r: r[r > 0].sum() / np.abs(r).sum()),
}


def test_every_momentum_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("momentum")


@pytest.mark.parametrize("name", ORACLES)
def test_momentum_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))
