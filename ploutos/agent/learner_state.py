"""All that a learner is between two rollouts. In: a learner, its batch. Out: a snapshot, and back.

Parameters, Adam's moments, counters, the random states of torch, numpy, the learner and every
environment, accounts, running episodes, LSTM states, the scaler, the best parameters so far.
"""

# SB3 has no public names for the state of its training loop.
# pyright: reportPrivateUsage=false

from typing import Any, NamedTuple

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates

from ploutos.agent.learner import Learner
from ploutos.agent.progress import MERSENNE_WORDS, Numbers, Progress
from ploutos.agent.tensors import Shape, Tensors, shapes_of
from ploutos.env.batch import Batch
from ploutos.env.scaler import scaler_arrays
from ploutos.errors import CheckpointError

ADAM_KEYS = ("step", "exp_avg", "exp_avg_sq")


class Snapshot(NamedTuple):
    """A learner at a rollout boundary. Nothing of it changes when the learner goes on."""

    numbers: Numbers
    tensors: Tensors


def take_snapshot(model: Learner, batch: Batch, progress: Progress) -> Snapshot:
    """Copy all that `model`, before a rollout, needs to go on as if it had not stopped."""
    adam = _adam_tensors(model)
    best = progress.best_parameters or {}
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - SB3 shuffles with the global generator
    own: np.random.Generator | None = getattr(model, "random", None)
    numbers = Numbers(
        num_timesteps=model.num_timesteps,
        n_updates=model._n_updates,
        adam=tuple(sorted({int(name.split(".")[0]) for name in adam})),
        lstm=_lstm_states(model) is not None,
        best=bool(best),
        numpy_position=int(legacy["state"]["pos"]),
        numpy_has_gauss=int(legacy["has_gauss"]),
        numpy_gauss=float(legacy["gauss"]),
        generator=None if own is None else dict(own.bit_generator.state),
        checks_done=progress.checks_done,
        checks_since_best=progress.checks_since_best,
        best_score=progress.best_score,
        trained_s=progress.trained_s,
        fallbacks=progress.fallbacks,
    )
    tensors = _prefixed("policy.", dict(model.policy.state_dict()))
    tensors |= _prefixed("adam.", adam)
    tensors |= _prefixed("batch.", _batch_tensors(batch))
    tensors |= _prefixed("loop.", _loop_tensors(model, legacy["state"]["key"]))
    tensors |= _scaler_tensors(batch)
    copied = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    return Snapshot(numbers, copied | _prefixed("best.", best))


def expected_shapes(numbers: Numbers, model: Learner, batch: Batch) -> dict[str, Shape]:
    """Return the tensors that a snapshot with these numbers has for this learner and batch.

    Raises
    ------
    CheckpointError
        If no snapshot of this learner has such numbers.
    """
    states = _lstm_states(model)
    received = (numbers.lstm, numbers.generator is not None)
    expected = (states is not None, getattr(model, "random", None) is not None)
    if received != expected:
        raise CheckpointError(
            f"expected (an LSTM, a generator of its own) = {expected}, received {received}: it is "
            "the checkpoint of another kind of learner."
        )
    policy = shapes_of(model.policy.state_dict())
    shapes = {f"policy.{name}": shape for name, shape in policy.items()}
    shapes |= {f"best.{name}": shape for name, shape in policy.items() if numbers.best}
    parameters = _adam_parameters(model)
    for index in numbers.adam:
        if not 0 <= index < len(parameters):
            raise CheckpointError(
                f"expected numbers of {len(parameters)} parameters, received {index}."
            )
        moment = Shape(parameters[index].dtype, tuple(parameters[index].shape))
        moments = (Shape(torch.float32, ()), moment, moment)
        shapes |= {f"adam.{index}.{key}": m for key, m in zip(ADAM_KEYS, moments, strict=True)}
    shapes |= {f"batch.{n}": shape for n, shape in shapes_of(_batch_tensors(batch)).items()}
    shapes |= shapes_of(_scaler_tensors(batch))
    n_envs = batch.n_envs
    shapes |= {
        "loop.observation": Shape(torch.float32, (n_envs, batch.length)),
        "loop.episode_starts": Shape(torch.bool, (n_envs,)),
        "loop.episode_returns": Shape(torch.float64, (n_envs,)),
        "loop.episode_lengths": Shape(torch.int64, (n_envs,)),
        "loop.torch_random": Shape(torch.uint8, tuple(torch.get_rng_state().shape)),
        "loop.numpy_random": Shape(torch.int32, (MERSENNE_WORDS,)),
    }
    return shapes | {f"loop.{name}": shape for name, shape in shapes_of(states or {}).items()}


def put_back(snapshot: Snapshot, model: Learner, batch: Batch) -> Progress:
    """Put `model`, `batch` and the global random states back to where the snapshot was taken.

    Raises
    ------
    CheckpointError
        If a number is not finite, an environment stands outside its rows, or the scaler is another
        one. Model and batch must not be used then.
    """
    numbers, tensors = snapshot
    _check_values(tensors, batch)
    own: np.random.Generator | None = getattr(model, "random", None)
    try:
        model.policy.load_state_dict(_with_prefix(tensors, "policy."))
        if own is not None and numbers.generator is not None:
            own.bit_generator.state = numbers.generator
        torch.set_rng_state(tensors["loop.torch_random"])
    except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise CheckpointError(f"expected parameters and random states that fit: {error}") from error
    _set_adam(model, numbers.adam, _with_prefix(tensors, "adam."))
    for name, array in _batch_arrays(batch).items():
        _signed(array)[...] = tensors[f"batch.{name}"].numpy()
    _set_loop(model, numbers, _with_prefix(tensors, "loop."))
    return Progress(
        checks_done=numbers.checks_done,
        checks_since_best=numbers.checks_since_best,
        best_score=numbers.best_score,
        best_parameters=_with_prefix(tensors, "best.") or None,
        trained_s=numbers.trained_s,
        fallbacks=numbers.fallbacks,
    )


