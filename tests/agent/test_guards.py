from dataclasses import replace

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper

from ploutos.agent.config import RowEncoder
from ploutos.agent.culprits import UNKNOWN_ROW, column_name, moved_most, rows_of
from ploutos.agent.gradients import watch_gradients
from ploutos.agent.guards import check_rollout, largest_reward, scene_of
from ploutos.agent.loop import Loop
from ploutos.agent.progress import Progress
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig, RewardConfig
from ploutos.env.market import market_of
from ploutos.env.reward import reward_weights
from ploutos.env.scaler import Scaler
from ploutos.errors import DivergedError
from tests.agent.batches import ROWS, WEIGHTS, batch_of, panel_with_gaps, random_actions
from tests.agent.learners import LEARNERS, ROLLOUT, STOCK, fresh, stock, trained
from tests.agent.members import Listener, member_over

PANEL = panel_with_gaps()
BAD = [np.nan, np.inf, -np.inf, 1e30]
CONFIGS = [{}, {"window_bars": 3}, {"by_reference": True, "window_bars": 3}, {"portfolio": WEIGHTS}]


class FaultyEnv(VecEnvWrapper):
    """Puts a number where it does not belong, once, and notes the row that it belongs to."""

    def __init__(self, env, batch, fault):
        super().__init__(env)
        self.batch, self.fault = batch, fault
        self.steps = 0
        self.row = None

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        step, e, column, value = self.fault
        before = self.batch.episodes.row.copy()
        observations, rewards, dones, infos = self.venv.step_wait()
        self.steps += 1
        if self.steps == step and column is None:
            rewards[e], self.row = value, before[e]
        elif self.steps == step:
            observations = observations.copy()
            observations[e, column], self.row = value, self.batch.episodes.row[e]
        return observations, rewards, dones, infos


class CheckRollouts(BaseCallback):
    """Checks every rollout, as a member does."""

    def __init__(self, scene):
        super().__init__()
        self.scene = scene

    def _on_rollout_start(self):
        self.first_row = self.scene.batch.episodes.row.copy()

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        check_rollout(self.model, self.scene, self.first_row)


def state_of(model):
    """Return copies of the parameters and of Adam's moments."""
    tensors = {f"policy.{name}": value for name, value in model.policy.state_dict().items()}
    for number, moments in model.policy.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{key}": value for key, value in moments.items()}
    return {name: torch.as_tensor(value).clone() for name, value in tensors.items()}


