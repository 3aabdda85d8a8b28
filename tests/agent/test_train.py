import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ploutos.agent import PPOConfig, RecurrentPPOConfig, TrainConfig, load_policy
from ploutos.agent.config import RowEncoder
from ploutos.agent.member import MemberSpec
from ploutos.agent.train import load_run, start_run, train_run
from ploutos.env.account import open_accounts
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.errors import FoldError, TrainingError
from ploutos.folds import FoldConfig
from ploutos.panel import save_panel
from ploutos.portfolio.config import PortfolioConfig, WeightActions
from ploutos.runs import read_part, run_folder
from tests.agent.members import members_of
from tests.panels import random_panel

CONFIG = TrainConfig(
    seeds=(0,),
    folds=FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60),
    env=EnvConfig(episode_bars=20),
    ppo=PPOConfig(total_timesteps=2048, n_epochs=1, net_arch=(8,)),
    recurrent_ppo=RecurrentPPOConfig(
        total_timesteps=2048, n_epochs=1, net_arch=(8,), lstm_hidden_size=4
    ),
    selection_checks=1,
    warm_up_bars=4,
)


def members_alive():
    return members_of(os.getpid())


def segments():
    return [path.name for path in Path("/dev/shm").glob("ploutos-*")]


def test_run_trains_every_algorithm_fold_and_seed_and_leaves_nothing_behind(home):
    run_id = start_run(save_panel(random_panel()), CONFIG)
    seen = []
    results = train_run(run_id, seen.append)
    assert sorted((r.algo, r.fold, r.seed) for r in results) == [
        ("PPO", 0, 0),
        ("PPO", 1, 0),
        ("RecurrentPPO", 0, 0),
        ("RecurrentPPO", 1, 0),
    ]
    assert all(load_policy(Path(r.policy_folder)).manifest.timesteps >= 2048 for r in results)
    assert seen[-1].members_done == seen[-1].members_total == 4
    assert read_part(run_id, "block")["segment"] not in segments()
    assert members_alive() == []
    assert {row["timesteps"] for row in read_part(run_id, "training")} == {2048}
    assert read_part(run_id, "block")["segment"].startswith("ploutos-")


def test_second_call_reuses_every_member(home):
    config = CONFIG.model_copy(update={"algos": ("PPO",)})
    run_id = start_run(save_panel(random_panel()), config)
    train_run(run_id)
    assert start_run(save_panel(random_panel()), config) == run_id
    began = time.monotonic()
    results = train_run(run_id)
    assert all(result.reused for result in results)
    assert time.monotonic() - began < 30  # it trained nothing; a bound on hanging, not on speed


def test_run_by_reference_leaves_policies_that_act_by_value(home):
    layer = {"encoder": RowEncoder(width=5)}
    config = CONFIG.model_copy(
        update={
            "folds": CONFIG.folds.model_copy(update={"n_folds": 1}),
            "ppo": CONFIG.ppo.model_copy(update=layer),
            "recurrent_ppo": CONFIG.recurrent_ppo.model_copy(update=layer),
        }
    )
    panel, market = save_panel(random_panel()), market_of(random_panel())
    found = []
    for by_reference in (False, True):
        env = EnvConfig(
            episode_bars=20,
            window_bars=2,
            by_reference=by_reference,
            portfolio=PortfolioConfig(actions=WeightActions()),
        )
        results = train_run(start_run(panel, config.model_copy(update={"env": env})))
        policies = [load_policy(Path(result.policy_folder)) for result in results]
        accounts = open_accounts(1, 2, 10**11)
        actions = [policy.act(market, accounts, 0, 150, None)[0] for policy in policies]
        found.append((policies, actions, [result.selection_score for result in results]))
    # The same rollouts, and the same first layer but for the order of its sums.
    for one, other in zip(found[0][0], found[1][0], strict=True):
        for name, value in one.network.state_dict().items():
            torch.testing.assert_close(
                other.network.state_dict()[name], value, rtol=0, atol=1e-3, msg=name
            )
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-3)
    np.testing.assert_allclose(found[1][2], found[0][2], atol=1e-3)


def test_same_seed_gives_the_same_parameters_bit_for_bit(home, tmp_path, monkeypatch):
    config = CONFIG.model_copy(update={"folds": CONFIG.folds.model_copy(update={"n_folds": 1})})
    digests = []
    for name in ("one", "two"):
        monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / name))
        run_id = start_run(save_panel(random_panel()), config)
        digests.append(
            sorted(
                (r.algo, (Path(r.policy_folder) / "policy.safetensors").read_bytes())
                for r in train_run(run_id)
            )
        )
    assert digests[0] == digests[1]


def test_killed_member_is_started_again_alone(home):
    config = CONFIG.model_copy(
        update={
            "algos": ("PPO",),
            "ppo": CONFIG.ppo.model_copy(update={"total_timesteps": 20_000, "n_epochs": 5}),
        }
    )
    run_id = start_run(save_panel(random_panel()), config)
    killed = []

    def kill_first(_progress):
        alive = members_alive()
        if not killed and alive:
            killed.append(alive[0].pid)
            os.kill(alive[0].pid, signal.SIGKILL)

    results = train_run(run_id, kill_first)
    assert len(killed) == 1
    assert len(results) == 2


