"""Policies for others. In: a policy folder. Out: a `.zip` as Stable-Baselines3 saves and loads it.

    PPO.load("policy.zip").predict(observation, deterministic=True)

The observation is the one by value, scaled as `ploutos.env` gives it; the scaler stays in the
policy folder. A policy with a `market_layer` needs `ploutos` where it is loaded, others do not.
Loading such a file runs whatever its pickles say, so this project never loads one.
"""

# SB3 has no public names for building an algorithm without an environment.
# pyright: reportPrivateUsage=false

import io
from pathlib import Path
from typing import Any

from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.policy import load_policy, policy_arguments
from ploutos.store import write_atomic

# Only training reads them, and this policy is trained.
N_ENVS, N_STEPS = 1, 8


def export_zip(folder: Path, file: Path) -> None:
    """Write the policy in `folder` as a file for `PPO.load` or `sb3_contrib.RecurrentPPO.load`.

    Raises
    ------
    PolicyError
        If the folder holds no whole policy.
    StoreError
        If the file cannot be written.
    """
    policy = load_policy(folder)
    learner = policy.manifest.learner
    model = _untrained(learner)
    model.observation_space = policy.network.observation_space
    model.action_space = policy.network.action_space
    model.n_envs = N_ENVS
    model._setup_model()
    model.policy.load_state_dict(policy.network.state_dict())
    model.num_timesteps = policy.manifest.timesteps
    stream = io.BytesIO()
    model.save(stream)
    write_atomic(file, stream.getvalue())


def _untrained(learner: PPOConfig) -> PPO | RecurrentPPO:
    arguments: dict[str, Any] = {
        "policy_kwargs": policy_arguments(learner),
        "learning_rate": learner.learning_rate,
        "n_steps": N_STEPS,
        "batch_size": N_STEPS,
        "n_epochs": learner.n_epochs,
        "gamma": learner.gamma,
        "gae_lambda": learner.gae_lambda,
        "clip_range": learner.clip_range,
        "ent_coef": learner.ent_coef,
        "vf_coef": learner.vf_coef,
        "max_grad_norm": learner.max_grad_norm,
        "device": "cpu",
        "_init_setup_model": False,
    }
    # The libraries' own policies: ours have the same parameters and differ in speed alone.
    if isinstance(learner, RecurrentPPOConfig):
        return RecurrentPPO(RecurrentActorCriticPolicy, None, **arguments)  # pyright: ignore[reportArgumentType] - without an environment, as SB3's own `load` does
    return PPO(ActorCriticPolicy, None, **arguments)  # pyright: ignore[reportArgumentType] - see above
