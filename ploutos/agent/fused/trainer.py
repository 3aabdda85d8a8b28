"""PPO's rollouts and updates for one policy. In: observations, a rollout. Out: actions, new values.

`Trainer` holds what a policy needs beside its parameters: memory, and threads for large
minibatches.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - Numba's products are here: loaded to be limited
from threadpoolctl import ThreadpoolController

from ploutos.agent.fused.act import Answer, act, value_of
from ploutos.agent.fused.binding import Bound, adopt, note_steps
from ploutos.agent.fused.epoch import Desk, train_epoch
from ploutos.agent.fused.gradient import (
    Rollout,
    Room,
    n_parts,
    new_room,
    normalise,
    part_gradient,
)
from ploutos.agent.fused.loss import N_FIGURES, Hyper
from ploutos.agent.fused.market import MarketTable, PartMarket
from ploutos.agent.fused.network import N_OUT
from ploutos.agent.fused.step import DONE, take_step


class Trainer:
    """The compiled trainer of one policy.

    Parameters
    ----------
    bound : Bound
        The policy.
    n_choices : int
        Numbers in one action.
    n_threads : int
        Threads for minibatches of more than one part; the results do not depend on it.
    """

    def __init__(self, bound: Bound, n_choices: int, n_threads: int = 1) -> None:
        self.bound = bound
        self._net = bound.net
        self._rooms = [new_room(self._net, n_choices) for _ in range(n_threads)]
        self._threads = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self._empty = (
            np.zeros((0, int(self._net.input_layer[N_OUT])), np.float32),
            np.zeros(0, np.int64),
        )
        rows = None if bound.market is None else bound.market.rows
        self._table = None if rows is None else MarketTable(rows, self._net)
        self._markets = [] if rows is None else [PartMarket(rows, self._net) for _ in self._rooms]
        self._kept: np.ndarray | None = None
        self._blas = ThreadpoolController()

    @contextmanager
    def rollout(self) -> Iterator[None]:
        """Take over what torch may have changed since the last rollout; act within the context."""
        adopt(self.bound)
        if self._table is not None:
            self._table.forget()
        with self._one_blas_thread():
            yield

    def _one_blas_thread(self) -> AbstractContextManager[object]:
        """Keep BLAS's threads out: products this small lose by them, and would depend on them."""
        return self._blas.limit(limits=1, user_api="blas")

    def act(self, observation: np.ndarray, draws: np.ndarray, out: Answer) -> None:
        """Draw actions for observations (E, D); see `ploutos.agent.fused.act.act`."""
        act(self._net, observation, self._market(observation), draws, self._rooms[0], out)

    def value_of(self, observation: np.ndarray) -> np.ndarray:
        """Return the critic's values (n,) float32 of observations (n, D)."""
        values = np.empty(observation.shape[0], np.float32)
        value_of(self._net, observation, self._market(observation), self._rooms[0], values)
        return values

    def train(
        self, rollout: Rollout, orders: Iterable[np.ndarray], batch_size: int, hyper: Hyper
    ) -> tuple[list[np.ndarray], int]:
        """Update the policy, one epoch after another, until one ends early.

        Parameters
        ----------
        rollout : Rollout
            S samples.
        orders : iterable of (S,) int64
            For each epoch, the samples in the order in which minibatches are cut from them.
        batch_size : int
            Samples of a minibatch; the last one may be smaller.
        hyper : Hyper
            Hyper-parameters.

        Returns
        -------
        list of (minibatches, N_FIGURES) float64, int
            Figures of every epoch, and how the last one ended (see `take_step`).
        """
        adopt(self.bound)
        n_batches = -(-rollout.advantage.size // batch_size)
        desk = Desk(
            room=self._rooms[0],
            advantage=np.empty(batch_size, np.float32),
            gradients=self._gradients(min(batch_size, rollout.advantage.size)),
            market=(*self._empty, self._empty[0]),
            figures=np.zeros((n_batches, N_FIGURES)),
        )
        epochs, code = [], DONE
        alone = not self._markets and (self._threads is None or n_parts(batch_size) == 1)
        epoch = self._epoch_alone if alone else self._epoch
        with self._one_blas_thread():
            for picks in orders:
                number, code = epoch(rollout, (picks, batch_size), hyper, desk)
                epochs.append(desk.figures[:number].copy())
                if code != DONE:
                    break
        note_steps(self.bound)
        return epochs, code

    def _gradients(self, batch_size: int) -> np.ndarray:
        """Return room for the gradients of a minibatch's parts; large, so it is kept."""
        shape = (n_parts(batch_size), self._net.parameters.size)
        if self._kept is None or self._kept.shape != shape:
            self._kept = np.empty(shape, np.float32)
        return self._kept

    def _epoch_alone(
        self, rollout: Rollout, order: tuple[np.ndarray, int], hyper: Hyper, desk: Desk
    ) -> tuple[int, int]:
        return train_epoch(self._net, self.bound.moments, rollout, order, hyper, desk)

    def _epoch(
        self, rollout: Rollout, order: tuple[np.ndarray, int], hyper: Hyper, desk: Desk
    ) -> tuple[int, int]:
        """Do as `train_epoch` does, with rows looked up and parts handed to threads."""
        picks, batch_size = order
        number = 0
        for first in range(0, picks.size, batch_size):
            own = picks[first : first + batch_size]
            figures = desk.figures[number]
            figures[:] = 0.0
            self._gradient(rollout, own, hyper, desk, figures)
            gradients = desk.gradients[: n_parts(own.size)]
            code = take_step(self._net, self.bound.moments, gradients, own.size, hyper, figures)
            number += 1
            if code != DONE:
                return number, code
        return number, DONE

    def _gradient(
        self, rollout: Rollout, picks: np.ndarray, hyper: Hyper, desk: Desk, figures: np.ndarray
    ) -> None:
        """Write the gradients of a minibatch's parts, and sum up their figures."""
        n = picks.size
        if self._markets:
            # Parts of their own rows: what two parts share is computed twice.
            picks = picks[np.argsort(rollout.observation[picks, 0], kind="stable")]
        advantage = desk.advantage[:n]
        normalise(rollout, picks, hyper, advantage)
        parts = n_parts(n)
        sums = np.zeros((parts, N_FIGURES))

        def work_off(part: int, thread: int) -> None:
            own = slice(n * part // parts, n * (part + 1) // parts)
            out = (self._rooms[thread], desk.gradients[part], sums[part])
            chosen = (picks[own], advantage[own], n)
            if self._markets:
                market = self._markets[thread]
                self._part_by_reference(market, rollout, chosen, hyper, out)
            else:
                part_gradient(self._net, rollout, chosen, desk.market, hyper, out)

        self._share_out(work_off, parts)
        figures += sums.sum(axis=0)

    def _part_by_reference(
        self,
        market: PartMarket,
        rollout: Rollout,
        chosen: tuple[np.ndarray, np.ndarray, int],
        hyper: Hyper,
        out: tuple[Room, np.ndarray, np.ndarray],
    ) -> None:
        numbers = rollout.observation[chosen[0], 0].astype(np.int64)
        given = market.of(numbers)
        part_gradient(self._net, rollout, chosen, given, hyper, out)
        market.write_gradient(given[2], out[1])

    def _share_out(self, work_off: Callable[[int, int], None], parts: int) -> None:
        """Have the parts worked off, by this thread alone or by several."""
        if self._threads is None or parts == 1:
            for part in range(parts):
                work_off(part, 0)
            return
        n_threads = len(self._rooms)

        def share(thread: int) -> None:
            for part in range(thread, parts, n_threads):
                work_off(part, thread)

        list(self._threads.map(share, range(n_threads)))

    def _market(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the market parts of the input layer, and which of them each observation has."""
        if self._table is None:
            return self._empty[0], np.zeros(observation.shape[0], np.int64)
        numbers = observation[:, 0].astype(np.int64)
        return self._table.look_up(numbers), numbers
