"""Policies for others. In: a policy folder. Out: a `.zip` as Stable-Baselines3 saves and loads it.

    PPO.load("policy.zip").predict(observation, deterministic=True)

The observation is the one by value, scaled as `ploutos.env` gives it; the scaler stays in the
policy folder. A policy with an encoder needs `ploutos` where it is loaded, others do not.
Loading such a file runs whatever its pickles say, so this project never loads one.
"""

# SB3 has no public names for building an algorithm without an environment.
# pyright: reportPrivateUsage=false

import io
from collections.abc import Callable
from pathlib import Path

from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.learner import hyper_parameters
from ploutos.agent.policy import layout_of_manifest, load_policy, policy_arguments
from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.store import write_atomic

# Only training reads them, and this policy is trained.
N_ENVS, N_STEPS = 1, 8
# The library's own policy: ours has the same parameters and differs in speed alone.
_POLICIES: dict[type[ActorCriticPolicy], type[ActorCriticPolicy]] = {
    OneCallLstmPolicy: RecurrentActorCriticPolicy
}


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
    learner, network = policy.manifest.learner, policy.network
    model = _algorithm(learner)(
        _POLICIES.get(type(network), type(network)),
        None,  # no environment, as SB3's own `load` does
        n_steps=N_STEPS,
        batch_size=N_STEPS,
        policy_kwargs=policy_arguments(learner, layout=layout_of_manifest(policy.manifest)),
        device="cpu",
        _init_setup_model=False,
        **hyper_parameters(learner),
    )
    model.observation_space = network.observation_space
    model.action_space = network.action_space
    model.n_envs = N_ENVS
    model._setup_model()
    model.policy.load_state_dict(network.state_dict())
    model.num_timesteps = policy.manifest.timesteps
    stream = io.BytesIO()
    model.save(stream)
    write_atomic(file, stream.getvalue())


def _algorithm(learner: PPOConfig) -> Callable[..., PPO | RecurrentPPO]:
    """Return the library's own class: whoever reads the file may not have ours."""
    return RecurrentPPO if isinstance(learner, RecurrentPPOConfig) else PPO
