import numpy as np
import pytest
import talib


def _by_bar(m, rule):
    """Apply a rule to (open, high, low, close) of each bar and of the one before."""
    bars = np.stack([m.o, m.h, m.l, m.c], axis=1).tolist()
    return np.array([np.nan, *(rule(*pair) for pair in zip(bars[1:], bars[:-1], strict=True))])


def _turn(bar, before):
    body, previous = np.sign(bar[3] - bar[0]), np.sign(before[3] - before[0])
    return body if body * previous < 0 else 0.0


def _engulfing(bar, before):
    covers = max(bar[0], bar[3]) >= max(before[0], before[3])
    covers &= min(bar[0], bar[3]) <= min(before[0], before[3])
    return _turn(bar, before) * covers


def _harami(bar, before):
    inside = max(bar[0], bar[3]) < max(before[0], before[3])
    inside &= min(bar[0], bar[3]) > min(before[0], before[3])
    return _turn(bar, before) * inside


def _hammer(m, long, short):
    body, span, short, long = (_ticks(x) for x in (m.c - m.o, m.h - m.l, short, long))
    return ((long >= 2 * abs(body)) & (10 * short <= span) & (span > 0)).astype(float)


def _ticks(x):
    """Prices are whole cents: count them, so that no tie depends on a rounding error."""
    return np.round(x * 100).astype(int)


def _upper(m):
    return m.h - np.maximum(m.o, m.c)


def _lower(m):
    return np.minimum(m.o, m.c) - m.l


ORACLES = {
    "gap": lambda m: np.log(m.o) - np.log(m.lag(m.c, 1)),
    "intraday_return": lambda m: np.log(m.c) - np.log(m.o),
    "range_atr_14": lambda m: (m.h - m.l) / m.atr,
    "body": lambda m: (m.c - m.o) / (m.h - m.l),
    "upper_shadow": lambda m: _upper(m) / (m.h - m.l),
    "lower_shadow": lambda m: _lower(m) / (m.h - m.l),
    "close_location": lambda m: (2 * m.c - m.h - m.l) / (m.h - m.l),
    "doji": lambda m: (10 * abs(_ticks(m.c - m.o)) <= _ticks(m.h - m.l)).astype(float),
    "hammer": lambda m: _hammer(m, _lower(m), _upper(m)),
    "shooting_star": lambda m: _hammer(m, _upper(m), _lower(m)),
    "engulfing": lambda m: _by_bar(m, _engulfing),
    "harami": lambda m: _by_bar(m, _harami),
    "inside_bar": lambda m: _by_bar(m, lambda bar, old: bar[1] < old[1] and bar[2] > old[2]),
    "outside_bar": lambda m: _by_bar(m, lambda bar, old: bar[1] > old[1] and bar[2] < old[2]),
    "higher_high_share_10": lambda m: m.rolling(
        _by_bar(m, lambda bar, old: bar[1] > old[1]), 10, np.mean
    ),
    "body_balance_5": lambda m: m.rolling((m.c - m.o) / (m.h - m.l), 5, np.mean),
}


def test_every_candle_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("candles")


@pytest.mark.parametrize("name", ORACLES)
def test_candle_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))


def test_engulfing_covers_every_pattern_that_talib_finds(market):
    """TA-Lib wants one edge strictly beyond; ours also takes two equal edges."""
    theirs = talib.CDLENGULFING(market.o, market.h, market.l, market.c)
    ours = market.features.filter(symbol="S0")["engulfing"].to_numpy()
    found = np.flatnonzero(theirs)
    assert len(found) > 20
    np.testing.assert_array_equal(ours[found], np.sign(theirs[found]))
