"""Figures of merit. In: returns, equity, weights or turnover of one account. Out: one number each.

Conventions of every function here: returns are simple, per bar, as fractions (0.01 is one percent);
an annual figure says so in its name or takes `periods_per_year`; inputs are never changed. An input
that holds NaN or infinity raises. A figure that is not defined for its input (fewer than two
returns, no volatility, no loss) is NaN, never zero and never infinite.
"""

import numpy as np

from ploutos.errors import ValidationError
from ploutos.validation.rollout import FloatArray, Rollout

# Below this share of the largest return a standard deviation is rounding, not risk.
ROUNDING = 1e-12


def total_return(equity: FloatArray) -> float:
    """Return E[-1] / E[0] - 1 of an equity curve (R+1,) float64.

    NaN when fewer than two points are given.
    """
    check_finite(equity, "equity")
    return float(equity[-1] / equity[0] - 1.0) if equity.size >= 2 else np.nan


def annual_return(equity: FloatArray, periods_per_year: float) -> float:
    """Return the compound growth per year, (E[-1] / E[0]) ** (P / R) - 1.

    P is `periods_per_year`, R the number of returns. NaN when fewer than two points are given.
    Source: compound annual growth rate, as `empyrical.cagr`.
    """
    grown = total_return(equity)
    if equity.size < 2:
        return np.nan
    return float((1.0 + grown) ** (periods_per_year / (equity.size - 1)) - 1.0)


def annual_volatility(returns: FloatArray, periods_per_year: float) -> float:
    """Return std(r, ddof=1) * sqrt(P).

    Exactly 0 when the returns are constant; NaN when there are fewer than two.
    """
    return _deviation(returns) * float(np.sqrt(periods_per_year))


def sharpe_per_period(returns: FloatArray, risk_free: float | FloatArray = 0.0) -> float:
    """Return mean(r - rf) / std(r - rf, ddof=1), per bar, not annualised.

    Parameters
    ----------
    returns : (R,) float64
    risk_free : float or (R,) float64
        Risk-free return per bar, a fraction.

    Returns
    -------
    float
        NaN without volatility or with fewer than two returns.

    Notes
    -----
    Source: Sharpe (1994), The Sharpe Ratio, Journal of Portfolio Management 21 (1).
    """
    excess = returns - risk_free
    deviation = _deviation(excess)
    return float(excess.mean() / deviation) if deviation > 0 else np.nan


def sharpe(
    returns: FloatArray, periods_per_year: float, risk_free: float | FloatArray = 0.0
) -> float:
    """Return the annualised Sharpe ratio, `sharpe_per_period` * sqrt(P).

    The factor sqrt(P) holds for returns without autocorrelation; see
    `statistics.sharpe_standard_error` for an error that does not assume it. NaN without volatility
    or with fewer than two returns.
    """
    return sharpe_per_period(returns, risk_free) * float(np.sqrt(periods_per_year))


def sortino(
    returns: FloatArray, periods_per_year: float, target: float | FloatArray = 0.0
) -> float:
    """Return mean(r - target) / sqrt(mean(min(r - target, 0) ** 2)) * sqrt(P).

    The target is per bar. The downside deviation divides by all R returns. NaN when no return is
    below the target, or with fewer than two returns.
    Source: Sortino and Price (1994), Journal of Investing 3 (3).
    """
    check_finite(returns, "returns")
    excess = returns - target
    if excess.size < 2:
        return np.nan
    downside = float(np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2)))
    return float(excess.mean() / downside * np.sqrt(periods_per_year)) if downside > 0 else np.nan


def drawdowns(equity: FloatArray) -> FloatArray:
    """Return the loss since the highest equity so far, 1 - E / running maximum, (R+1,), >= 0."""
    check_finite(equity, "equity")
    return 1.0 - equity / np.maximum.accumulate(equity)


def max_drawdown(equity: FloatArray) -> float:
    """Return the largest loss from a peak to a later low, a fraction in [0, 1].

    A positive number: 0.25 means that a quarter of the highest equity so far was lost. 0 for a
    curve that never falls; NaN when fewer than two points are given.
    Source: Magdon-Ismail and Atiya (2004), Maximum Drawdown, Risk 17 (10).
    """
    return float(drawdowns(equity).max()) if equity.size >= 2 else np.nan


def max_drawdown_bars(equity: FloatArray) -> int:
    """Return the longest time under water: bars from a peak to the first close at or above it.

    A drawdown that has not recovered counts up to the last bar. 0 for a curve that never falls.
    """
    at_peak = np.flatnonzero(drawdowns(equity) <= 0.0)
    if at_peak.size == 0:
        return 0
    gaps = np.diff(np.append(at_peak, equity.size))
    gaps[-1] -= 1
    # Two neighbouring peaks are one bar apart without anything lost between them.
    return int(max(gaps[:-1][gaps[:-1] > 1].max(initial=0), gaps[-1]))


