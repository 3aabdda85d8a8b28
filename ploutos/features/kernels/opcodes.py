"""The numbers of the machine's instructions. In: nothing. Out: an operation's code by its name.

Codes come in groups of sixteen, one compiled dispatcher each. What an operation needs of its
inputs' past to give one value is `bars_needed`.
"""

from typing import Final

GROUP: Final = 16

ADD: Final = 0
SUBTRACT: Final = 1
MULTIPLY: Final = 2
DIVIDE: Final = 3
RATIO: Final = 4

GREATER: Final = 16
GREATER_EQUAL: Final = 17
BOTH: Final = 18
WHEN: Final = 19
KNOWN: Final = 20

MAXIMUM: Final = 32
MINIMUM: Final = 33
WHERE: Final = 34

ADD_NUMBER: Final = 48
MULTIPLY_NUMBER: Final = 49
NUMBER_LESS: Final = 50
NUMBER_OVER: Final = 51
OVER_NUMBER: Final = 52

AT_LEAST: Final = 64
AT_MOST: Final = 65
FILL: Final = 66

ABOVE_NUMBER: Final = 80
FROM_NUMBER: Final = 81
BELOW_NUMBER: Final = 82
UP_TO_NUMBER: Final = 83

ABSOLUTE: Final = 96
LOGARITHM: Final = 97
ROOT: Final = 98
SIGN: Final = 99

DEVIATION: Final = 112
SKEWNESS: Final = 113
KURTOSIS: Final = 114

# From here on, a value depends on values before its own row.
SHIFT: Final = 128
DIFFERENCE: Final = 129

JOIN_SUM: Final = 144
JOIN_GAP: Final = 145
JOIN_SQUARES: Final = 146
JOIN_TREND: Final = 147
JOIN_PRODUCTS: Final = 148
JOIN_THIRD: Final = 149
JOIN_FOURTH: Final = 150

JOIN_MAXIMUM: Final = 160
JOIN_MINIMUM: Final = 161
JOIN_AGE: Final = 162

WINDOW_RANK: Final = 176
WINDOW_MEDIAN: Final = 177
WINDOW_SPREAD: Final = 178

EXPONENTIAL: Final = 192
PRODUCT: Final = 193
TRAILING_AVERAGE: Final = 194
TRAILING_STOP: Final = 195
TRAILING_PARABOLIC: Final = 196

CODES: Final[dict[str, int]] = {
    name.lower(): value
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int) and name != "GROUP"
}
_RECURSIVE = {EXPONENTIAL, PRODUCT}


def bars_needed(code: int, n_bars: int) -> int:
    """Return how many values of each input, the newest included, one value is made of.

    A recursive operation reads one value of its inputs, and its own of the bar before: two rows.
    """
    if code < SHIFT:
        return 1
    if code in _RECURSIVE:
        return 2
    return n_bars + 1 if code < WINDOW_RANK else n_bars
