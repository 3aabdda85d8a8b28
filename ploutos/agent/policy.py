"""Policies: what maps observation to action, and how they lie on disk.

In: a network and a scaler. Out: a folder (safetensors + JSON manifest), and an object that acts.
A folder holds no pickle: loading one from a stranger cannot run code.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from pydantic import Field
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from ploutos.agent.config import Algo, PPOConfig, RecurrentPPOConfig
from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.agent.tensors import load_tensors, save_tensors
from ploutos.config import FrozenConfig
from ploutos.env.account import Accounts, observe
from ploutos.env.market import Market
from ploutos.env.observe import observation_length
from ploutos.env.scaler import Scaler, scaler_arrays, scaler_from_arrays
from ploutos.errors import PolicyError
from ploutos.panel import PanelMeta
from ploutos.store import new_folder, read_json, write_json

State = Any


class PolicyManifest(FrozenConfig):
    """Where a policy comes from and what it fits."""

    algo: Algo = Field(description="Algorithm that trained it.")
    fold: int = Field(description="Index of its fold.")
    seed: int = Field(description="Random seed.")
    run_id: str = Field(description="Run that trained it.")
    learner: PPOConfig | RecurrentPPOConfig = Field(description="Hyper-parameters.")
    symbols: tuple[str, ...] = Field(description="Symbols, in the order of the actions.")
    catalog_digest: str = Field(description="Digest of the feature catalog it was trained on.")
    observation_length: int = Field(description="D, the length of its observation.")
    timesteps: int = Field(description="Environment steps it was trained for.")
    steps_per_s: float = Field(description="Training speed, environment steps per second.")
    selection_score: float | None = Field(description="Log growth on its validation rows.")
    train_start: int = Field(description="First training row.")
    train_stop: int = Field(description="Row after the last training row.")
    code_digest: str = Field(description="Digest of the code that trained it.")


class Actor(Protocol):
    """Anything that decides: a trained policy, a committee."""

    def act(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the action (N,) int64 of account `e` at `row`, and the state to pass next time.

        A state of None starts anew.
        """
        ...


