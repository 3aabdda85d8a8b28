from math import exp, log

import polars as pl
import pytest

from ploutos.market.sample.dollar_index import EURO_RATES, dollar_index


def index_of(**rates: float) -> float:
    return pl.DataFrame(rates).select(dollar_index()).item()


def test_equal_currencies_give_the_scale_of_the_formula():
    assert index_of(**dict.fromkeys(EURO_RATES, 1.0)) == pytest.approx(50.14348112, abs=1e-12)


def test_the_first_ecb_fixing_gives_the_value_worked_out_by_hand():
    # Reference rates of 1999-01-04, units per euro, as published by the ECB.
    usd, jpy, gbp, cad, sek, chf = 1.1789, 133.73, 0.7111, 1.8004, 9.4696, 1.6168
    worked_out = 50.14348112 * exp(
        -0.576 * log(usd)
        + 0.136 * log(jpy / usd)
        - 0.119 * log(usd / gbp)
        + 0.091 * log(cad / usd)
        + 0.042 * log(sek / usd)
        + 0.036 * log(chf / usd)
    )
    received = index_of(USD=usd, JPY=jpy, GBP=gbp, CAD=cad, SEK=sek, CHF=chf)
    assert received == pytest.approx(worked_out, rel=1e-12)
    # The index itself stood between 93 and 94 on that day.
    assert 93 < received < 94


def test_a_dearer_euro_means_a_cheaper_dollar():
    rates = dict.fromkeys(EURO_RATES, 1.0)
    # With every other rate fixed against the dollar, only EURUSD^-0.576 moves.
    dearer = dict.fromkeys(EURO_RATES, 2.0)
    assert index_of(**dearer) / index_of(**rates) == pytest.approx(2**-0.576, rel=1e-12)


def test_a_missing_rate_leaves_the_index_missing():
    rates = dict.fromkeys(EURO_RATES, 1.0) | {"SEK": None}
    frame = pl.DataFrame(rates, schema=dict.fromkeys(EURO_RATES, pl.Float64))
    assert frame.select(dollar_index()).item() is None
