import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ploutos.agent.config import (
    PPOConfig,
    RecurrentPPOConfig,
    RowEncoder,
    SymbolEncoder,
    WindowEncoder,
)
from ploutos.agent.learner import build_learner
from ploutos.agent.policy import (
    Committee,
    Policy,
    PolicyManifest,
    build_network,
    check_fits,
    for_universe,
    load_policy,
    save_policy,
)
from ploutos.env.account import open_accounts
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import observe
from ploutos.env.market import market_of
from ploutos.env.observe import observation_length
from ploutos.errors import PolicyError
from ploutos.portfolio.config import MarginConfig, PortfolioConfig, WeightActions
from tests.agent.batches import WEIGHTS, batch_of, panel_with_gaps, scaler_of

LEARNERS = [PPOConfig(net_arch=(8,)), RecurrentPPOConfig(net_arch=(8,), lstm_hidden_size=6)]
WINDOW = WindowEncoder(channels=4, width=5)
KINDS = {
    "PPO": LEARNERS[0],
    "RecurrentPPO": LEARNERS[1],
    "row": PPOConfig(net_arch=(8,), encoder=RowEncoder(width=5)),
    "symbol": PPOConfig(net_arch=(8,), encoder=SymbolEncoder(width=5)),
    "window": PPOConfig(net_arch=(8,), encoder=WINDOW),
    "window, LSTM": RecurrentPPOConfig(net_arch=(8,), lstm_hidden_size=6, encoder=WINDOW),
}
PANEL = panel_with_gaps()
MARKET = market_of(PANEL)
ORDERS = EnvConfig()
EPISODES = [ORDERS, EnvConfig(window_bars=3), EnvConfig(portfolio=WEIGHTS)]


def policy_of(learner, env=ORDERS, seed=0, panel=PANEL):
    torch.manual_seed(seed)
    length = observation_length(panel, env.window_bars)
    manifest = PolicyManifest(
        algo="RecurrentPPO" if isinstance(learner, RecurrentPPOConfig) else "PPO",
        fold=1,
        seed=seed,
        run_id="0123",
        learner=learner,
        symbols=panel.meta.symbols,
        catalog_digest="c" * 64,
        observation_length=length,
        n_features=panel.n_features,
        env=env,
        timesteps=10,
        steps_per_s=1.5,
        selection_score=None,
        train_start=5,
        train_stop=50,
        code_digest="d" * 64,
    )
    network = build_network(learner, length, panel.n_symbols, env, panel.n_features)
    network.set_training_mode(False)
    with torch.no_grad():
        network.action_net.weight *= 100  # so that the actions vary with the observation
    return Policy(network, scaler_of(panel), manifest)


def actions_of(actor, market=MARKET, rows=range(5, 25)):
    accounts = open_accounts(1, 2, 10**9)
    state, actions = None, []
    for row in rows:
        action, state = actor.act(market, accounts, 0, row, state)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