def assert_unchanged(model, before):
    after = state_of(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_sound_rollouts_pass(learner, config):
    learner = learner.model_copy(update={"encoder": RowEncoder(width=5)})
    model, batch = fresh(learner, **config)
    watch = watch_gradients(model, lambda: None)
    model.learn(3 * ROLLOUT, callback=CheckRollouts(scene_of(PANEL, batch)))
    watch.remove()
    assert model.num_timesteps == 3 * ROLLOUT


def diverge(learner, fault, tmp_path, **config):
    """Train one rollout, then a second one with a fault; return what it says, and the fault."""
    with member_over(PANEL, tmp_path, learner=learner) as spec:
        model, batch = trained(learner, **config)
        model.env = FaultyEnv(model.env, batch, fault)
        before = state_of(model)
        scene, listener = scene_of(PANEL, batch), Listener()
        loop = Loop(spec, (model, scene), Progress(), lambda: 0.0, listener.parent)
        with pytest.raises(DivergedError) as caught:
            loop.run()
        assert_unchanged(model, before)
        return str(caught.value), model.env


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("column", [1, 13, None], ids=["feature", "account", "reward"])
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_bad_number_stops_before_the_weights_change(home, tmp_path, learner, column, value):
    message, env = diverge(learner, (7, 2, column, value), tmp_path, episode_bars=None)
    what, step = ("observations", 7) if column is not None else ("rewards", 6)
    assert f"expected sound {what}, received {value:.6g}: environment 2, step {step} " in message
    assert f"panel row {env.row} (closed " in message
    names = {1: "feature f1 of S0", 13: "the account's drawdown", None: "moved most"}
    assert names[column] in message


@pytest.mark.parametrize("column", [2, None], ids=["account", "reward"])
def test_row_is_known_by_reference_in_the_shortest_episode(home, tmp_path, column):
    learner = LEARNERS[0].model_copy(update={"encoder": RowEncoder(width=5)})
    config = {"by_reference": True, "episode_bars": 2}
    message, env = diverge(learner, (7, 2, column, 1e30), tmp_path, **config)
    assert f"panel row {env.row} (closed " in message


def test_row_of_a_short_episode_inside_the_rollout_is_not_made_up(home, tmp_path):
    message, _ = diverge(LEARNERS[0], (7, 2, None, np.nan), tmp_path, episode_bars=2)
    assert "a row of an episode that began and ended inside the rollout" in message


def test_bad_number_in_the_observation_after_the_rollout_is_named_too(home, tmp_path):
    message, env = diverge(LEARNERS[0], (16, 3, 4, 1e30), tmp_path)
    assert "received 1e+30: environment 3, step 16 of the rollout" in message
    assert f"panel row {env.row} (closed " in message


def fail(*_):
    raise OSError("the disk is gone")


@pytest.mark.parametrize("where", ["rollout", "update"])
def test_failure_that_no_number_caused_stays_what_it_is(home, tmp_path, where):
    with member_over(PANEL, tmp_path) as spec:
        model, batch = stock(STOCK[0])
        if where == "update":
            model.policy.optimizer.register_step_pre_hook(fail)
        else:
            model.env.step_wait = fail
        learner, listener = (model, scene_of(PANEL, batch)), Listener()
        loop = Loop(spec, learner, Progress(), lambda: 0.0, listener.parent)
        with pytest.raises(OSError, match="the disk is gone"):
            loop.run()


class Spoil(BaseCallback):
    """Spoils numbers of the buffer when the rollout is complete; then checks it, if it is told."""

    def __init__(self, places, scene=None):
        super().__init__()
        self.places, self.scene = places, scene

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        for name, at, value in self.places:
            getattr(self.model.rollout_buffer, name)[at] = value
        if self.scene is not None:
            check_rollout(self.model, self.scene, self.scene.batch.episodes.row)


@pytest.mark.parametrize(
    ("places", "named"),
    [
        ([("rewards", (9, 1), np.inf), ("advantages", slice(0, 10), np.nan)], "rewards.*step 9"),
        (
            [("rewards", (9, 1), np.inf), ("observations", (8, 3, 0), np.nan)],
            "observations.*step 8",
        ),
        ([("values", (3, 0), 1e30)], "values, received 1e[+]30: environment 0, step 3"),
        ([("log_probs", (4, 2), -1e30)], "log_probs, received -1e[+]30: environment 2, step 4"),
        ([("advantages", (5, 1), np.nan)], "advantages, received nan: environment 1, step 5"),
    ],
    ids=["before what it spoils", "before what follows", "value", "log probability", "advantage"],
)
def test_first_bad_number_of_a_rollout_is_named(places, named):
    model, batch = trained(LEARNERS[0])
    before = state_of(model)
    with pytest.raises(DivergedError, match=named):
        model.learn(ROLLOUT, Spoil(places, scene_of(PANEL, batch)), reset_num_timesteps=False)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (("advantages", (3, 1), np.nan), "policy loss"),
        (("advantages", (3, 1), np.inf), "policy loss"),
        (("returns", (3, 1), np.inf), "value loss"),
        # Its square is infinite, its gradient is not: clipping by the norm makes it vanish.
        (("returns", (3, 1), 1e30), "value loss"),
    ],
    ids=["NaN advantage", "infinite advantage", "infinite return", "absurd return"],
)
@pytest.mark.parametrize("source", ["ours", "stock"])
@pytest.mark.parametrize("recurrent", [0, 1], ids=["PPO", "RecurrentPPO"])
def test_loss_that_is_not_finite_stops_before_the_weights_change(recurrent, source, place, named):
    # One epoch of one minibatch: the first step of the optimiser is the one with the fault.
    if source == "ours":
        model, _ = fresh(LEARNERS[recurrent].model_copy(update={"n_epochs": 1}))
        model.batch_size = ROLLOUT
        model.learn(ROLLOUT)
    else:
        model, _ = stock(STOCK[recurrent], batch_size=ROLLOUT)
    before = state_of(model)
    watch = watch_gradients(model, lambda: None)
    with pytest.raises(DivergedError, match=named):
        model.learn(ROLLOUT, Spoil([place]), reset_num_timesteps=False)
    assert_unchanged(model, before)
    watch.remove()


def test_without_the_guard_the_same_loss_ruins_the_weights():
    model, _ = stock(STOCK[0])
    spoil = Spoil([("advantages", (3, 1), np.nan)])
    with pytest.raises(ValueError, match="invalid values"):
        model.learn(ROLLOUT, spoil, reset_num_timesteps=False)
    assert not model.policy.action_net.weight.isfinite().any()


def test_bad_gradient_is_named_where_the_loss_is_finite():
    model, _ = trained(LEARNERS[0])
    for parameter in model.policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    model.policy.value_net.bias.grad[:] = np.nan
    before = state_of(model)
    watch_gradients(model, lambda: None)
    with pytest.raises(DivergedError, match=r"finite losses and a gradient of value_net\.bias"):
        model.policy.optimizer.step()
    assert_unchanged(model, before)


def test_no_gradients_and_gradients_of_zero_are_no_fault():
    model, _ = trained(LEARNERS[0])
    model.policy.optimizer.zero_grad()
    before = state_of(model)
    watch = watch_gradients(model, lambda: None)
    model.policy.optimizer.step()
    assert_unchanged(model, before)
    watch.remove()
    for parameter in model.policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    watch_gradients(model, lambda: None)
    model.policy.optimizer.step()
    assert all(bool(parameter.isfinite().all()) for parameter in model.policy.parameters())


