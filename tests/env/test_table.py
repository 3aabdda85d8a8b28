"""A table refuses what the kernel would read or write in the wrong place."""

import numpy as np
import pytest

from ploutos.env.account import open_accounts
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import new_episodes, new_outcome
from ploutos.env.observe import observation_length
from ploutos.env.scaler import scaling_of
from ploutos.env.setup import setup_of
from ploutos.env.table import Parts, Table
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio.fills import new_trades
from tests.env.markets import plain_scaler, random_market

SETUP = setup_of(EnvConfig(), Rows(start=0, stop=60))


def parts():
    market = random_market(np.random.default_rng(0), symbols=3)
    return Parts(
        market,
        scaling_of(plain_scaler(market), 3),
        new_episodes(4),
        open_accounts(4, 3, 1e12),
        new_trades(3),
        new_outcome(4, observation_length(market, 1)),
    )


FIELDS = [(part, name) for part, value in parts()._asdict().items() for name in value._fields]
# Their shapes are what the others are measured by.
MEASURES = {("market", "features"), ("market", "macro"), ("outcome", "observation")}


def with_array(part, name, change):
    whole = parts()
    own = getattr(whole, part)
    return whole._replace(**{part: own._replace(**{name: change(getattr(own, name))})})


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_array_of_another_dtype_is_refused(part, name):
    other = with_array(part, name, lambda array: np.zeros(array.shape, np.int16))
    with pytest.raises(EnvironmentConfigError, match=rf"\.{name} of shape"):
        Table(other, SETUP)


@pytest.mark.parametrize(("part", "name"), [one for one in FIELDS if one not in MEASURES])
def test_array_of_another_shape_is_refused(part, name):
    other = with_array(part, name, lambda array: np.concatenate([array, array[:1]]))
    with pytest.raises(EnvironmentConfigError, match=rf"\.{name} of shape"):
        Table(other, SETUP)


def test_array_that_does_not_lie_row_by_row_is_refused():
    other = with_array("market", "open", np.asfortranarray)
    with pytest.raises(EnvironmentConfigError, match="row by row"):
        Table(other, SETUP)