class Policy:
    """One trained network with its scaler. Acts deterministically: the likeliest action."""

    def __init__(
        self, network: ActorCriticPolicy, scaler: Scaler, manifest: PolicyManifest
    ) -> None:
        self.network = network
        self.scaler = scaler
        self.manifest = manifest

    def probabilities(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the (N, 3) probabilities of hold, buy, sell, and the next LSTM state."""
        observation = np.zeros(observation_length(market), np.float32)
        if observation.size != self.manifest.observation_length:
            raise PolicyError(
                f"expected observations of length {self.manifest.observation_length} as in "
                f"training, received {observation.size}. The policy does not fit this block."
            )
        observe(market, self.scaler, accounts, e, row, observation)
        with torch.no_grad():
            distribution, state = self._distribution(torch.from_numpy(observation)[None], state)
        heads = distribution.distribution
        return np.stack([head.probs[0].double().numpy() for head in heads]), state  # (N, 3)

    def act(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the likeliest action (N,) int64 and the next state."""
        probabilities, state = self.probabilities(market, accounts, e, row, state)
        return probabilities.argmax(axis=1).astype(np.int64), state

    def _distribution(
        self, observation: torch.Tensor, state: State
    ) -> tuple[MultiCategoricalDistribution, State]:
        if not isinstance(self.network, RecurrentActorCriticPolicy):
            return _multi_categorical(self.network.get_distribution(observation)), None
        lstm_state, start = state, torch.zeros(1)
        if lstm_state is None:
            shape = (self.network.lstm_actor.num_layers, 1, self.network.lstm_actor.hidden_size)
            lstm_state, start = (torch.zeros(shape), torch.zeros(shape)), torch.ones(1)
        found, lstm_state = self.network.get_distribution(observation, lstm_state, start)
        return _multi_categorical(found), lstm_state


class Committee:
    """Several policies that act as one: their probabilities are averaged, the likeliest wins."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        if not policies:
            raise PolicyError("expected at least one policy in a committee, received none.")
        self.policies = tuple(policies)

    def act(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the action (N,) int64 of the mean probabilities and the members' states."""
        states = state if state is not None else (None,) * len(self.policies)
        results = [
            policy.probabilities(market, accounts, e, row, member_state)
            for policy, member_state in zip(self.policies, states, strict=True)
        ]
        mean = np.mean([probabilities for probabilities, _ in results], axis=0)  # (N, 3)
        return mean.argmax(axis=1).astype(np.int64), tuple(state for _, state in results)


def build_network(manifest_learner: PPOConfig, length: int, n_symbols: int) -> ActorCriticPolicy:
    """Build an untrained network of the shape that the learner config describes."""
    spaces = (
        gym.spaces.Box(-np.inf, np.inf, (length,), np.float32),
        gym.spaces.MultiDiscrete([3] * n_symbols),
    )
    arguments = policy_arguments(manifest_learner)
    if isinstance(manifest_learner, RecurrentPPOConfig):
        return OneCallLstmPolicy(*spaces, lambda _: 0.0, **arguments)
    return ActorCriticPolicy(*spaces, lambda _: 0.0, **arguments)


def policy_arguments(learner: PPOConfig) -> dict[str, Any]:
    """Return SB3's `policy_kwargs` for a learner config."""
    arguments: dict[str, Any] = {"net_arch": list(learner.net_arch)}
    if isinstance(learner, RecurrentPPOConfig):
        arguments["lstm_hidden_size"] = learner.lstm_hidden_size
    return arguments


def save_policy(
    folder: Path, parameters: dict[str, torch.Tensor], scaler: Scaler, manifest: PolicyManifest
) -> None:
    """Write a policy folder in one rename: `policy.safetensors`, `manifest.json`."""
    with new_folder(folder) as temporary:
        tensors = {f"network.{name}": value for name, value in parameters.items()}
        tensors |= {name: torch.from_numpy(a) for name, a in scaler_arrays(scaler).items()}
        digest = save_tensors(temporary / "policy.safetensors", tensors)
        write_json(
            temporary / "manifest.json",
            {"policy_digest": digest, **manifest.model_dump(mode="json")},
        )


def load_policy(folder: Path) -> Policy:
    """Load a policy folder for acting.

    Raises
    ------
    PolicyError
        If a file is missing, does not have the digest in the manifest, or does not fit.
    """
    if not (folder / "manifest.json").is_file():
        raise PolicyError(f"expected a policy folder with a manifest.json at {folder}.")
    listed = read_json(folder / "manifest.json")
    digest = listed.pop("policy_digest", None)
    try:
        manifest = PolicyManifest.model_validate(listed)
    except ValueError as error:
        raise PolicyError(f"expected a policy manifest in {folder}: {error}") from error
    tensors = load_tensors(folder / "policy.safetensors", digest)
    network = build_network(manifest.learner, manifest.observation_length, len(manifest.symbols))
    parameters = {
        name.removeprefix("network."): value
        for name, value in tensors.items()
        if name.startswith("network.")
    }
    try:
        network.load_state_dict(parameters)
    except RuntimeError as error:
        raise PolicyError(f"the parameters in {folder} do not fit its manifest: {error}") from error
    network.set_training_mode(False)
    scaler = scaler_from_arrays({name: value.numpy() for name, value in tensors.items()})
    return Policy(network, scaler, manifest)


def check_fits(manifest: PolicyManifest, meta: PanelMeta) -> None:
    """Refuse a policy on a panel with other symbols or another feature catalog.

    Raises
    ------
    PolicyError
        If they differ.
    """
    expected = (manifest.symbols, manifest.catalog_digest)
    received = (meta.symbols, meta.catalog_digest)
    if expected != received:
        raise PolicyError(
            f"expected a panel with symbols {expected[0]} and catalog {expected[1][:12]}, "
            f"received {received[0]} and {received[1][:12]}. Train again on this panel."
        )


def _multi_categorical(distribution: Any) -> MultiCategoricalDistribution:
    if not isinstance(distribution, MultiCategoricalDistribution):
        raise PolicyError(f"expected per-symbol actions, received {type(distribution).__name__}.")
    return distribution
