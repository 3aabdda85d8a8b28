"""Stable-Baselines3 learners over our batch. In: a member's spec and block. Out: a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.logger import Logger, configure

from ploutos.agent.config import Device, PPOConfig, RecurrentPPOConfig
from ploutos.agent.market_rows import MarketSource, layout_of
from ploutos.agent.policy import policy_arguments, policy_class
from ploutos.agent.ppo import PPO
from ploutos.agent.recurrent_ppo import RecurrentPPO
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env.batch import Batch

Learner = PPO | RecurrentPPO


def build_learner(
    batch: Batch,
    learner: PPOConfig,
    sizes: tuple[int, int],
    seed: int,
    log_folder: Path | None = None,
    device: Device = "cpu",
) -> Learner:
    """Build PPO or RecurrentPPO over a batch of environments.

    Parameters
    ----------
    batch : Batch
        The environments; their number is E.
    learner : PPOConfig or RecurrentPPOConfig
        Hyper-parameters; the class chooses the algorithm.
    sizes : (n_steps, batch_size)
        Rollout length per environment, and minibatch size, from the plan.
    seed : int
        Seeds torch, numpy, the environments.
    log_folder : Path, optional
        TensorBoard logs go here.
    device : "cpu" or "cuda"
        Where the networks are computed.

    Raises
    ------
    PolicyError
        If the batch observes by reference and the learner has no encoder.
    """
    env = TradingVecEnv(batch)
    window_bars = batch.setup.window_bars
    source = MarketSource(batch.market, batch.scaler, window_bars)
    model = _algorithm(learner)(
        policy_class(learner),
        env,
        n_steps=sizes[0],
        batch_size=sizes[1],
        policy_kwargs=policy_arguments(
            learner,
            source if batch.setup.by_reference else None,
            layout_of(batch.market, window_bars),
        ),
        seed=seed,
        device=device,
        **hyper_parameters(learner),
    )
    # Without a logger of its own SB3 would leave a folder in the temporary directory.
    model.set_logger(
        configure(str(log_folder), ["tensorboard"]) if log_folder else Logger(None, [])
    )
    return model


def _algorithm(learner: PPOConfig) -> Callable[..., Learner]:
    return RecurrentPPO if isinstance(learner, RecurrentPPOConfig) else PPO


def hyper_parameters(learner: PPOConfig) -> dict[str, Any]:
    """Return the arguments of SB3's constructors that a learner config fixes."""
    names = (
        "learning_rate",
        "n_epochs",
        "gamma",
        "gae_lambda",
        "clip_range",
        "ent_coef",
        "vf_coef",
        "max_grad_norm",
    )
    return {name: getattr(learner, name) for name in names}


def use_threads(n_threads: int) -> None:
    """Fix torch's thread count and refuse its non-deterministic kernels, for this process."""
    torch.set_num_threads(n_threads)
    torch.use_deterministic_algorithms(mode=True)
