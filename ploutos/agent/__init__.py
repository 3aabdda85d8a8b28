"""Learning: hardware plan, PPO and RecurrentPPO members, policies on disk, committees.

In: a run (panel, folds, config). Out: one policy folder for every algorithm, fold and seed.
"""

from ploutos.agent.committee import load_committee, save_committee
from ploutos.agent.config import PPOConfig, RecurrentPPOConfig, TrainConfig
from ploutos.agent.export import export_zip
from ploutos.agent.extractor import MarketExtractor
from ploutos.agent.market_rows import MarketSource
from ploutos.agent.policy import Committee, Policy, load_policy
from ploutos.agent.train import (
    MemberResult,
    RunSpec,
    TrainingProgress,
    load_run,
    start_run,
    train_run,
)
from ploutos.agent.vec_env import TradingVecEnv

__all__ = [
    "Committee",
    "MarketExtractor",
    "MarketSource",
    "MemberResult",
    "PPOConfig",
    "Policy",
    "RecurrentPPOConfig",
    "RunSpec",
    "TradingVecEnv",
    "TrainConfig",
    "TrainingProgress",
    "export_zip",
    "load_committee",
    "load_policy",
    "load_run",
    "save_committee",
    "start_run",
    "train_run",
]
