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

SHIFT: Final = 112
DIFFERENCE: Final = 113

WINDOW_SUM: Final = 128
WINDOW_MAXIMUM: Final = 129
WINDOW_MINIMUM: Final = 130
WINDOW_DEVIATION: Final = 131
WINDOW_MOMENT: Final = 132
WINDOW_COVARIANCE: Final = 133
WINDOW_SLOPE: Final = 134

WINDOW_RANK: Final = 144
WINDOW_MEDIAN: Final = 145
WINDOW_SPREAD: Final = 146
WINDOW_AGE: Final = 147

EXPONENTIAL: Final = 160
PRODUCT: Final = 161
TRAILING_AVERAGE: Final = 162
TRAILING_STOP: Final = 163
TRAILING_PARABOLIC: Final = 164

CODES: Final[dict[str, int]] = {
    name.lower(): value
    for name, value in list(globals().items())
    if name.isupper() and isinstance(value, int) and name != "GROUP"
}
_SHIFTED = {SHIFT, DIFFERENCE}
_RECURSIVE = {EXPONENTIAL, PRODUCT}


def bars_needed(operation: str, n_bars: int) -> int:
    """Return how many values of each input, the newest included, one value is made of.

    A recursive operation reads one value of its inputs, and its own of the bar before: two rows.
    """
    code = CODES[operation]
    if code in _SHIFTED:
        return n_bars + 1
    if code in _RECURSIVE:
        return 2
    return max(n_bars, 1) if code >= WINDOW_SUM else 1
