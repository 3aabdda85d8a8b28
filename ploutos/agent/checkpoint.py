"""Everything a learner needs to go on as if it had not stopped. In: a learner. Out: a folder.

Taken between rollouts: parameters, Adam's moments, counters, the random states of torch, numpy and
every environment, accounts, running episodes, LSTM states, the best parameters so far. Files are
written under a new name and one pointer is replaced last, so a kill leaves a whole checkpoint.
"""

# SB3 has no public names for the state of its training loop.
# pyright: reportPrivateUsage=false

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from ploutos.agent.learner import Learner
from ploutos.agent.ppo import PPO
from ploutos.agent.tensors import load_tensors, save_tensors
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env.batch import Batch
from ploutos.errors import CheckpointError, PolicyError, StoreError
from ploutos.store import read_json, write_json

Tensors = dict[str, torch.Tensor]


@dataclass
class Progress:
    """How far a member is: checks done, best score so far and its parameters."""

    checks_done: int = 0
    best_score: float | None = None
    best_parameters: Tensors | None = None
    trained_s: float = 0.0


def save_checkpoint(folder: Path, model: Learner, batch: Batch, progress: Progress) -> None:
    """Write a checkpoint of `model` at a rollout boundary; older ones are removed afterwards."""
    name = f"steps-{model.num_timesteps:012d}"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _prefixed("policy.", _parameters(model))
    tensors |= _prefixed("adam.", _adam_tensors(model))
    tensors |= _prefixed("batch.", _batch_tensors(batch))
    tensors |= _prefixed("loop.", _loop_tensors(model))
    tensors |= _prefixed("best.", progress.best_parameters or {})
    algorithm, _, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - SB3 shuffles with the global generator
    digest = save_tensors(folder / f"{name}.safetensors", tensors)
    write_json(
        folder / "checkpoint.json",
        {
            "file": f"{name}.safetensors",
            "digest": digest,
            "num_timesteps": model.num_timesteps,
            "n_updates": model._n_updates,
            "random": model.random.bit_generator.state if isinstance(model, PPO) else None,
            "numpy_random": [algorithm, int(position), int(has_gauss), float(cached)],
            "checks_done": progress.checks_done,
            "best_score": progress.best_score,
            "trained_s": progress.trained_s,
        },
    )
    for old in folder.glob("steps-*.safetensors"):
        if old.name != f"{name}.safetensors":
            old.unlink()


def load_checkpoint(folder: Path, model: Learner, batch: Batch) -> Progress | None:
    """Put `model` and `batch` back to the checkpoint in `folder`; None if there is none.

    Raises
    ------
    CheckpointError
        If the checkpoint is corrupt or belongs to another shape of model.
    """
    if not (folder / "checkpoint.json").is_file():
        return None
    try:
        listed = read_json(folder / "checkpoint.json")
        tensors = load_tensors(folder / str(listed["file"]), listed["digest"])
        model.policy.load_state_dict(_with_prefix(tensors, "policy."))
        _set_adam(model, _with_prefix(tensors, "adam."))
        _set_batch(batch, _with_prefix(tensors, "batch."))
        _set_loop(model, _with_prefix(tensors, "loop."), listed["numpy_random"])
    except (PolicyError, StoreError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint in {folder} cannot be used: {error}. Delete the folder to start the "
            "member anew."
        ) from error
    if isinstance(model, PPO):
        model.random.bit_generator.state = listed["random"]
    model.num_timesteps = int(listed["num_timesteps"])
    model._n_updates = int(listed["n_updates"])
    return Progress(
        checks_done=int(listed["checks_done"]),
        best_score=listed["best_score"],
        best_parameters=_with_prefix(tensors, "best.") or None,
        trained_s=float(listed["trained_s"]),
    )


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished member."""
    shutil.rmtree(folder, ignore_errors=True)


def copy_parameters(model: Learner) -> Tensors:
    """Return a copy of the policy's parameters."""
    return {name: value.detach().clone() for name, value in _parameters(model).items()}


def _parameters(model: Learner) -> Tensors:
    return dict(model.policy.state_dict())


def _adam_tensors(model: Learner) -> Tensors:
    found: Tensors = {}
    for index, values in model.policy.optimizer.state_dict()["state"].items():
        found |= {f"{index}.{key}": torch.as_tensor(value) for key, value in values.items()}
    return found


def _set_adam(model: Learner, tensors: Tensors) -> None:
    whole = model.policy.optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    whole["state"] = state
    model.policy.optimizer.load_state_dict(whole)


def _batch_arrays(batch: Batch) -> dict[str, np.ndarray]:
    arrays = {f"accounts.{name}": value for name, value in batch.accounts._asdict().items()}
    arrays |= {f"episodes.{name}": value for name, value in batch.episodes._asdict().items()}
    return arrays


def _batch_tensors(batch: Batch) -> Tensors:
    return {name: torch.from_numpy(_signed(a)) for name, a in _batch_arrays(batch).items()}


def _set_batch(batch: Batch, tensors: Tensors) -> None:
    for name, array in _batch_arrays(batch).items():
        _signed(array)[...] = tensors[name].numpy()


def _signed(array: np.ndarray) -> np.ndarray:
    """View unsigned 64-bit seeds as signed ones: safetensors' torch side lacks the unsigned."""
    return array.view(np.int64) if array.dtype == np.uint64 else array


def _monitor(model: Learner) -> TradingVecEnv:
    if not isinstance(model.env, TradingVecEnv):
        raise PolicyError("expected a learner over TradingVecEnv; build it with build_learner.")
    return model.env


def _loop_tensors(model: Learner) -> Tensors:
    monitor = _monitor(model)
    _, keys, *_ = np.random.get_state(legacy=True)  # noqa: NPY002 - see save_checkpoint
    tensors = {
        "observation": torch.from_numpy(np.asarray(model._last_obs)),
        "episode_starts": torch.from_numpy(np.asarray(model._last_episode_starts)),
        "episode_returns": torch.from_numpy(monitor.episode_returns),
        "episode_lengths": torch.from_numpy(monitor.episode_lengths),
        "torch_random": torch.get_rng_state(),
        "numpy_random": torch.from_numpy(np.asarray(keys, np.uint32).view(np.int32)),
    }
    states = getattr(model, "_last_lstm_states", None)
    if isinstance(states, RNNStates):
        pairs = (*states.pi, *states.vf)
        tensors |= {f"lstm.{number}": value for number, value in enumerate(pairs)}
    return tensors


def _set_loop(model: Learner, tensors: Tensors, numpy_random: list[Any]) -> None:
    monitor = _monitor(model)
    model._last_obs = tensors["observation"].numpy()
    model._last_episode_starts = tensors["episode_starts"].numpy()
    monitor.episode_returns = tensors["episode_returns"].numpy().copy()
    monitor.episode_lengths = tensors["episode_lengths"].numpy().copy()
    torch.set_rng_state(tensors["torch_random"])
    algorithm, position, has_gauss, cached = numpy_random
    keys = tensors["numpy_random"].numpy().view(np.uint32)
    np.random.set_state((algorithm, keys, position, has_gauss, cached))  # noqa: NPY002 - see save_checkpoint
    if "lstm.0" in tensors:
        pi, vf = (tensors["lstm.0"], tensors["lstm.1"]), (tensors["lstm.2"], tensors["lstm.3"])
        model._last_lstm_states = RNNStates(pi, vf)  # pyright: ignore[reportAttributeAccessIssue]


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
