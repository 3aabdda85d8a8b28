"""The trading environment: one compiled transition, thin fronts.

In: a panel (usually out of the shared block), rows to visit, a scaler. Out: observations, rewards.
Importing this package registers `ploutos/Trading-v0` with Gymnasium, as Gymnasium's packages do;
`gymnasium.make("ploutos.env:ploutos/Trading-v0", data=...)` imports it by itself.
"""

import gymnasium as gym

from ploutos.env.config import EnvConfig, RewardConfig
from ploutos.env.trading_env import TradingEnv
from ploutos.env.vector_env import TradingVectorEnv

__all__ = ["ENV_ID", "EnvConfig", "RewardConfig", "TradingEnv", "TradingVectorEnv"]

ENV_ID = "ploutos/Trading-v0"

if ENV_ID not in gym.registry:
    gym.register(
        ENV_ID,
        entry_point="ploutos.env.trading_env:TradingEnv",
        vector_entry_point="ploutos.env.vector_env:TradingVectorEnv",
    )
