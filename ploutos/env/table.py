"""Arrays by their addresses. In: tuples of arrays, once. Out: one table, for every compiled call.

Handing the kernel its 40 arrays one by one would cost a call 30 microseconds, as much as stepping
dozens of environments. A table of addresses and sizes costs half a microsecond, and arrays made
from it are not counted by reference in the inner loops. `ploutos.env.entry` reads it.
"""

from typing import Any, NamedTuple

import numpy as np

from ploutos.env.account import Accounts
from ploutos.env.kernel import Episodes, Outcome, Setup
from ploutos.env.lanes import new_scratch
from ploutos.env.market import Market
from ploutos.env.scaler import Scaling
from ploutos.errors import EnvironmentConfigError
from ploutos.portfolio.fills import Trades
from ploutos.portfolio.orders import N_SUMS

# Where things stand in a table: sizes and integers of the setup, the address of its other numbers,
# then the addresses of the fields of these tuples, in their order.
T, N, F, M, E, D, FIRST_ROW, STOP_ROW, EPISODE_BARS, WINDOW_BARS, BY_REFERENCE, NUMBERS = range(12)
MARKET = 12
SCALING = MARKET + len(Market._fields)
EPISODES = SCALING + len(Scaling._fields)
ACCOUNTS = EPISODES + len(Episodes._fields)
TRADES = ACCOUNTS + len(Accounts._fields)
OUTCOME = TRADES + len(Trades._fields)
SCRATCH = OUTCOME + len(Outcome._fields)


class Parts(NamedTuple):
    """What a compiled call works on: market and scaling are read, the others written."""

    market: Market
    scaling: Scaling
    episodes: Episodes
    accounts: Accounts
    trades: Trades
    outcome: Outcome


class Table:
    """The arguments of compiled calls, and what keeps their memory alive.

    Parameters
    ----------
    parts : Parts
        All arrays; those of E environments may be slices of larger ones.
    setup : Setup
        The numbers.

    Raises
    ------
    EnvironmentConfigError
        If an array has another shape or dtype than it must have: the kernel would write elsewhere.
    """

    def __init__(self, parts: Parts, setup: Setup) -> None:
        cash = (setup.initial_cash_micro, setup.ruin_micro)
        numbers = np.array([*setup.rules, *setup.reward, *cash], np.float64)
        sizes = {
            "T": parts.market.features.shape[0],
            "N": parts.market.features.shape[1],
            "F": parts.market.features.shape[2],
            "M": parts.market.macro.shape[1],
            "E": parts.outcome.observation.shape[0],
            "D": parts.outcome.observation.shape[1],
        }
        self._arrays = [numbers]
        for expected, part in zip(_expected(**sizes), parts, strict=True):
            for (shape, dtype), (name, array) in zip(expected, part._asdict().items(), strict=True):
                _check(array, shape, dtype, f"{type(part).__name__}.{name}")
                self._arrays.append(array)
        self._arrays.append(new_scratch(sizes["N"]))
        self.addresses = np.array(
            [
                *sizes.values(),
                *(setup.first_row, setup.stop_row, setup.episode_bars, setup.window_bars),
                int(setup.by_reference),
                *(address_of(array) for array in self._arrays),
            ],
            np.int64,
        )

    def observe_at(self, address: int) -> None:
        """Let the next call write its observations, (E, D) float32, to an array at this address.

        The caller keeps the array alive.
        """
        self.addresses[OUTCOME] = address


def address_of(array: np.ndarray) -> int:
    """Return where an array's memory begins."""
    # `array.ctypes.data` says the same in five times the time.
    return array.__array_interface__["data"][0]


def _check(array: np.ndarray, shape: tuple[int, ...], dtype: Any, name: str) -> None:
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise EnvironmentConfigError(
            f"expected {name} of shape {shape}, {np.dtype(dtype)}, row by row; received "
            f"{array.shape}, {array.dtype}, strides {array.strides}."
        )


def _expected(T: int, N: int, F: int, M: int, E: int, D: int) -> Any:
    """Return shape and dtype of every field of `Parts`, as `ploutos.env.entry` reads them."""
    real, single, byte, integer = np.float64, np.float32, np.uint8, np.int64
    market = [((T, N, F), single), ((T, M), single), ((T, N), byte), ((T, M), byte)]
    market += [((T, N), real)] * 5 + [((T, 6), real)]
    scaling = [((N * F,), single)] * 2 + [((M,), single)] * 2 + [((1,), single)]
    episodes = [((E,), integer)] * 2 + [((E,), np.uint64), ((E,), byte)]
    accounts = [((E,), real)] * 4 + [((E, 2), real)] + [((E, N), real)] * 4
    trades = [((N,), real)] * 4 + [((3,), real), ((N_SUMS,), real)]
    outcome = [((E, D), single), ((E,), single), ((E,), byte), ((E,), byte)]
    outcome += [((E, D), single), ((E,), real)]
    return market, scaling, episodes, accounts, trades, outcome