def calmar(equity: FloatArray, periods_per_year: float) -> float:
    """Return `annual_return` / `max_drawdown`; NaN when there was no drawdown.

    Source: Young (1991), Calmar Ratio: A Smoother Tool, Futures 20 (1).
    """
    deepest = max_drawdown(equity)
    return annual_return(equity, periods_per_year) / deepest if deepest > 0 else np.nan


def hit_rate(returns: FloatArray) -> float:
    """Return the share of positive returns among those that are not zero; NaN if all are zero."""
    check_finite(returns, "returns")
    moved = np.count_nonzero(returns)
    return np.count_nonzero(returns > 0) / moved if moved else np.nan


def exposure(weights: FloatArray) -> float:
    """Return the mean over rows of the invested share of equity, sum(|weight|), (R+1, N) -> float.

    The first row is left out: it lies before any fill. NaN with fewer than two rows.
    """
    check_finite(weights, "weights")
    return float(np.abs(weights[1:]).sum(axis=1).mean()) if weights.shape[0] >= 2 else np.nan


def annual_turnover(turnover: FloatArray, periods_per_year: float) -> float:
    """Return mean(turnover) * P: buys plus sells per year, in multiples of the equity.

    Selling everything once a year and buying it back is 2. NaN with no bar.
    """
    check_finite(turnover, "turnover")
    return float(turnover.mean() * periods_per_year) if turnover.size else np.nan


def risk_free_per_bar(risk_free_per_year: float, periods_per_year: float) -> float:
    """Return the rate per bar that compounds to the yearly one, (1 + y) ** (1 / P) - 1."""
    return float((1.0 + risk_free_per_year) ** (1.0 / periods_per_year) - 1.0)


def summarise(
    rollout: Rollout, periods_per_year: float, risk_free_per_year: float = 0.0
) -> dict[str, float]:
    """Return every figure of this module for one rollout, by name.

    Keys: bars, final_equity_usd, total_return, annual_return, annual_volatility, sharpe, sortino,
    calmar, max_drawdown, max_drawdown_bars, hit_rate, exposure, annual_turnover, total_cost_usd.
    A figure that is not defined is NaN.
    """
    equity, returns = rollout.equity_usd, rollout.returns
    risk_free = risk_free_per_bar(risk_free_per_year, periods_per_year)
    return {
        "bars": float(returns.size),
        "final_equity_usd": float(equity[-1]),
        "total_return": total_return(equity),
        "annual_return": annual_return(equity, periods_per_year),
        "annual_volatility": annual_volatility(returns, periods_per_year),
        "sharpe": sharpe(returns, periods_per_year, risk_free),
        "sortino": sortino(returns, periods_per_year, risk_free),
        "calmar": calmar(equity, periods_per_year),
        "max_drawdown": max_drawdown(equity),
        "max_drawdown_bars": float(max_drawdown_bars(equity)),
        "hit_rate": hit_rate(returns),
        "exposure": exposure(rollout.weights),
        "annual_turnover": annual_turnover(rollout.turnover, periods_per_year),
        "total_cost_usd": float(rollout.cost_usd.sum()),
    }


def fold_part(rollout: Rollout, index: int) -> Rollout:
    """Return the stretch of a rollout whose decisions lie in test fold `index`.

    Raises
    ------
    ValidationError
        If the fold has no decision in this rollout, or its decisions are not adjacent.
    """
    rows = np.flatnonzero(rollout.fold == index)
    if rows.size == 0 or rows[-1] - rows[0] + 1 != rows.size:
        raise ValidationError(
            f"rollout {rollout.name!r}: expected one unbroken stretch of decisions of fold "
            f"{index}, received {rows.size} decisions."
        )
    bars = slice(int(rows[0]), int(rows[-1]) + 1)
    points = slice(bars.start, bars.stop + 1)
    return Rollout(
        name=rollout.name,
        closed_at=rollout.closed_at[points],
        equity_usd=rollout.equity_usd[points],
        weights=rollout.weights[points],
        turnover=rollout.turnover[bars],
        cost_usd=rollout.cost_usd[bars],
        fold=rollout.fold[bars],
    )


def check_finite(values: FloatArray, name: str) -> None:
    """Raise if `values` holds NaN or infinity.

    Raises
    ------
    ValidationError
        Names the first bad position.
    """
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        raise ValidationError(
            f"expected finite {name}, received {values[tuple(bad[0])]} at position "
            f"{tuple(bad[0].tolist())}; a gap must be carried or cut before it is measured."
        )


def _deviation(values: FloatArray) -> float:
    check_finite(values, "returns")
    if values.size < 2:
        return np.nan
    deviation = float(values.std(ddof=1))
    return deviation if deviation > ROUNDING * float(np.abs(values).max()) else 0.0