def test_names_of_columns_are_those_of_the_numbers_behind_them():
    window, row = 2, 30
    market = market_of(PANEL)
    panel = replace(
        PANEL,
        features=np.arange(PANEL.features.size, dtype=np.float32).reshape(PANEL.features.shape),
        macro=-np.arange(1, PANEL.macro.size + 1, dtype=np.float32).reshape(PANEL.macro.shape),
    )
    one = np.float32([1])
    scaler = Scaler(
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
        np.zeros(2, np.float32),
        np.ones(2, np.float32),
        1e6 * one,
    )
    batch = Batch(market_of(panel), scaler, EnvConfig(window_bars=window), ROWS, 1)
    batch.seed(0)
    batch.reset()
    batch.move_to(row)
    observation = batch.outcome.observation[0]
    names = [column_name(panel, batch.setup, d) for d in range(observation.size)]
    assert len(set(names)) == len(names)
    for back in range(window):
        ago = ", 1 bars before" if back else ""
        for n, symbol in enumerate(panel.meta.symbols):
            for f, feature in enumerate(panel.meta.feature_names):
                at = names.index(f"feature {feature} of {symbol}{ago}")
                assert observation[at] == panel.features[row - back, n, f]
            assert (
                observation[names.index(f"validity of {symbol}{ago}")] == panel.valid[row - back, n]
            )
        for m, macro in enumerate(panel.meta.macro_names):
            assert (
                observation[names.index(f"macro feature {macro}{ago}")]
                == panel.macro[row - back, m]
            )
            known = panel.macro_valid[row - back, m]
            assert observation[names.index(f"validity of {macro}{ago}")] == known
    shown = {
        "the account's cash": 1.0,
        "the account's drawdown": 0.0,
        "the account's value of all positions": 0.0,
        "the account's drawdown stop": 0.0,
    }
    for name, value in shown.items():
        assert observation[names.index(name)] == value
    batch.step(np.array([[0, 1]]))
    observation = batch.outcome.observation[0]
    assert market.mark[row, 1] > 0
    assert observation[names.index("the account's last action of S1")] == 1.0
    assert observation[names.index("the account's age of S1")] == np.float32(1 / 21)
    assert 0 < observation[names.index("the account's weight of S1")] < 1
    assert abs(observation[names.index("the account's return since entry of S1")]) < 0.2
    assert observation[names.index("the account's weight of S0")] == 0


def test_row_number_is_named_by_reference():
    batch = batch_of(1, by_reference=True)
    assert column_name(PANEL, batch.setup, 0) == "the row's number"
    assert column_name(PANEL, batch.setup, 1) == "the account's cash"


@pytest.mark.parametrize(("episode_bars", "n_steps"), [(4, 20), (11, 16), (None, 9)])
def test_rows_of_a_rollout_are_those_that_the_environments_stood_at(episode_bars, n_steps):
    rng = np.random.default_rng(0)
    batch = batch_of(8, episode_bars=episode_bars)
    batch.seed(0)
    batch.reset()
    first, seen, starts = batch.episodes.row.copy(), [], [np.ones(8, bool)]
    for _ in range(n_steps):
        seen.append(batch.episodes.row.copy())
        outcome = batch.step(random_actions(rng, batch))
        starts.append((outcome.terminated | outcome.truncated).astype(bool))
    starts, seen = np.array(starts), np.array(seen)
    rows = rows_of(starts, first, batch.episodes.row)
    np.testing.assert_array_equal(rows[rows != UNKNOWN_ROW], seen[rows != UNKNOWN_ROW])
    inside = np.cumsum(starts[1:], axis=0)[:-1] > 0
    after = np.cumsum(starts[:0:-1], axis=0)[::-1][1:] > 0
    np.testing.assert_array_equal(rows[1:] == UNKNOWN_ROW, inside & after)
    assert (rows_of(starts, first, None)[0] == first).all()


def test_symbol_whose_price_moved_most_is_named():
    market = market_of(PANEL)
    prices = market.mark.copy()
    prices[31, 1] = 1e30
    assert "S1 moved most" in moved_most(PANEL, market._replace(mark=prices), 30)
    prices[31, 0] = np.inf
    assert "S0 moved most" in moved_most(PANEL, market._replace(mark=prices), 30)
    assert moved_most(PANEL, market, UNKNOWN_ROW) == "no symbol to name"


def test_largest_loss_that_an_account_can_make_is_no_absurd_reward():
    weights = reward_weights(RewardConfig())
    everything = -np.log(1e9 * 1e6)  # a billion dollars, down to one micro-dollar
    assert abs(weights.scale * everything) < largest_reward(weights)
    assert weights.scale * np.log(1e30) > largest_reward(weights)