@pytest.mark.parametrize("learner", KINDS.values(), ids=KINDS)
def test_policy_read_back_from_its_folder_has_the_same_preferences(tmp_path, learner, env):
    policy = policy_of(learner, env)
    save_policy(tmp_path / "p", policy.network.state_dict(), policy.scaler, policy.manifest)
    loaded = load_policy(tmp_path / "p")
    assert loaded.manifest == policy.manifest
    accounts = open_accounts(1, 2, 10**9)
    state = other = None
    for row in range(5, 15):
        expected, state = policy.preferences(MARKET, accounts, 0, row, state)
        received, other = loaded.preferences(MARKET, accounts, 0, row, other)
        np.testing.assert_array_equal(expected, received)
        if env.portfolio.actions.kind == "orders":
            np.testing.assert_allclose(received.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
@pytest.mark.parametrize("learner", KINDS.values(), ids=KINDS)
def test_policy_acts_as_the_model_of_stable_baselines_predicts(learner, env):
    batch = batch_of(1, PANEL, portfolio=env.portfolio, window_bars=env.window_bars)
    model = build_learner(batch, learner, (16, 16), 3)
    policy = policy_of(learner, env)
    model.policy.load_state_dict(policy.network.state_dict())
    accounts = open_accounts(1, 2, 10**9)
    state = lstm = None
    data, observation = (batch.market, policy._scaling), np.zeros(batch.length, np.float32)
    for row in range(5, 25):
        observe(data, accounts, (0, row), batch.setup, (observation, np.zeros((2, 1))))
        received, state = policy.act(MARKET, accounts, 0, row, state)
        start = np.array([row == 5])
        expected, lstm = model.predict(
            observation[None], state=lstm, episode_start=start, deterministic=True
        )
        assert received.dtype == batch.action_dtype
        np.testing.assert_array_equal(received, expected[0])


def test_recurrent_policy_remembers():
    policy = policy_of(LEARNERS[1])
    accounts = open_accounts(1, 2, 10**9)
    first, state = policy.preferences(MARKET, accounts, 0, 5, None)
    again, _ = policy.preferences(MARKET, accounts, 0, 5, state)
    assert not np.array_equal(first, again)


def test_weights_stay_inside_the_bounds_of_the_account():
    margin = PortfolioConfig(actions=WeightActions(), margin=MarginConfig())
    for portfolio, least in ((WEIGHTS, 0.0), (margin, -1.0)):
        actions = actions_of(policy_of(LEARNERS[0], EnvConfig(portfolio=portfolio)))
        assert actions.dtype == np.float64
        assert actions.min() == least
        assert actions.max() == 1.0


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
def test_committee_of_one_acts_like_its_member(env):
    policy = policy_of(LEARNERS[1], env)
    np.testing.assert_array_equal(actions_of(Committee([policy])), actions_of(policy))


def test_committee_acts_on_the_mean_probability():
    members = [policy_of(LEARNERS[0], seed=seed) for seed in range(3)]
    accounts = open_accounts(1, 2, 10**9)
    mean = np.mean([m.preferences(MARKET, accounts, 0, 9, None)[0] for m in members], axis=0)
    action, _ = Committee(members).act(MARKET, accounts, 0, 9, None)
    np.testing.assert_array_equal(action, mean.argmax(axis=1))


def test_committee_sets_the_mean_weights_of_its_members():
    members = [policy_of(LEARNERS[0], EPISODES[2], seed) for seed in range(3)]
    accounts = open_accounts(1, 2, 10**9)
    mean = np.mean([m.act(MARKET, accounts, 0, 9, None)[0] for m in members], axis=0)
    action, _ = Committee(members).act(MARKET, accounts, 0, 9, None)
    np.testing.assert_array_equal(action, mean)


def test_committee_of_orders_and_weights_is_refused():
    with pytest.raises(PolicyError, match="orders and weights have no mean"):
        Committee([policy_of(LEARNERS[0], env) for env in EPISODES])


def test_empty_committee_is_refused():
    with pytest.raises(PolicyError, match="at least one policy"):
        Committee([])


def test_policy_of_another_observation_is_refused():
    policy = policy_of(LEARNERS[0])
    with pytest.raises(PolicyError, match="does not fit this block"):
        actions_of(policy, market_of(panel_with_gaps(features=4)))


@pytest.mark.parametrize("damage", ["parameters", "manifest", "missing"])
def test_damaged_policy_folder_is_refused(tmp_path, damage):
    policy = policy_of(LEARNERS[0])
    folder = tmp_path / "p"
    save_policy(folder, policy.network.state_dict(), policy.scaler, policy.manifest)
    if damage == "parameters":
        data = bytearray((folder / "policy.safetensors").read_bytes())
        data[-3] ^= 4
        (folder / "policy.safetensors").write_bytes(data)
    elif damage == "manifest":
        listed = json.loads((folder / "manifest.json").read_text())
        del listed["symbols"]
        (folder / "manifest.json").write_text(json.dumps(listed))
    else:
        (folder / "manifest.json").unlink()
    with pytest.raises(PolicyError):
        load_policy(folder)


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
def test_policy_over_symbols_moves_to_another_universe(env, tmp_path):
    policy = policy_of(KINDS["symbol"], env)
    # The first two of four symbols are those the policy was made for, the others their twins.
    twins = panel_with_gaps(symbols=4)
    for name in ("features", "valid"):
        values = getattr(PANEL, name)
        twins = replace(twins, **{name: np.concatenate([values, values], axis=1)})
    twins = replace(twins, macro=PANEL.macro, macro_valid=PANEL.macro_valid)
    moved = for_universe(policy, twins.meta.symbols)
    parameters = policy.network.state_dict()
    assert all(torch.equal(parameters[n], v) for n, v in moved.network.state_dict().items())
    accounts, other = open_accounts(1, 2, 10**9), open_accounts(1, 4, 10**9)
    for row in range(5, 15):
        expected, _ = policy.preferences(MARKET, accounts, 0, row, None)
        received, _ = moved.preferences(market_of(twins), other, 0, row, None)
        np.testing.assert_allclose(received[:2], expected, atol=1e-6)
        np.testing.assert_allclose(received[2:], expected, atol=1e-6)
    save_policy(tmp_path / "p", moved.network.state_dict(), moved.scaler, moved.manifest)
    assert load_policy(tmp_path / "p").manifest.symbols == ("S0", "S1", "S2", "S3")
    check_fits(moved.manifest, twins.meta)
    for manifest, meta in ((moved.manifest, PANEL.meta), (policy.manifest, twins.meta)):
        with pytest.raises(PolicyError, match="Train again on this panel"):
            check_fits(manifest, meta)


def test_policy_whose_parameters_belong_to_its_symbols_stays_with_them():
    with pytest.raises(PolicyError, match="received RowEncoder"):
        for_universe(policy_of(KINDS["row"]), ("S0", "S1", "S2"))


def test_policy_without_the_number_of_features_is_refused_where_it_is_needed(tmp_path):
    policy = policy_of(KINDS["symbol"])
    manifest = policy.manifest.model_copy(update={"n_features": None})
    save_policy(tmp_path / "p", policy.network.state_dict(), policy.scaler, manifest)
    with pytest.raises(PolicyError, match="the layout of the observations for a symbol encoder"):
        load_policy(tmp_path / "p")
