"""Words and numbers of the report. In: JSON values. Out: text for people."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"

DEFINITIONS: tuple[dict[str, str], ...] = (
    {
        "name": "Out of sample",
        "text": "Every bar shown lies in a test fold, after the data its policies were trained on. "
        "The test folds are stitched into one account that is carried from fold to fold.",
    },
    {
        "name": "Committee, member",
        "text": "A member is one algorithm trained with one seed, in every fold. The committee is "
        "all members acting as one; it is what would trade.",
    },
    {
        "name": "Return, per year",
        "text": "Last equity over first, minus one, after commissions, fees, spread, market impact "
        "and interest; per year it is compounded: (1 + return) to the power of (bars per year / "
        "bars), minus one.",
    },
    {
        "name": "Volatility",
        "text": "Standard deviation of the bars' simple returns times the square root of the bars "
        "per year.",
    },
    {
        "name": "Sharpe ratio",
        "text": "Mean over standard deviation of the bars' returns above the risk-free rate, times "
        "the square root of the bars per year. The ± is one standard error that allows for "
        "autocorrelation and fat tails (Lo 2002).",
    },
    {
        "name": "Sortino ratio",
        "text": "As the Sharpe ratio, but over the root mean square of the returns below the "
        "risk-free rate.",
    },
    {
        "name": "Maximum drawdown, longest drawdown",
        "text": "Largest loss from a peak of equity to a later low, and the most bars from a peak "
        "until that peak was reached again (or until the last bar).",
    },
    {"name": "Calmar ratio", "text": "Return per year over maximum drawdown."},
    {
        "name": "Hit rate",
        "text": "Share of bars with a gain among the bars on which the equity moved.",
    },
    {"name": "Exposure", "text": "Mean value of the positions, long plus short, over equity."},
    {
        "name": "Turnover",
        "text": "Buys plus sells per year, in multiples of the equity before the trade.",
    },
    {
        "name": "Excess growth and its interval",
        "text": "Mean difference of the log returns to a baseline over the same bars, per year. "
        "The interval is a stationary bootstrap (Politis and Romano 1994), which keeps the "
        "dependence between bars; each of its bounds holds with the stated confidence.",
    },
    {
        "name": "Deflated Sharpe ratio",
        "text": "Probability that the Sharpe ratio exceeds what the luckiest of all counted trials "
        "would show without skill (Bailey and Lopez de Prado 2014).",
    },
    {
        "name": "Track record",
        "text": "Number of bars needed to tell a worthwhile Sharpe ratio from zero (Bailey and "
        "Lopez de Prado 2012). A shorter sample is insufficient evidence, whatever it shows.",
    },
    {"name": MISSING, "text": "Not defined, as a ratio whose denominator is zero."},
)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as text in percent, e.g. 0.123 as "12.3 %"."""
    return MISSING if value is None else _signed(f"{100 * value:,.{digits}f}") + f"{THIN}%"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with a fixed count of decimals."""
    return MISSING if value is None else _signed(f"{value:,.{digits}f}")


def whole(value: float | None) -> str:
    """Return a count with separators."""
    return MISSING if value is None else _signed(f"{value:,.0f}")


def day(value: str | None) -> str:
    """Return the date of an ISO instant."""
    return MISSING if value is None else value[:10]


def quantity(value: float | None, unit: str) -> str:
    """Return a measured value of a check in its unit."""
    if value is None:
        return MISSING
    if unit == "bars":
        return f"{whole(value)} bars"
    text = percent(value)
    return f"{text} a year" if unit == "log growth per year" else text


def cell(value: Any) -> str:
    """Return a value of a free-form table as text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return whole(value)
    return number(value) if isinstance(value, float) else str(value)


def typeset(sentence: str) -> str:
    """Return a sentence with real minus signs and a narrow space before each percent sign."""
    return re.sub(r"(?<=\d)%", f"{THIN}%", re.sub(r"(?<![\w.])-(?=\d)", MINUS, sentence))


def lineage_rows(lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the entries of the lineage that fit on a line."""
    return [(key, cell(value)) for key, value in lineage.items() if not _is_nested(value)]


def lineage_blocks(lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the nested entries of the lineage as indented JSON."""
    return [
        (key, json.dumps(value, indent=2, ensure_ascii=False))
        for key, value in lineage.items()
        if _is_nested(value)
    ]


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _signed(text: str) -> str:
    if text.strip("-0.,") == "":
        text = text.lstrip("-")
    return text.replace("-", MINUS)


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "number": number,
    "whole": whole,
    "day": day,
    "quantity": quantity,
    "cell": cell,
    "typeset": typeset,
}
