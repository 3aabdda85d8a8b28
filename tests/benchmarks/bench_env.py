"""The environment against what people use: same semantics, random actions, no policy in the loop.

Every peer of V9 shape steps our own scalar `TradingEnv`, so both sides do the same; observations
and rewards are compared bit for bit before anything is timed.
"""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from ploutos.block import SharedDataManager
from ploutos.env import EnvConfig, TradingEnv, TradingVectorEnv
from ploutos.panel import save_panel
from tests.benchmarks.env_peers import MinimalEnv, anytrading_env, gym_trading_env
from tests.benchmarks.env_sides import ONE, V9, Scene, random_actions, scene, stepping
from tests.benchmarks.pairs import alternate, share_of_peer, times_better, worst

ENVS = 64
# What a plan would take: enough environments to keep two threads busy.
PLANNED, THREADS = 1024, 2
PAIRS = 5
PER_ENV = "nanoseconds per environment step"

Figures = Iterator[Mapping[str, Any]]


def run() -> Figures:
    """Yield the figures called `env.`."""
    v9 = scene(V9)
    yield from _against_processes(v9)
    yield from _against_one_symbol()
    yield _scalar(v9)
    yield _by_value(v9)
    yield _threads(v9)
    yield _growth(v9)


def _against_processes(v9: Scene) -> Figures:
    """Yield the figures whose peers are 64 scalar environments, in processes or in this one."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLOUTOS_HOME"] = home
        with SharedDataManager(save_panel(v9.panel)) as owner:
            make = functools.partial(TradingEnv, owner.ref, EnvConfig(), v9.rows, v9.scaler)
            workers = SubprocVecEnv([make] * ENVS)
            try:
                _check_same(workers, v9)
                peer = stepping(workers.step, random_actions(40, ENVS, 15))
                what = f"{PER_ENV}, by value, V9 shape; peer: SB3 SubprocVecEnv({ENVS})"
                yield _vec_figure("env.vs_subproc", v9, peer, what)
                what += " by value, ours by reference"
                yield _vec_figure("env.vs_subproc_ref", v9, peer, what, by_reference=True)
            finally:
                workers.close()
            yield _vs_async(v9, make)
    dummy = DummyVecEnv([functools.partial(TradingEnv, v9.panel, None, v9.rows, v9.scaler)] * ENVS)
    _check_same(dummy, v9)
    peer = stepping(dummy.step, random_actions(40, ENVS, 15))
    what = f"{PER_ENV}, by value, V9 shape; peer: SB3 DummyVecEnv({ENVS})"
    yield _vec_figure("env.vs_dummy", v9, peer, what)


def _check_same(peer: VecEnv, v9: Scene) -> None:
    ours = v9.vec_env(ENVS)
    ours.seed(0)
    peer.seed(0)
    _require(np.array_equal(peer.reset(), ours.reset()), "both sides must observe the same")
    for action in random_actions(140, ENVS, 15):
        theirs, own = peer.step(action), ours.step(action)
        for received, expected in zip(theirs[:3], own[:3], strict=True):
            _require(np.array_equal(received, expected), "both sides must do the same")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(what)


def _vec_figure(
    name: str, one: Scene, peer: Callable[[], float], what: str, *, by_reference: bool = False
) -> Mapping[str, Any]:
    """Compare our SB3 front: with as many environments as the peer, and as planned."""
    figures = []
    n_symbols = one.panel.n_symbols
    for n_envs, n_threads in ((ENVS, 1), (PLANNED, THREADS)):
        env = one.vec_env(n_envs, n_threads, by_reference)
        ours = stepping(env.step, random_actions(200, n_envs, n_symbols))
        case = f"{n_envs} of ours in {n_threads} threads"
        figures.append(times_better(name, alternate(ours, peer, PAIRS), f"{what}; {case}"))
        env.close()
    return worst(figures)


def _vs_async(v9: Scene, make: Callable[[], TradingEnv]) -> Mapping[str, Any]:
    workers = gym.vector.AsyncVectorEnv(
        [make] * ENVS, shared_memory=True, context="forkserver", autoreset_mode="SameStep"
    )
    try:
        peer_first = workers.reset(seed=0)[0]
        figures = []
        peer = stepping(workers.step, random_actions(40, ENVS, 15))
        for n_envs, n_threads in ((ENVS, 1), (PLANNED, THREADS)):
            env = TradingVectorEnv(n_envs, v9.panel, None, v9.rows, v9.scaler, n_threads)
            first = env.reset(seed=0)[0][:ENVS]
            _require(np.array_equal(first, peer_first), "both sides must observe the same")
            ours = stepping(env.step, random_actions(200, n_envs, 15))
            detail = f"{PER_ENV}, by value, V9 shape; peer: gymnasium AsyncVectorEnv({ENVS})"
            case = f"{n_envs} of ours in {n_threads} threads"
            pairs = alternate(ours, peer, PAIRS)
            figures.append(times_better("env.vs_async", pairs, f"{detail}; {case}"))
            env.close()
        return worst(figures)
    finally:
        workers.close()


def _against_one_symbol() -> Figures:
    """Yield the figures whose peers are packages with environments of one symbol."""
    one = scene(ONE, 2521)
    prices = one.panel.prices[:, 0, 3].copy()
    features = np.nan_to_num(one.panel.features[:, 0]).copy()
    peers = {
        "env.vs_anytrading": (anytrading_env, 2),
        "env.vs_gym_trading_env": (gym_trading_env, 2),
    }
    for name, (factory, n_actions) in peers.items():
        env = DummyVecEnv([functools.partial(factory, prices, features)] * ENVS)
        env.reset()
        actions = np.random.default_rng(0).integers(0, n_actions, (40, ENVS, 1))
        peer = stepping(lambda action, env=env: env.step(action[:, 0]), actions)
        detail = f"{PER_ENV}, by value, 1 symbol, 87 features; peer in DummyVecEnv({ENVS})"
        yield _vec_figure(name, one, peer, detail)
        env.close()


def _scalar(v9: Scene) -> Mapping[str, Any]:
    """Compare one `TradingEnv` with the leanest environment in NumPy of the same observation."""
    batch = v9.batch(1)
    market = np.zeros((v9.panel.n_rows, batch.length), np.float32)
    for row in range(v9.rows.start, v9.rows.stop - 1):
        batch.move_to(row)
        market[row] = batch.outcome.observation[0]
    market = market[:, : batch.length - (4 + 4 * v9.panel.n_symbols)].copy()
    opens, closes = (np.ascontiguousarray(v9.panel.prices[:, :, at]) for at in (0, 3))
    rows = slice(v9.rows.start, v9.rows.stop)
    lean = MinimalEnv(market[rows], opens[rows], closes[rows], 126)
    ours = TradingEnv(v9.panel, None, v9.rows, v9.scaler)
    actions = random_actions(2000, 1, 15)[:, 0]
    pairs = alternate(_one_by_one(ours, actions), _one_by_one(lean, actions), 2 * PAIRS)
    detail = "nanoseconds per step of one environment, V9 shape; peer: the leanest one in NumPy"
    return share_of_peer("env.scalar", pairs, detail)


def _one_by_one(env: gym.Env[np.ndarray, np.ndarray], actions: np.ndarray) -> Callable[[], float]:
    env.reset(seed=0)

    def measure() -> float:
        taken = 0.0
        for action in actions:
            began = time.perf_counter()
            _, _, terminated, truncated, _ = env.step(action)
            taken += time.perf_counter() - began
            if terminated or truncated:
                env.reset()
        return taken * 1e9 / len(actions)

    measure()
    return measure


def _by_value(v9: Scene) -> Mapping[str, Any]:
    """Compare a whole step by value with NumPy's gather of the same rows, bytes per second."""
    figures = []
    # Real numbers: a matrix of zeros that nobody wrote is one page of memory, read again and again.
    shape = (v9.panel.n_rows, v9.batch(1).length)
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for n_envs in (64, 1024, 8192):
        batch = v9.batch(n_envs)
        actions = random_actions(max(4, 40_000 // n_envs), n_envs, 15)
        out = np.zeros((n_envs, batch.length), np.float32)

        def gather(_: np.ndarray, batch: Any = batch, out: np.ndarray = out) -> None:
            np.take(matrix, batch.episodes.row, axis=0, out=out, mode="clip")

        pairs = alternate(stepping(batch.step, actions), stepping(gather, actions), PAIRS)
        detail = f"{PER_ENV}, {n_envs} environments, one thread, V9 shape; peer: numpy.take"
        figures.append(times_better("env.by_value", pairs, detail))
    return worst(figures)


def _threads(v9: Scene) -> Mapping[str, Any]:
    figures = []
    for by_reference in (True, False):
        one, two = (v9.batch(4096, n, by_reference) for n in (1, 2))
        actions = random_actions(8, 4096, 15)
        pairs = alternate(stepping(two.step, actions), stepping(one.step, actions), 2 * PAIRS)
        how = "by reference" if by_reference else "by value"
        detail = f"{PER_ENV}, 4,096 environments {how}, V9 shape; two threads against one"
        figures.append(times_better("env.threads", pairs, detail))
        two.close()
    return worst(figures)


def _growth(v9: Scene) -> Mapping[str, Any]:
    """Compare the cost per step of many environments with few, per symbol of many with one."""
    figures = []
    for by_reference in (True, False):
        few, many = v9.batch(64, 1, by_reference), v9.batch(65_536, 1, by_reference)
        pairs = alternate(
            stepping(many.step, random_actions(4, 65_536, 15)),
            stepping(few.step, random_actions(2000, 64, 15)),
            PAIRS,
        )
        how = "by reference" if by_reference else "by value"
        detail = f"{PER_ENV} {how}, V9 shape; 65,536 environments against 64"
        figures.append(share_of_peer("env.growth", pairs, detail))
    del few, many
    one, many = (scene({**V9, "symbols": n}, 400) for n in (1, 500))
    for by_reference in (True, False):
        peer = one.batch(256, 1, by_reference)
        ours = many.batch(256, 1, by_reference)
        wide = stepping(ours.step, random_actions(20, 256, 500))
        pairs = alternate(
            lambda wide=wide: wide() / 500,
            stepping(peer.step, random_actions(2000, 256, 1)),
            PAIRS,
        )
        how = "by reference" if by_reference else "by value"
        detail = f"{PER_ENV} and symbol {how}, 256 environments; 500 symbols against 1"
        figures.append(share_of_peer("env.growth", pairs, detail))
    return worst(figures)
