"""Learning: hardware plan, PPO and RecurrentPPO members, policies on disk, committees.

In: a run (panel, folds, config). Out: one policy folder for every algorithm, fold and seed.
"""

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig, TrainConfig
from ploutos.agent.policy import Committee, Policy, load_policy
from ploutos.agent.train import (
    MemberResult,
    RunSpec,
    TrainingProgress,
    load_run,
    start_run,
    train_run,
)

__all__ = [
    "Committee",
    "MemberResult",
    "PPOConfig",
    "Policy",
    "RecurrentPPOConfig",
    "RunSpec",
    "TrainConfig",
    "TrainingProgress",
    "load_policy",
    "load_run",
    "start_run",
    "train_run",
]
