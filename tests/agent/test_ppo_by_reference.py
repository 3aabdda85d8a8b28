"""Rows of the market are gathered by the trainer itself; the oracle is torch by value, or SB3."""

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger

from ploutos.agent.encoders.row import MarketExtractor
from ploutos.agent.fused.market import group_by_row
from ploutos.agent.market_rows import MarketSource
from ploutos.agent.ppo import PPO
from ploutos.agent.rollout import order_by_row
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.errors import PolicyError
from tests.agent.batches import WEIGHTS, batch_of
from tests.agent.test_ppo import assert_alike


def learner(kind, by_reference, n_envs=8, **arguments):
    env_config = {"window_bars": 3} | arguments.pop("env", {})
    batch = batch_of(n_envs, by_reference=by_reference, **env_config)
    source = MarketSource(batch.market, batch.scaler, 3) if by_reference else None
    extractor = {"width": 6, "source": source}
    model = kind(
        "MlpPolicy",
        TradingVecEnv(batch),
        policy_kwargs={
            "net_arch": [8],
            "features_extractor_class": MarketExtractor,
            "features_extractor_kwargs": extractor,
        },
        **(
            {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "seed": 0, "device": "cpu"} | arguments
        ),
    )
    model.set_logger(Logger(None, []))
    return model


@pytest.mark.parametrize("env", [{}, {"portfolio": WEIGHTS}], ids=["orders", "weights"])
def test_training_by_reference_is_training_by_value(env):
    models = [learner(PPO, by_reference, env=env).learn(3 * 128) for by_reference in (False, True)]
    assert [model.torch_because for model in models] == [None, None]
    assert_alike(*models, 1e-5)


def test_an_update_by_reference_is_sb3s():
    models = [learner(kind, by_reference=True) for kind in (stable_baselines3.PPO, PPO)]
    models[1].collect_rollouts(
        models[1].env, models[1]._setup_learn(128, None)[1], models[1].rollout_buffer, 16
    )
    theirs, ours = (model.rollout_buffer for model in models)
    theirs.reset()
    for name in ("observations", "actions", "advantages", "returns", "values", "log_probs"):
        getattr(theirs, name)[:] = getattr(ours, name)
    theirs.full = True
    for model in models:
        np.random.seed(5)  # noqa: NPY002 - SB3 shuffles with the global generator
        model.train()
    assert_alike(*models, 1e-5)


def test_results_do_not_depend_on_the_number_of_threads():
    sizes = {"n_envs": 64, "n_steps": 40, "batch_size": 2560, "n_epochs": 2}
    models = []
    for n_threads in (1, 2, 3):
        models.append(learner(PPO, by_reference=True, **sizes))
        models[-1].n_threads = n_threads
        models[-1].learn(2 * 2560)
    assert_alike(models[0], models[1], 0)
    assert_alike(models[0], models[2], 0)


def test_minibatches_by_row_hold_every_sample_once_and_whole_rows():
    model = learner(PPO, by_reference=True)
    model.order = order_by_row
    model.learn(128)
    order = order_by_row(model.rollout_buffer)
    assert sorted(order) == list(range(128))
    rows = model.rollout_buffer.observations[..., 0].reshape(-1)[order]
    changes = np.flatnonzero(np.diff(rows)).size + 1
    assert changes == np.unique(rows).size


def test_policy_by_reference_is_saved_with_its_parameters_in_sb3s_shape(tmp_path):
    model = learner(PPO, by_reference=True).learn(128)
    weight = model.policy.state_dict()["features_extractor.linear.weight"]
    assert weight.shape[0] == 6
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", env=model.env, device="cpu")
    loaded.set_logger(model.logger)
    assert_alike(model, loaded, 0)
    loaded.learn(128)
    assert loaded.torch_because is None


def test_market_of_another_length_is_refused_by_name():
    model = learner(PPO, by_reference=True)
    model.learn(128)
    model._last_obs[0, 0] = 10_000
    with pytest.raises(PolicyError, match="expected rows below 60, received 10000"):
        model.collect_rollouts(
            model.env, model._setup_learn(128, None, False)[1], model.rollout_buffer, 16
        )


def test_rows_are_grouped_in_the_order_of_their_first_samples():
    slots = np.full(9, -1)
    numbers = np.array([5, 2, 5, 8, 2, 2])
    place, distinct = np.empty(6, np.int64), np.empty(6, np.int64)
    assert group_by_row(numbers, slots, place, distinct) == 3
    np.testing.assert_array_equal(distinct[:3], [5, 2, 8])
    np.testing.assert_array_equal(distinct[place], numbers)
    assert (slots == -1).all()


def test_torch_reads_the_parameters_that_lie_input_by_output():
    model = learner(PPO, by_reference=True).learn(128)
    observation = torch.from_numpy(model._last_obs)
    values = model.policy.predict_values(observation)[:, 0].detach()
    trainer = model._compiled()
    with trainer.rollout():
        np.testing.assert_allclose(trainer.value_of(model._last_obs), values, atol=1e-5)
