import functools

import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from ploutos.agent.vec_env import TradingVecEnv
from ploutos.block import SharedDataManager
from ploutos.env import EnvConfig, TradingEnv
from ploutos.env.batch import Batch
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.errors import BlockError, EnvironmentConfigError
from ploutos.features import FeatureConfig
from ploutos.folds import Rows
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.schema import empty_bars, empty_macro
from ploutos.panel import save_panel
from ploutos.panel.build import align
from ploutos.panel.frame import panel_of_frame
from tests.panels import random_panel

CONFIG = EnvConfig(episode_bars=7)
ROWS = Rows(start=20, stop=120)


def test_gymnasium_accepts_the_environment():
    gymnasium_check_env(TradingEnv(random_panel(), EnvConfig()), skip_render_check=True)


def test_stable_baselines_accepts_the_environment():
    sb3_check_env(TradingEnv(random_panel(), EnvConfig()), warn=True)


def test_gymnasium_makes_it_by_its_registered_name():
    env = gym.make("ploutos.env:ploutos/Trading-v0", data=random_panel(), config=CONFIG)
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_subprocess_workers_over_one_block_equal_the_compiled_batch(home, start_method):
    panel = random_panel()
    scaler = fit_scaler(panel, ROWS, CONFIG.clip)
    with SharedDataManager(save_panel(panel)) as owner:
        workers = SubprocVecEnv(
            [functools.partial(TradingEnv, owner.ref, CONFIG, ROWS, scaler)] * 2,
            start_method=start_method,
        )
        try:
            workers.seed(5)
            batch = TradingVecEnv(Batch(market_of(panel), scaler, CONFIG, ROWS, 2))
            batch.seed(5)
            rng = np.random.default_rng(0)
            np.testing.assert_array_equal(workers.reset(), batch.reset())
            for _ in range(60):
                actions = rng.integers(0, 3, (2, 2))
                theirs, ours = workers.step(actions), batch.step(actions)
                for received, expected in zip(theirs[:3], ours[:3], strict=True):
                    np.testing.assert_array_equal(received, expected)
                for info, other in zip(theirs[3], ours[3], strict=True):
                    assert info["TimeLimit.truncated"] == other.get("TimeLimit.truncated", False)
                    if "terminal_observation" in other:
                        np.testing.assert_array_equal(
                            info["terminal_observation"], other["terminal_observation"]
                        )
        finally:
            workers.close()


def test_same_seed_gives_the_same_episode():
    env = TradingEnv(random_panel(), CONFIG)
    first, _ = env.reset(seed=9)
    again, _ = env.reset(seed=9)
    np.testing.assert_array_equal(first, again)


def test_rows_outside_the_panel_are_refused():
    scaler = fit_scaler(random_panel(), ROWS, CONFIG.clip)
    with pytest.raises(EnvironmentConfigError, match="rows inside"):
        TradingEnv(random_panel(), CONFIG, Rows(start=20, stop=5000), scaler)


def test_something_that_is_no_market_is_refused():
    with pytest.raises(EnvironmentConfigError, match="BlockRef, a Panel or a frame"):
        TradingEnv("prices.csv", CONFIG)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frame_of_prices_is_enough(kind):
    bars = fetch(IngestConfig(symbols=("IBM", "MSFT"))).bars
    expected = align(
        MarketData(
            name="frame",
            bars=bars,
            macro=empty_macro(),
            reference=empty_bars(),
            missing_series=("VIX", "TNX", "DXY"),
        ),
        FeatureConfig(),
    )
    shuffled = bars.sample(fraction=1.0, shuffle=True, seed=1)
    env = TradingEnv(shuffled if kind == "polars" else shuffled.to_pandas(), CONFIG)
    observation, info = env.reset(seed=4)
    reference, other = TradingEnv(expected, CONFIG).reset(seed=4)
    assert info == other
    np.testing.assert_array_equal(observation, reference)


def test_released_block_is_refused_with_advice(home):
    with SharedDataManager(save_panel(random_panel())) as owner:
        ref = owner.ref
    with pytest.raises(BlockError, match="publish the panel again"):
        TradingEnv(ref, CONFIG)


def test_split_on_a_row_without_prices_is_not_lost():
    bars = fetch(IngestConfig(symbols=("IBM",))).bars
    row = 900
    frame = bars.with_row_index("row").with_columns(
        *(
            pl.when(pl.col("row") == row)
            .then(None)
            .otherwise(pl.col(name) / pl.when(pl.col("row") >= row).then(2.0).otherwise(1.0))
            .alias(name)
            for name in ("open", "high", "low", "close")
        ),
        split_ratio=pl.when(pl.col("row") == row).then(2.0).otherwise(1.0),
    )
    panel = panel_of_frame(frame.drop("row"))
    assert panel.split_ratio.max() == 2.0
    assert np.isfinite(panel.prices[:, :, 3]).all()
