"""Two halves of E environments, so that a step of one overlaps the policy's work for the other.

In: E. Out: the environments of a half, and a `Turns` that refuses steps in an impossible order.
"""

from ploutos.errors import EnvironmentConfigError

HALVES = (0, 1)


def half_of(half: int, n_envs: int) -> slice:
    """Return the environments of half 0 or 1: [0, E // 2) or [E // 2, E)."""
    middle = n_envs // 2
    return slice(0, middle) if half == 0 else slice(middle, n_envs)


def size_of_half(half: int, n_envs: int) -> int:
    """Return how many environments a half has.

    Raises
    ------
    EnvironmentConfigError
        If there is no such half, or there are fewer than two environments.
    """
    if half not in HALVES:
        raise EnvironmentConfigError(f"expected half 0 or 1, received {half}.")
    if n_envs < 2:
        raise EnvironmentConfigError(
            f"expected at least 2 environments to step in halves, received {n_envs}. Use `step`."
        )
    own = half_of(half, n_envs)
    return own.stop - own.start


class Turns:
    """Which halves are being stepped."""

    def __init__(self) -> None:
        self._under_way = [False, False]

    def start(self, half: int) -> None:
        """Note that a step of the half has begun.

        Raises
        ------
        EnvironmentConfigError
            If one is under way already.
        """
        if self._under_way[half]:
            raise EnvironmentConfigError(
                f"half {half} is being stepped already: call finish_step({half}) first."
            )
        self._under_way[half] = True

    def finish(self, half: int) -> None:
        """Note that the half's step is over.

        Raises
        ------
        EnvironmentConfigError
            If none was begun.
        """
        if half not in HALVES or not self._under_way[half]:
            raise EnvironmentConfigError(
                f"half {half} is not being stepped: call start_step(action, {half}) first."
            )
        self._under_way[half] = False

    def check_none(self) -> None:
        """Refuse what concerns all environments while a half is being stepped.

        Raises
        ------
        EnvironmentConfigError
            If one is.
        """
        if any(self._under_way):
            half = self._under_way.index(True)
            raise EnvironmentConfigError(
                f"half {half} is still being stepped: call finish_step({half}) first."
            )
