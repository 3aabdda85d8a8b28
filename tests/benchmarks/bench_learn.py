"""How long learning takes to get somewhere, against SB3's PPO with its defaults.

The market is synthetic, of one symbol with a planted signal (`tests.agent.planted`). A policy has
arrived when it earns, on rows that it was not trained on and after costs, 80 % of what the optimal
rule earns there. It is scored before every rollout, while the clock stands still.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from ploutos.agent.config import PPOConfig
from tests.agent.planted import COST_BPS, STRETCH_BARS, Planted, ScalarEnv
from tests.benchmarks.pairs import Pairs, times_better
from tests.benchmarks.planned import planned
from tests.benchmarks.ppo_sides import PEER_ENVS, silent

DRIFT_PER_BAR = 0.004
ENOUGH = 0.8
LONGEST_S = 600.0
SEEDS = 5
LEARNER = PPOConfig(ent_coef=0.0)

Figures = Iterator[Mapping[str, Any]]


def run() -> Figures:
    """Yield the figures called `learn.`."""
    yield _time_to_score(Planted(DRIFT_PER_BAR))


class Clock(BaseCallback):
    """Ends training when the policy is good enough, or the time is over; scores are not timed."""

    def __init__(self, scene: Planted) -> None:
        super().__init__()
        self.scene, self.seconds, self.has_arrived = scene, 0.0, False
        self._since = time.perf_counter()

    def _on_training_start(self) -> None:
        self._since = time.perf_counter()

    def _on_rollout_start(self) -> None:
        self.seconds += time.perf_counter() - self._since
        if self.model.num_timesteps:
            self.has_arrived = self.scene.score(self.model) >= ENOUGH
        self._since = time.perf_counter()

    def _on_step(self) -> bool:
        lasted = self.seconds + time.perf_counter() - self._since
        return not self.has_arrived and lasted < LONGEST_S


def _seconds_to_score(scene: Planted, model: Any) -> float:
    clock = Clock(scene)
    model.learn(100_000_000, callback=clock)
    return clock.seconds if clock.has_arrived else LONGEST_S


def _time_to_score(scene: Planted) -> Mapping[str, Any]:
    torch.set_num_threads(1)
    kind, envs = _faster(scene)
    peers, ours = [], []
    try:
        for seed in range(SEEDS):
            peer = silent(stable_baselines3.PPO("MlpPolicy", envs, seed=seed, device="cpu"))
            peers.append(_seconds_to_score(scene, peer))
            ours.append(_seconds_to_score(scene, planned(scene, LEARNER, seed=seed)[0]))
    finally:
        envs.close()
    arrived = sum(seconds < LONGEST_S for seconds in peers)
    detail = (
        f"seconds until {ENOUGH:.0%} of the optimum's growth on unseen rows; one symbol, signal of "
        f"{DRIFT_PER_BAR} per bar, costs of {COST_BPS} basis points, {len(scene.rows)} training "
        f"rows; ours as planned; peer: SB3 PPO's defaults over {kind}({PEER_ENVS}), arrived in "
        f"{arrived} of {SEEDS} seeds; seconds of peer {_rounded(peers)}, ours {_rounded(ours)}; "
        f"scoring ({STRETCH_BARS}-bar stretches) is not timed; the value is the ratio of medians"
    )
    ratio = sorted(peers)[SEEDS // 2] / sorted(ours)[SEEDS // 2]
    figure = times_better("learn.time_to_score", Pairs(ours, peers), detail)
    return {**figure, "value": round(ratio, 3), "detail": detail}


def _rounded(seconds: list[float]) -> list[float]:
    return [round(one, 2) for one in seconds]


def _faster(scene: Planted) -> tuple[str, DummyVecEnv | SubprocVecEnv]:
    """Return the quicker of SB3's two ways to step our scalar environment."""
    make = ScalarEnv(scene)
    kinds: list[Callable[..., Any]] = [DummyVecEnv, SubprocVecEnv]
    timed = []
    for kind in kinds:
        envs = kind([make] * PEER_ENVS)
        model = silent(stable_baselines3.PPO("MlpPolicy", envs, n_steps=256, device="cpu"))
        began = time.perf_counter()
        model.learn(PEER_ENVS * 256)
        timed.append((time.perf_counter() - began, kind.__name__, envs))
    (_, name, chosen), (_, _, other) = sorted(timed, key=lambda one: one[0])
    other.close()
    return name, chosen