def test_member_that_stops_reporting_is_ended_and_named(home):
    config = CONFIG.model_copy(
        update={
            "algos": ("PPO",),
            "ppo": CONFIG.ppo.model_copy(update={"total_timesteps": 200_000}),
            "member_timeout_s": 4.0,
            "member_retries": 0,
        }
    )
    run_id = start_run(save_panel(random_panel()), config)
    stopped = []

    def stop_first(_progress):
        alive = members_alive()
        if not stopped and alive:
            stopped.append(alive[0].pid)
            os.kill(alive[0].pid, signal.SIGSTOP)

    with pytest.raises(TrainingError, match=r"PPO-fold\d-seed0 failed: no progress for 4 s"):
        train_run(run_id, stop_first)
    assert members_alive() == []
    assert read_part(run_id, "block")["segment"] not in segments()


def test_failing_member_shows_its_last_words(home):
    run_id = start_run(save_panel(random_panel()), CONFIG)
    work = run_folder(run_id) / "members" / "RecurrentPPO-fold1-seed0"
    work.mkdir(parents=True)
    (work / "tensorboard").write_text("a file where the logs should go")
    with pytest.raises(TrainingError, match=r"(?s)RecurrentPPO-fold1-seed0 failed.*tensorboard"):
        train_run(run_id)
    assert members_alive() == []


def test_damaged_policy_is_moved_aside_and_trained_again(home):
    config = CONFIG.model_copy(update={"algos": ("PPO",)})
    run_id = start_run(save_panel(random_panel()), config)
    first = {r.fold: Path(r.policy_folder) for r in train_run(run_id)}
    good = (first[1] / "policy.safetensors").read_bytes()
    (first[1] / "policy.safetensors").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    again = {r.fold: r.reused for r in train_run(run_id)}
    assert again == {0: True, 1: False}
    assert (first[1] / "policy.safetensors").read_bytes() == good


def test_run_goes_on_after_its_home_has_moved(home, tmp_path, monkeypatch):
    config = CONFIG.model_copy(update={"algos": ("PPO",)})
    run_id = start_run(save_panel(random_panel()), config)
    train_run(run_id)
    home.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / "elsewhere"))
    assert start_run(save_panel(random_panel()), config) == run_id
    assert all(result.reused for result in train_run(run_id))


def test_patience_with_members_is_no_part_of_the_run_id(home):
    panel = save_panel(random_panel())
    patient = CONFIG.model_copy(update={"member_timeout_s": 9999.0, "member_retries": 7})
    assert start_run(panel, CONFIG) == start_run(panel, patient)
    assert load_run(start_run(panel, patient)).config.member_retries == 7


def test_seeds_that_follow_one_another_do_not_share_their_windows(home):
    panel = random_panel()
    run_id = start_run(save_panel(panel), CONFIG)
    fold = load_run(run_id).folds[0]
    starts = []
    for seed in (0, 1):
        spec = MemberSpec.model_construct(algo="PPO", fold=fold, seed=seed)
        batch = Batch(
            market_of(panel), fit_scaler(panel, fold.train, 5.0), CONFIG.env, fold.train, 32
        )
        batch.seed(spec.random_seed)
        batch.reset()
        starts.append(list(zip(batch.episodes.row, batch.episodes.stop, strict=True)))
    shared = sum(one == two for one in starts[0] for two in starts[1])
    assert shared < 16  # 1,024 pairs of windows over 60 rows: a dozen coincide by chance


@pytest.mark.parametrize("change", [{"seeds": (0, 0)}, {"seeds": (-1,)}, {"algos": ("PPO", "PPO")}])
def test_seeds_and_algorithms_that_cannot_be_told_apart_are_refused(change):
    with pytest.raises(ValueError, match=r"distinct|greater than or equal"):
        TrainConfig.model_validate(CONFIG.model_dump() | change)


def test_folds_longer_than_the_data_are_refused_before_anything_is_written(home):
    config = CONFIG.model_copy(update={"folds": FoldConfig(n_folds=3, test_bars=252)})
    panel = save_panel(random_panel())
    with pytest.raises(FoldError, match="do not fit the data"):
        start_run(panel, config)
    assert not (home / "runs").exists()


def test_progress_is_reported_while_members_train(home):
    messages = []
    lock = threading.Lock()

    def note(progress):
        with lock:
            messages.append(progress.message)

    config = CONFIG.model_copy(
        update={
            "algos": ("PPO",),
            "ppo": CONFIG.ppo.model_copy(update={"total_timesteps": 8192}),
        }
    )
    train_run(start_run(save_panel(random_panel()), config), note)
    assert any("steps at" in message for message in messages)


def test_run_whose_members_stop_early_is_done(home):
    config = CONFIG.model_copy(
        update={
            "algos": ("PPO",),
            "ppo": CONFIG.ppo.model_copy(update={"total_timesteps": 40 * 2048}),
            "selection_checks": 40,
            "patience_checks": 2,
        }
    )
    seen = []
    results = train_run(start_run(save_panel(random_panel()), config), seen.append)
    assert all(result.timesteps < 40 * 2048 for result in results)
    assert seen[-1].members_done == 2
    trained = sum(result.timesteps for result in results)
    assert seen[-1].done_steps == seen[-1].total_steps == trained
