"""Which rows of a rollout make a minibatch, and how their sequences are packed.

In: a rollout's size, where episodes start, row numbers. Out: `Sequences`. Rows are numbered as
sb3-contrib does it, one environment's steps after another's: row e * n_steps + t.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

# (n_steps, n_envs), batch_size, the random state that SB3 seeds -> one epoch's minibatches. A
# minibatch is an array of row numbers, int64, in which an environment's rows ascend without gaps.
Minibatches = Callable[[tuple[int, int], int, np.random.RandomState], Iterator[np.ndarray]]


def rotated_rows(
    size: tuple[int, int], batch_size: int, rng: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Yield the minibatches of sb3-contrib: all rows in order, from a random one on, cut evenly.

    Most minibatches begin and end inside an environment's steps. Source: `get` of sb3-contrib's
    `RecurrentRolloutBuffer`, which draws the same number.
    """
    n_rows = size[0] * size[1]
    rows = np.roll(np.arange(n_rows), -rng.randint(n_rows))
    for first in range(0, n_rows, batch_size):
        yield rows[first : first + batch_size]


def whole_sequences(
    size: tuple[int, int], batch_size: int, rng: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Yield minibatches of whole environments, about `batch_size` rows each, in random order.

    Nothing is cut but at episodes' starts, and which environments come together differs from epoch
    to epoch, where the rows of sb3-contrib's minibatches keep their neighbours.
    """
    n_steps, n_envs = size
    n_batches = max(1, round(n_envs * n_steps / batch_size))
    for envs in np.array_split(rng.permutation(n_envs), min(n_batches, n_envs)):
        yield (envs[:, None] * n_steps + np.arange(n_steps)).ravel()  # (e, T) -> (e * T,)


class Sequences(NamedTuple):
    """Sequences of a minibatch: R rows, packed, so that nothing is padded.

    Packed rows are those of all sequences' first steps, then those of their second steps, and so
    on, longer sequences first. The states that sequences start from form one block before them.

    rows: (R,) int64, row numbers in packed order. firsts: (n,) int64, row number of each
    sequence's first step. begins: (n,) bool, whether an episode begins there. counts: (T,) int64,
    how many sequences do step t. previous: (R,) int64, where the states before a packed row stand
    among the n + R.
    """

    rows: np.ndarray
    firsts: np.ndarray
    begins: np.ndarray
    counts: np.ndarray
    previous: np.ndarray


def sequences_of(rows: np.ndarray, starts: np.ndarray, n_steps: int) -> Sequences:
    """Cut a minibatch's rows into sequences and pack them.

    A sequence begins at the first row, where the environment changes, and where an episode starts:
    inside of one the LSTM's state never has to be cleared.

    Parameters
    ----------
    rows : (R,) int64
        Row numbers, see `Minibatches`.
    starts : (R,) bool
        Whether an episode starts there.
    n_steps : int
        Of the rollout, per environment.
    """
    cut = starts | (rows % n_steps == 0)
    cut[0] = True
    begin = np.flatnonzero(cut)
    lengths = np.diff(begin, append=rows.size)
    order = np.argsort(-lengths, kind="stable")
    begin, lengths = begin[order], lengths[order]
    counts = np.bincount(lengths)[:0:-1].cumsum()[::-1]  # how many are longer than t
    first = counts.cumsum() - counts
    step = np.repeat(np.arange(counts.size), counts)
    sequence = np.arange(rows.size) - first[step]
    before = np.concatenate([[0], begin.size + first[:-1]])
    return Sequences(
        rows=rows[begin[sequence] + step],
        firsts=rows[begin],
        begins=starts[begin],
        counts=np.ascontiguousarray(counts),
        previous=before[step] + sequence,
    )
