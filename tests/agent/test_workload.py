"""Sizes of members against the networks, buffers and processes themselves."""

import threading

import gymnasium as gym
import numpy as np
import psutil
import pytest
from pydantic import ValidationError
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from stable_baselines3.common.buffers import RolloutBuffer

from ploutos.agent.config import (
    PPOConfig,
    RecurrentPPOConfig,
    RowEncoder,
    SymbolEncoder,
    TrainConfig,
    WindowEncoder,
)
from ploutos.agent.policy import build_network
from ploutos.agent.train import load_run, start_run, train_run
from ploutos.agent.workload import (
    AlgoSizes,
    BlockShape,
    Job,
    block_shape,
    jobs_of,
    multiply_adds,
    parameter_count,
    rollout_bytes,
)
from ploutos.env.config import EnvConfig
from ploutos.env.observe import account_length, observation_length
from ploutos.folds import FoldConfig, split
from ploutos.panel import save_panel
from ploutos.portfolio.config import PortfolioConfig, WeightActions
from tests.memory import private_bytes
from tests.panels import random_panel

BLOCK = BlockShape(
    n_bytes=2**20, n_rows=1500, n_symbols=3, row_values=25, macro_values=4, window_bars=4
)
LENGTH = 4 * 25 + account_length(3)
SIZES = AlgoSizes(n_envs=6, n_steps=10, batch_size=20)


def job(learner, **more):
    algo = "RecurrentPPO" if isinstance(learner, RecurrentPPOConfig) else "PPO"
    return Job(algo=algo, learner=learner, n_members=1, **more)


LEARNERS = [
    PPOConfig(),
    PPOConfig(net_arch=()),
    PPOConfig(net_arch=(32, 16, 8), encoder=RowEncoder(width=5)),
    PPOConfig(net_arch=(9,), encoder=SymbolEncoder(width=6, layers=3)),
    PPOConfig(net_arch=(9,), encoder=WindowEncoder(channels=3, width=8)),
    RecurrentPPOConfig(lstm_hidden_size=7, net_arch=(6,)),
    RecurrentPPOConfig(lstm_hidden_size=7, net_arch=(), encoder=RowEncoder(width=5)),
]


@pytest.mark.parametrize("learner", LEARNERS)
def test_parameters_are_those_of_the_network(learner):
    network = build_network(learner, LENGTH, 3, EnvConfig(window_bars=4), 6)
    assert parameter_count(BLOCK, job(learner)) == sum(p.numel() for p in network.parameters())


def test_parameters_of_a_policy_of_weights_are_counted_a_few_too_many():
    weights = EnvConfig(portfolio=PortfolioConfig(actions=WeightActions()))
    network = build_network(PPOConfig(), LENGTH, 3, weights)
    exact = sum(p.numel() for p in network.parameters())
    assert exact < parameter_count(BLOCK, job(PPOConfig())) < 1.1 * exact


@pytest.mark.parametrize("by_reference", [False, True])
def test_rollout_has_the_bytes_of_the_buffers_arrays(by_reference):
    length = 1 + account_length(3) if by_reference else LENGTH
    spaces = gym.spaces.Box(-1, 1, (length,), np.float32), gym.spaces.MultiDiscrete([3] * 3)
    flat = RolloutBuffer(10, *spaces, n_envs=6)
    recurrent = RecurrentRolloutBuffer(10, *spaces, (10, 1, 6, 7), n_envs=6)
    learners = {PPOConfig(): flat, RecurrentPPOConfig(lstm_hidden_size=7): recurrent}
    for learner, buffer in learners.items():
        observations, rest = rollout_bytes(BLOCK, job(learner, by_reference=by_reference), SIZES)
        arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
        assert observations == buffer.observations.nbytes
        assert observations + rest == sum(array.nbytes for array in arrays)


def test_shared_rows_are_multiplied_once():
    # 4 x 25 market values and 16 of the account to 8; 8 to 9 actions and 1 value.
    learner = PPOConfig(encoder=RowEncoder(width=8), net_arch=())
    own = 16 * 8 + 8 + (9 * 8 + 9) + (8 + 1)
    sizes = AlgoSizes(n_envs=100, n_steps=40, batch_size=2000)
    assert multiply_adds(BLOCK, job(learner), sizes) == 2000 * (4 * 25 * 8 + own)
    by_reference = job(learner, by_reference=True)
    assert multiply_adds(BLOCK, by_reference, sizes) == 1500 * 4 * 25 * 8 + 2000 * own


def test_shape_of_a_block_is_that_of_its_panel():
    panel = random_panel(symbols=2, features=3, macro=2)
    folds = split(
        10, 200, FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60)
    )
    shape = block_shape(panel, 4096, folds, window_bars=5)
    # 2 x (3 features + 1 flag) + 2 x (value + flag).
    assert shape == BlockShape(
        n_bytes=4096,
        n_rows=folds[-1].train.stop - 10,
        n_symbols=2,
        row_values=12,
        macro_values=4,
        window_bars=5,
    )
    assert shape.window_values + account_length(2) == observation_length(panel, 5)


def test_jobs_count_the_members_of_all_algorithms():
    config = TrainConfig(seeds=(0, 1, 2))
    jobs = jobs_of(config, n_folds=4)
    assert {algo: one.n_members for algo, one in jobs.items()} == {"PPO": 24, "RecurrentPPO": 24}
    assert jobs["RecurrentPPO"].learner == config.recurrent_ppo


def test_minibatches_that_do_not_divide_the_rollout_are_refused():
    with pytest.raises(ValidationError, match="divide n_envs"):
        AlgoSizes(n_envs=16, n_steps=128, batch_size=300)


class Watch(threading.Thread):
    """Notes the most private memory that any member process has, as long as it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak_bytes, self.ended = 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                try:
                    if "spec.json" in " ".join(process.cmdline()):
                        self.peak_bytes = max(self.peak_bytes, private_bytes(process.pid))
                except (psutil.Error, OSError):
                    continue

    def stop(self):
        self.ended.set()
        self.join()
        return self.peak_bytes


@pytest.mark.parametrize("algo", ["PPO", "RecurrentPPO"])
def test_a_real_member_takes_less_memory_than_estimated_but_not_by_far(home, algo):
    config = TrainConfig(
        algos=(algo,),
        seeds=(0,),
        folds=FoldConfig(n_folds=1, test_bars=30, validation_bars=20, min_train_bars=60),
        ppo=PPOConfig(total_timesteps=4096, n_epochs=2),
        recurrent_ppo=RecurrentPPOConfig(total_timesteps=4096, n_epochs=2),
        selection_checks=1,
    )
    # An observation of 1,426 values, as of the document that this project began with.
    panel = random_panel(bars=400, symbols=15, features=85, macro=36)
    run_id = start_run(save_panel(panel), config)
    watch = Watch()
    watch.start()
    train_run(run_id)
    taken, estimated = watch.stop(), load_run(run_id).plans[algo].member_bytes
    # Of the estimate, 300 MiB are for compiling, which only a member without a cache does.
    assert 0.4 * estimated < taken < estimated
