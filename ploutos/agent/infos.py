"""Infos that are made when they are asked for. In: E, those of ended episodes. Out: a sequence."""

from collections.abc import Sequence
from typing import Any, overload


class Infos(Sequence[dict[str, Any]]):
    """One dict per environment, its own, as SB3 wants them: read them, write into them, keep them.

    Nearly all are empty and never looked at, and a thousand empty dicts take as long to make as
    some hundred steps. So a dict is made when it is first asked for.

    Parameters
    ----------
    n_envs : int
        E.
    filled : dict of int to dict
        Infos of the environments that have something to say, by their number.
    """

    def __init__(self, n_envs: int, filled: dict[int, dict[str, Any]]) -> None:
        self._numbers = range(n_envs)
        self._made = filled

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        chosen = self._numbers[index]
        if isinstance(chosen, int):
            return self._made.setdefault(chosen, {})
        return [self._made.setdefault(number, {}) for number in chosen]

    def __setitem__(self, index: int, info: dict[str, Any]) -> None:
        self._made[self._numbers[index]] = info

    def __repr__(self) -> str:
        return repr(list(self))
