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
from stable_baselines3.common.distributions import (
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy

from ploutos.agent.config import Algo, PPOConfig, RecurrentPPOConfig, SymbolEncoder
from ploutos.agent.encoders.symbol_policy import SymbolOrders, SymbolPolicy
from ploutos.agent.extractor import extractor_arguments
from ploutos.agent.market_rows import Layout, MarketSource, layout_of_length
from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.agent.tensors import load_tensors, save_tensors
from ploutos.config import FrozenConfig
from ploutos.env.account import Accounts
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import observe
from ploutos.env.market import Market
from ploutos.env.observe import observation_length
from ploutos.env.scaler import Scaler, scaler_arrays, scaler_from_arrays, scaling_of
from ploutos.env.setup import action_space, setup_of
from ploutos.errors import PolicyError
from ploutos.folds import Rows
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
    observation_length: int = Field(description="D, the length of its observation by value.")
    n_features: int | None = Field(
        default=None,
        description="F, features per symbol; a policy with a symbol or window encoder needs it.",
    )
    env: EnvConfig = Field(
        default=EnvConfig(),
        description="The episode it was trained in; acting needs its window and its actions.",
    )
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
        """Return the action of account `e` at `row`, and the state to pass next time.

        The action is (N,): int64 orders, or float64 target weights. A state of None starts anew.
        """
        ...


class Policy:
    """One trained network with its scaler. Acts deterministically, and observes by value.

    A network that was trained by reference has the same parameters as one that observes by value.
    """

    def __init__(
        self, network: ActorCriticPolicy, scaler: Scaler, manifest: PolicyManifest
    ) -> None:
        self.network = network
        self.scaler = scaler
        self.manifest = manifest
        by_value = manifest.env.model_copy(update={"by_reference": False})
        # Of the setup only the window matters here; the rows could be any.
        self._setup = setup_of(by_value, Rows(start=0, stop=2))
        n_symbols = (network.action_space.shape or (0,))[0]
        self._scaling = scaling_of(scaler, n_symbols)
        self._observation = np.zeros(manifest.observation_length, np.float32)
        self._room = np.zeros((2, 1))

    def preferences(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return what the policy would do, and the next LSTM state.

        Of a policy that orders, (N, 3) float64: the probabilities of hold, buy, sell. Of one that
        sets weights, (N,) float64: the mean target weights, within the bounds of the action space.

        Raises
        ------
        PolicyError
            If the market has another shape than the one that the policy was trained on.
        """
        length = observation_length(market, self.manifest.env.window_bars)
        if length != self._observation.size:
            raise PolicyError(
                f"expected observations of length {self._observation.size} as in training, "
                f"received {length}. The policy does not fit this block."
            )
        out = (self._observation, self._room)
        observe((market, self._scaling), accounts, (e, row), self._setup, out)
        with torch.no_grad():
            observation = torch.from_numpy(self._observation)[None]  # (D,) -> (1, D)
            distribution, state = self._distribution(observation, state)
        if isinstance(distribution, SymbolOrders):
            return distribution.distribution.probs[0].double().numpy(), state  # (N, 3)
        if isinstance(distribution, MultiCategoricalDistribution):
            heads = distribution.distribution
            return np.stack([head.probs[0].double().numpy() for head in heads]), state  # (N, 3)
        if isinstance(distribution, DiagGaussianDistribution):
            space = self.network.action_space
            mean = distribution.distribution.mean[0].double().numpy()
            # As SB3 clips what it sends to the environment: the account shows its last action.
            return np.clip(mean, space.low, space.high), state  # pyright: ignore[reportAttributeAccessIssue] - a Box
        raise PolicyError(f"expected orders or weights, received {type(distribution).__name__}.")

    def act(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the likeliest order (N,) int64 or the mean weight (N,) float64, and the state."""
        preferences, state = self.preferences(market, accounts, e, row, state)
        return _action_of(preferences), state

    def _distribution(self, observation: torch.Tensor, state: State) -> tuple[Distribution, State]:
        if not isinstance(self.network, RecurrentActorCriticPolicy):
            return self.network.get_distribution(observation), None
        lstm_state, start = state, torch.zeros(1)
        if lstm_state is None:
            shape = (self.network.lstm_actor.num_layers, 1, self.network.lstm_actor.hidden_size)
            lstm_state, start = (torch.zeros(shape), torch.zeros(shape)), torch.ones(1)
        return self.network.get_distribution(observation, lstm_state, start)


class Committee:
    """Several policies that act as one: their probabilities, or their weights, are averaged."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        if not policies:
            raise PolicyError("expected at least one policy in a committee, received none.")
        kinds = {policy.manifest.env.portfolio.actions.kind for policy in policies}
        if len(kinds) > 1:
            raise PolicyError(
                f"expected policies with one kind of action in a committee, received "
                f"{sorted(kinds)}: orders and weights have no mean."
            )
        self.policies = tuple(policies)

    def act(
        self, market: Market, accounts: Accounts, e: int, row: int, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the action (N,) of the mean preferences and the members' states."""
        states = state if state is not None else (None,) * len(self.policies)
        results = [
            policy.preferences(market, accounts, e, row, member_state)
            for policy, member_state in zip(self.policies, states, strict=True)
        ]
        mean = np.mean([preferences for preferences, _ in results], axis=0)  # (N, 3) or (N,)
        return _action_of(mean), tuple(state for _, state in results)


def _action_of(preferences: np.ndarray) -> np.ndarray:
    """Return the likeliest orders (N,) int64 of (N, 3) probabilities; weights (N,) as they are."""
    return preferences if preferences.ndim == 1 else preferences.argmax(axis=1).astype(np.int64)


def build_network(
    learner: PPOConfig,
    length: int,
    n_symbols: int,
    env: EnvConfig | None = None,
    n_features: int | None = None,
) -> ActorCriticPolicy:
    """Build an untrained network that observes by value.

    Parameters
    ----------
    learner : PPOConfig
        Its layers; the class chooses the algorithm.
    length : int
        D, of an observation by value.
    n_symbols : int
        N.
    env : EnvConfig, optional
        Its window, and what its actions are; default: one row, orders.
    n_features : int, optional
        F, features per symbol; symbol and window encoders need it.

    Raises
    ------
    PolicyError
        If the encoder needs `n_features` and has none, or it does not belong to the length.
    """
    env = env or EnvConfig()
    spaces = (
        gym.spaces.Box(-np.inf, np.inf, (length,), np.float32),
        action_space(env, n_symbols),
    )
    layout = None
    if n_features is not None:
        layout = layout_of_length(length, n_symbols, n_features, env.window_bars)
    arguments = policy_arguments(learner, layout=layout)
    return policy_class(learner)(*spaces, lambda _: 0.0, **arguments)


def policy_class(learner: PPOConfig) -> type[ActorCriticPolicy]:
    """Return the kind of network that a learner config describes."""
    if isinstance(learner, RecurrentPPOConfig):
        return OneCallLstmPolicy
    return SymbolPolicy if isinstance(learner.encoder, SymbolEncoder) else ActorCriticPolicy


def policy_arguments(
    learner: PPOConfig, source: MarketSource | None = None, layout: Layout | None = None
) -> dict[str, Any]:
    """Return SB3's `policy_kwargs` of a `policy_class` for a learner config.

    Parameters
    ----------
    learner : PPOConfig
        Its layers.
    source : MarketSource, optional
        What row numbers stand for, where observations come by reference.
    layout : Layout, optional
        Of the observations by value; symbol and window encoders need it.

    Raises
    ------
    PolicyError
        If observations come by reference and the learner has no encoder, or the encoder needs a
        layout and there is none.
    """
    arguments: dict[str, Any] = {"net_arch": list(learner.net_arch)}
    if learner.encoder is not None:
        arguments |= extractor_arguments(learner.encoder, source, layout)
    elif source is not None:
        raise PolicyError(
            "expected a learner with an encoder to observe by reference, received none. Set it, "
            "or observe by value."
        )
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
    network = _network_of(manifest)
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


def layout_of_manifest(manifest: PolicyManifest) -> Layout | None:
    """Return the layout of a policy's observations by value; None if its features are not told."""
    if manifest.n_features is None:
        return None
    return layout_of_length(
        manifest.observation_length,
        len(manifest.symbols),
        manifest.n_features,
        manifest.env.window_bars,
    )


def for_universe(policy: Policy, symbols: tuple[str, ...]) -> Policy:
    """Return a policy with the same parameters for other symbols of the same feature catalog.

    Its manifest names the new symbols: `check_fits` lets it trade a panel of exactly these. It is
    for looking at, or for training on, a universe that the policy has not seen; nothing says that
    what it learned holds there.

    Raises
    ------
    PolicyError
        If the policy's parameters belong to its symbols: only those of a symbol encoder do not.
    """
    manifest = policy.manifest
    layout = layout_of_manifest(manifest)
    if not isinstance(manifest.learner.encoder, SymbolEncoder) or layout is None:
        raise PolicyError(
            f"expected a policy with a symbol encoder to move to {len(symbols)} symbols, received "
            f"{manifest.learner.encoder!r}: its parameters belong to {manifest.symbols}."
        )
    length = layout._replace(n_symbols=len(symbols)).length
    manifest = manifest.model_copy(update={"symbols": symbols, "observation_length": length})
    network = _network_of(manifest)
    network.load_state_dict(policy.network.state_dict())
    network.set_training_mode(False)
    return Policy(network, policy.scaler, manifest)


def _network_of(manifest: PolicyManifest) -> ActorCriticPolicy:
    """Build the network that a manifest describes, with untrained parameters."""
    return build_network(
        manifest.learner,
        manifest.observation_length,
        len(manifest.symbols),
        manifest.env,
        manifest.n_features,
    )


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
