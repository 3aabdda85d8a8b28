import dataclasses
import functools
import warnings

import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from ploutos.block import SharedDataManager
from ploutos.env import EnvConfig, TradingEnv, TradingVectorEnv
from ploutos.env.scaler import fit_scaler
from ploutos.errors import BlockError, EnvironmentConfigError
from ploutos.features import FeatureConfig
from ploutos.folds import Rows
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.schema import empty_bars, empty_macro
from ploutos.panel import save_panel
from ploutos.panel.build import align
from ploutos.panel.frame import panel_of_frame
from ploutos.portfolio import MarginConfig, PortfolioConfig, WeightActions
from tests.panels import random_panel

CONFIG = EnvConfig(episode_bars=7)
ROWS = Rows(start=20, stop=120)
WEIGHTS = PortfolioConfig(actions=WeightActions())
SHORT = PortfolioConfig(actions=WeightActions(), margin=MarginConfig())
CONFIGS = {
    "orders": EnvConfig(),
    "weights": EnvConfig(portfolio=WEIGHTS),
    "weights with margin": EnvConfig(portfolio=SHORT),
    "by reference": EnvConfig(by_reference=True),
    "window of three": EnvConfig(window_bars=3),
    "episodes of all rows": EnvConfig(episode_bars=None),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_gymnasium_accepts_the_environment(config):
    gymnasium_check_env(TradingEnv(random_panel(), config), skip_render_check=True)


# With margin a weight may be negative; Stable-Baselines3 asks for actions in [-1, 1].
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_stable_baselines_accepts_the_environment(config):
    with warnings.catch_warnings():
        # Weights of an account without margin lie in [0, 1], which it would rather have symmetric.
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")
        sb3_check_env(TradingEnv(random_panel(), config), warn=True)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_whatever_is_sampled_gives_observations_of_the_space_and_finite_rewards(config):
    env = TradingEnv(random_panel(bars=80), config)
    env.action_space.seed(3)
    observation, _ = env.reset(seed=3)
    for _ in range(100):
        assert env.observation_space.contains(observation)
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        if terminated or truncated:
            assert env.observation_space.contains(observation)
            observation, _ = env.reset()


def test_reset_at_a_row_starts_there_and_again_from_the_stream_afterwards():
    env = TradingEnv(random_panel(), CONFIG, ROWS)
    env.reset(seed=1)
    expected = [env.reset()[1]["row"] for _ in range(3)]
    env.reset(seed=1)
    _, info = env.reset(options={"row": 60})
    assert info == {"row": 60, "equity_usd": 100_000.0}
    ends = [env.step(np.ones(2, int))[3] for _ in range(7)]
    assert ends == [False] * 6 + [True]
    # The step that ended the episode drew the next one, as a vector environment does.
    assert env.reset()[1]["row"] == expected[1]


@pytest.mark.parametrize("row", [19, 119, -1])
def test_reset_at_a_row_where_no_decision_is_taken_is_refused(row):
    env = TradingEnv(random_panel(), CONFIG, ROWS)
    with pytest.raises(EnvironmentConfigError, match=r"decision row in \[20, 119\)"):
        env.reset(options={"row": row})


def test_reset_option_that_does_not_exist_is_refused():
    env = TradingEnv(random_panel(), CONFIG, ROWS)
    with pytest.raises(EnvironmentConfigError, match="no reset options but 'row'"):
        env.reset(options={"start": 60})


def test_episode_without_a_length_goes_from_the_first_row_to_the_last():
    env = TradingEnv(random_panel(), EnvConfig(episode_bars=None), ROWS)
    for _ in range(2):
        _, info = env.reset(seed=1)
        rows, ended = [info["row"]], False
        while not ended:
            _, _, terminated, ended, info = env.step(np.zeros(2, int))
            assert not terminated
            rows.append(info["row"])
        assert rows == list(range(20, 120))


@pytest.mark.parametrize(
    "action", [1, np.array([1]), np.ones(3, int), np.ones((2, 2), int), np.array([0, 3])]
)
def test_action_of_the_wrong_shape_or_value_is_refused(action):
    env = TradingEnv(random_panel(), CONFIG)
    env.reset(seed=0)
    with pytest.raises(EnvironmentConfigError, match="expected actions"):
        env.step(action)


def test_order_that_is_no_whole_number_is_refused():
    env = TradingEnv(random_panel(), CONFIG)
    env.reset(seed=0)
    with pytest.raises(EnvironmentConfigError, match="expected integer actions"):
        env.step(np.array([0.7, 1.2]))


def test_action_masks_are_a_flat_row_of_hold_buy_and_sell():
    env = TradingEnv(random_panel(), CONFIG, ROWS)
    env.reset(seed=0)
    assert env.action_masks().tolist() == [True, True, False] * 2
    env.reset(options={"row": 60})
    env.step(np.array([1, 0]))
    assert env.action_masks().tolist() == [True, True, True, True, True, False]


def test_panel_without_volumes_is_refused_with_advice():
    panel = random_panel()
    prices = panel.prices.copy()
    prices[:, :, 4] = np.nan
    with pytest.raises(EnvironmentConfigError, match="maximum_participation to null"):
        TradingEnv(dataclasses.replace(panel, prices=prices), CONFIG)


def test_given_observation_is_the_callers_to_keep():
    env = TradingEnv(random_panel(), CONFIG)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second, *_ = env.step(np.ones(2, int))
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)


def test_gymnasium_makes_it_by_its_registered_name():
    env = gym.make("ploutos.env:ploutos/Trading-v0", data=random_panel(), config=CONFIG)
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_subprocess_workers_over_one_block_equal_the_vector_front(home, start_method):
    panel = random_panel()
    scaler = fit_scaler(panel, ROWS, CONFIG.clip)
    with SharedDataManager(save_panel(panel)) as owner:
        workers = SubprocVecEnv(
            [functools.partial(TradingEnv, owner.ref, CONFIG, ROWS, scaler)] * 2,
            start_method=start_method,
        )
        try:
            workers.seed(5)
            vector = TradingVectorEnv(2, owner.ref, CONFIG, ROWS, scaler)
            rng = np.random.default_rng(0)
            np.testing.assert_array_equal(workers.reset(), vector.reset(seed=5)[0])
            for _ in range(60):
                actions = rng.integers(0, 3, (2, 2))
                observation, reward, done, infos = workers.step(actions)
                expected = vector.step(actions)
                np.testing.assert_array_equal(observation, expected[0])
                np.testing.assert_array_equal(reward, expected[1])
                np.testing.assert_array_equal(done, expected[2] | expected[3])
                for e in np.flatnonzero(done):
                    assert infos[e]["TimeLimit.truncated"]
                    last = expected[4]["final_obs"][e]
                    np.testing.assert_array_equal(infos[e]["terminal_observation"], last)
            vector.close()
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
