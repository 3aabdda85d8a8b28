"""Small learners over the small batches, and what belongs to them."""

import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

from ploutos.agent.checkpoint import save_checkpoint
from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.learner import build_learner
from ploutos.agent.learner_state import copy_parameters, take_snapshot
from ploutos.agent.progress import Progress
from ploutos.agent.vec_env import TradingVecEnv
from tests.agent.batches import batch_of

LEARNERS = [
    PPOConfig(n_epochs=2, net_arch=(8,)),
    RecurrentPPOConfig(n_epochs=2, net_arch=(8,), lstm_hidden_size=6),
]
STOCK = [(PPO, "MlpPolicy"), (RecurrentPPO, "MlpLstmPolicy")]
MEMBER = "a" * 64
N_ENVS, N_STEPS = 4, 16
ROLLOUT = N_ENVS * N_STEPS


def fresh(learner, seed=0, **config):
    """Return an untrained learner over four environments, and their batch."""
    torch.set_num_threads(1)  # as members have it; two would wait for each other here
    batch = batch_of(N_ENVS, **({"episode_bars": 11} | config))
    return build_learner(batch, learner, (N_STEPS, 32), seed), batch


def trained(learner, rollouts=1, seed=0, **config):
    """Return a learner that has learned from some rollouts, and its batch."""
    model, batch = fresh(learner, seed, **config)
    model.learn(rollouts * ROLLOUT)
    return model, batch


def stock(kind, batch_size=32, rollouts=1):
    """Return a learner of the libraries themselves, one epoch per update, and its batch."""
    torch.set_num_threads(1)
    algorithm, policy = kind
    batch = batch_of(N_ENVS, episode_bars=11)
    model = algorithm(
        policy,
        VecMonitor(TradingVecEnv(batch)),
        n_steps=N_STEPS,
        batch_size=batch_size,
        n_epochs=1,
        policy_kwargs={"net_arch": [8]},
        seed=0,
        device="cpu",
    )
    model.learn(rollouts * ROLLOUT)
    return model, batch


def progress_of(model):
    """Return a progress with everything in it, as of a member after two checks."""
    return Progress(2, 1, 0.25, copy_parameters(model), 3.5, 0)


def save(folder, model, batch, progress=None, member=MEMBER):
    """Write a checkpoint of a learner as it stands; return its generation."""
    snapshot = take_snapshot(model, batch, progress or progress_of(model))
    return save_checkpoint(folder, member, snapshot)


class SaveAt(BaseCallback):
    """Saves a checkpoint before the rollout that begins after so many steps."""

    def __init__(self, folder, batch, steps):
        super().__init__()
        self.folder, self.batch, self.steps = folder, batch, steps

    def _on_rollout_start(self):
        if self.model.num_timesteps == self.steps:
            save(self.folder, self.model, self.batch)

    def _on_step(self):
        return True
