"""Asking a server for one symbol after the other. In: what asks. Out: answers and failures.

A try that fails in a way that may pass is repeated a bounded number of times, with exponential
backoff and jitter; at most four requests are under way at once.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ploutos.errors import SourceError
from ploutos.market.config import NetworkTerms

Answer = TypeVar("Answer")
LONGEST_PAUSE_S = 120.0


def ask_again(
    ask: Callable[[], Answer],
    name: str,
    network: NetworkTerms,
    passing: tuple[type[Exception], ...],
    before_retry: Callable[[], None] = lambda: None,
) -> Answer:
    """Ask until an answer comes, at most `network.attempts` times.

    Parameters
    ----------
    ask
        Makes one try.
    name
        What is asked for, for messages; it also seeds the jitter.
    network
        How often, and how long to wait.
    passing
        What may pass: any other exception ends the asking at once.
    before_retry
        Called before every further try.

    Raises
    ------
    SourceError
        If the last try fails too.
    """
    rng = random.Random(name)
    for attempt in range(1, network.attempts + 1):
        try:
            return ask()
        except passing as error:
            if attempt == network.attempts:
                raise SourceError(
                    f"{name}: {attempt} attempts failed, the last with {type(error).__name__}: "
                    f"{error}"
                ) from error
        before_retry()
        pause = network.backoff_s * 2 ** (attempt - 1) * rng.uniform(0.5, 1.5)
        time.sleep(min(pause, LONGEST_PAUSE_S))
    raise SourceError(f"{name}: expected at least one attempt, received {network.attempts}")


def ask_each(
    names: Sequence[str], ask: Callable[[str], Answer], network: NetworkTerms
) -> tuple[dict[str, Answer], dict[str, str]]:
    """Ask for every name, in at most `network.threads` threads.

    Returns
    -------
    tuple[dict[str, Answer], dict[str, str]]
        The answers and, for the names that ended in a SourceError, the reasons; both by name, in
        the order of `names`.
    """

    def answer(name: str) -> Answer | SourceError:
        try:
            return ask(name)
        except SourceError as error:
            return error

    with ThreadPoolExecutor(network.threads, "ask") as pool:
        both = list(zip(names, pool.map(answer, names), strict=True))
    failed = {name: str(given) for name, given in both if isinstance(given, SourceError)}
    return {name: given for name, given in both if not isinstance(given, SourceError)}, failed


def check_failures(failed: Mapping[str, str], of: int, allowed: int, origin: str) -> None:
    """Refuse when more symbols failed than the config allows, or all of them.

    Raises
    ------
    SourceError
        The message names every symbol that failed, and why.
    """
    if len(failed) > allowed or (failed and len(failed) == of):
        raise SourceError(
            f"{origin} did not deliver {len(failed)} of {of} symbols, allowed are {allowed}: "
            f"{'; '.join(failed.values())}. "
            "Correct the symbols, try again later, or allow more with max_failed_symbols; "
            "nothing was stored."
        )