def copy_parameters(model: Learner) -> Tensors:
    """Return a copy of the policy's parameters."""
    named = model.policy.state_dict().items()
    return {name: value.detach().cpu().clone() for name, value in named}


def first_not_finite(tensors: Tensors) -> str | None:
    """Return the name of the first tensor that holds a NaN or an infinity, or None."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return name
    return None


def _check_values(tensors: Tensors, batch: Batch) -> None:
    bad = first_not_finite(tensors)
    if bad is not None:
        raise CheckpointError(f"expected finite numbers in {bad}, received others.")
    row, stop = tensors["batch.episodes.row"], tensors["batch.episodes.stop"]
    first, last = batch.setup.first_row, batch.setup.stop_row
    # Compiled code reads the market at these rows and does not ask whether they exist.
    if not bool(((row >= first) & (row < stop) & (stop <= last)).all()):
        raise CheckpointError(
            f"expected environments between rows {first} and {last}, received rows "
            f"{row.tolist()} of episodes that end at {stop.tolist()}."
        )
    for name, own in _scaler_tensors(batch).items():
        if not torch.equal(tensors[name], own):
            raise CheckpointError(
                f"expected the {name} that the member was trained with, received another one: the "
                "data have changed since."
            )


def _adam_parameters(model: Learner) -> list[torch.nn.Parameter]:
    return [one for group in model.policy.optimizer.param_groups for one in group["params"]]


def _adam_tensors(model: Learner) -> Tensors:
    found: Tensors = {}
    for index, parameter in enumerate(_adam_parameters(model)):
        state = model.policy.optimizer.state.get(parameter)
        if state:
            step = torch.as_tensor(state["step"], dtype=torch.float32)
            moments = (step, state["exp_avg"], state["exp_avg_sq"])
            found |= {f"{index}.{key}": m for key, m in zip(ADAM_KEYS, moments, strict=True)}
    return found


def _set_adam(model: Learner, moved: tuple[int, ...], tensors: Tensors) -> None:
    state = model.policy.optimizer.state
    for index, parameter in enumerate(_adam_parameters(model)):
        if index not in moved:
            state.pop(parameter, None)
            continue
        own = state[parameter]
        for key in ADAM_KEYS:
            value = tensors[f"{index}.{key}"]
            if isinstance(own.get(key), torch.Tensor):
                own[key].copy_(value)  # whoever knows where it lies finds it there
            else:
                # Adam counts its steps on the CPU, wherever the parameters lie.
                own[key] = value.clone() if key == "step" else value.to(parameter.device).clone()


def _batch_arrays(batch: Batch) -> dict[str, np.ndarray]:
    arrays = {f"accounts.{name}": value for name, value in batch.accounts._asdict().items()}
    return arrays | {f"episodes.{name}": a for name, a in batch.episodes._asdict().items()}


def _batch_tensors(batch: Batch) -> Tensors:
    return {name: torch.from_numpy(_signed(a)) for name, a in _batch_arrays(batch).items()}


def _signed(array: np.ndarray) -> np.ndarray:
    """View unsigned 64-bit seeds as signed ones: safetensors' torch side lacks the unsigned."""
    return array.view(np.int64) if array.dtype == np.uint64 else array


def _scaler_tensors(batch: Batch) -> Tensors:
    return {name: torch.from_numpy(a) for name, a in scaler_arrays(batch.scaler).items()}


def _lstm_states(model: Learner) -> Tensors | None:
    states = getattr(model, "_last_lstm_states", None)
    if not isinstance(states, RNNStates):
        return None
    return {f"lstm.{number}": value for number, value in enumerate((*states.pi, *states.vf))}


def _loop_tensors(model: Learner, numpy_keys: np.ndarray) -> Tensors:
    env: Any = model.env
    return {
        "observation": torch.from_numpy(np.asarray(model._last_obs)),
        "episode_starts": torch.from_numpy(np.asarray(model._last_episode_starts, np.bool_)),
        "episode_returns": torch.from_numpy(np.asarray(env.episode_returns, np.float64)),
        "episode_lengths": torch.from_numpy(np.asarray(env.episode_lengths, np.int64)),
        "torch_random": torch.get_rng_state(),
        "numpy_random": torch.from_numpy(np.asarray(numpy_keys, np.uint32).view(np.int32)),
        **(_lstm_states(model) or {}),
    }


def _set_loop(model: Learner, numbers: Numbers, tensors: Tensors) -> None:
    env: Any = model.env
    model._last_obs = tensors["observation"].numpy().copy()
    model._last_episode_starts = tensors["episode_starts"].numpy().copy()
    env.episode_returns[...] = tensors["episode_returns"].numpy()
    env.episode_lengths[...] = tensors["episode_lengths"].numpy()
    keys = tensors["numpy_random"].numpy().view(np.uint32)
    position, gauss = numbers.numpy_position, (numbers.numpy_has_gauss, numbers.numpy_gauss)
    np.random.set_state(("MT19937", keys, position, *gauss))  # noqa: NPY002 - see take_snapshot
    model.num_timesteps, model._n_updates = numbers.num_timesteps, numbers.n_updates
    if numbers.lstm:
        h, c, value_h, value_c = (tensors[f"lstm.{n}"].to(model.device).clone() for n in range(4))
        model._last_lstm_states = RNNStates((h, c), (value_h, value_c))  # pyright: ignore[reportAttributeAccessIssue] - only RecurrentPPO has it


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
