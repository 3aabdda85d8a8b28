"""Members in this process: falling back, stopping and going on, stopping early."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from ploutos.agent.checkpoint import (
    MANIFEST,
    CheckpointManifest,
    load_checkpoint,
    save_checkpoint,
)
from ploutos.agent.guards import scene_of
from ploutos.agent.learner import build_learner
from ploutos.agent.learner_state import copy_parameters, take_snapshot
from ploutos.agent.loop import Loop, checkpoint_folder
from ploutos.agent.member import run_member
from ploutos.agent.policy import load_policy
from ploutos.agent.progress import Progress
from ploutos.agent.untrusted import read_sealed
from ploutos.block import attach
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.errors import DivergedError
from tests.agent.batches import panel_with_gaps
from tests.agent.learners import ROLLOUT, STOCK, stock
from tests.agent.members import PPO, RECURRENT, Listener, member_over
from tests.panels import random_panel

FELL_BACK = "with other random numbers"
SPECS = [{"algo": "PPO", "learner": PPO}, {"algo": "RecurrentPPO", "learner": RECURRENT}]


def panel_with_price(value, row, bars=200):
    """Return a panel in which one symbol closes absurdly, once."""
    panel = random_panel(bars=bars)
    prices = panel.prices.copy()
    prices[row, 1, 3] = value
    return replace(panel, prices=prices)


def parameters_of(spec):
    return load_policy(Path(spec.folder)).network.state_dict()


@pytest.mark.parametrize("value", [np.inf, 1e30])
@pytest.mark.parametrize("changes", SPECS, ids=["PPO", "RecurrentPPO"])
def test_bad_price_fails_the_member_and_names_bar_and_symbol(
    home, tmp_path, caplog, changes, value
):
    # Every episode is all rows: other random numbers cannot avoid the bar.
    panel = panel_with_price(value, 60, bars=120)
    closed_on = datetime.fromtimestamp(panel.closed_at[59] / 1e9, UTC).date()
    named = rf"PPO-fold0-seed0: .*, panel row 59 \(closed {closed_on}\); S1 moved most"
    learner = changes["learner"].model_copy(update={"total_timesteps": 2048})
    env = EnvConfig(episode_bars=None)
    changes = changes | {"learner": learner, "env": env}
    refused = pytest.raises(DivergedError, match=named)
    with member_over(panel, tmp_path, **changes) as spec, refused:
        run_member(spec, Listener())
    assert caplog.text.count(FELL_BACK) == 1
    assert not Path(spec.folder).exists()


def test_member_that_met_a_bad_bar_by_chance_goes_on_with_other_draws(home, tmp_path, caplog):
    panel = panel_with_price(1e30, 400, bars=800)
    learner = PPO.model_copy(update={"total_timesteps": 256})
    with member_over(panel, tmp_path, n_envs=2, n_steps=64, learner=learner) as spec:
        for seed in range(30):
            folder = str(tmp_path / f"policy{seed}")
            work = str(tmp_path / f"work{seed}")
            changes = {"seed": seed, "folder": folder, "work_folder": work}
            one = spec.model_copy(update=changes)
            try:
                assert run_member(one, Listener())
            except DivergedError:
                continue
            if FELL_BACK in caplog.text:
                break
            caplog.clear()
    assert caplog.text.count(FELL_BACK) == 1
    assert load_policy(Path(one.folder)).manifest.timesteps == 256
    assert not checkpoint_folder(one).exists()


@pytest.mark.parametrize("changes", SPECS, ids=["PPO", "RecurrentPPO"])
def test_member_that_is_stopped_again_and_again_ends_with_the_same_parameters(
    home, tmp_path, changes
):
    with member_over(random_panel(), tmp_path, selection_checks=3, **changes) as spec:
        assert run_member(spec, Listener())
        expected = parameters_of(spec)
        again = spec.model_copy(
            update={"folder": str(tmp_path / "again"), "work_folder": str(tmp_path / "stopped")}
        )
        stops = [Listener(stop_after=reports) for reports in (2, 4, 3, 2)]
        for stop in stops:
            assert not run_member(again, stop, stop.event)
            assert not Path(again.folder).exists()
        reached = [stop.reports[-1][0] for stop in stops]
        assert reached == sorted(reached)
        assert reached[-1] > reached[0]
        assert run_member(again, Listener())
        received = parameters_of(again)
    for name, value in expected.items():
        assert torch.equal(value, received[name]), name


def test_stop_between_two_minibatches_drops_the_rollout(home, tmp_path):
    model, batch = stock(STOCK[0])
    listener, seen = Listener(), []

    def stop_in_the_second_update(_optimizer, _args, _kwargs):
        seen.append(copy_parameters(model))
        if len(seen) == 3:  # of two minibatches each
            listener.event.set()

    model.policy.optimizer.register_step_post_hook(stop_in_the_second_update)
    with member_over(panel_with_gaps(), tmp_path) as spec:
        learner = (model, scene_of(panel_with_gaps(), batch))
        assert not Loop(spec, learner, Progress(), lambda: 0.0, listener.parent).run()
        assert len(seen) == 3
        load_checkpoint(checkpoint_folder(spec), spec.digest, model, batch)
    assert model.num_timesteps == 2 * ROLLOUT
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, seen[1][name]), name
    assert not torch.equal(seen[2]["action_net.weight"], seen[1]["action_net.weight"])


def checkpoint_steps(spec):
    """Return the number of steps of the newest checkpoint of a member."""
    newest = max(checkpoint_folder(spec).glob("0*"))
    return read_sealed(newest / MANIFEST, CheckpointManifest).numbers.num_timesteps


def test_member_stops_early_when_its_score_does_not_improve(home, tmp_path):
    checks = {"selection_checks": 8, "n_envs": 4, "n_steps": 16}
    with member_over(random_panel(), tmp_path, patience_checks=2, **checks) as spec:
        patient = spec.model_copy(
            update={"patience_checks": None, "folder": str(tmp_path / "patient")}
        )
        assert run_member(spec, Listener())
        early = load_policy(Path(spec.folder))
        # The same member, told to train only as far as it came, has the same scores and choice.
        shorter = early.manifest.timesteps
        assert shorter < 512
        scores = scores_of(patient.model_copy(update={"work_folder": str(tmp_path / "scores")}))
    best = int(np.argmax(scores[: shorter // 64]))
    assert shorter // 64 - 1 - best == 2
    assert early.manifest.selection_score == scores[best]


def scores_of(spec):
    """Return the score at every check of a member that trains to the end, by stopping at each."""
    scores = []
    for number in range(1, 9):
        listener = Listener()
        learner = spec.learner.model_copy(update={"total_timesteps": 64 * number})
        one = spec.model_copy(
            update={"learner": learner, "selection_checks": 1, "folder": f"{spec.folder}{number}"}
        )
        assert run_member(one, listener)
        scores.append(load_policy(Path(one.folder)).manifest.selection_score)
    return scores


def test_member_that_has_lost_its_patience_trains_no_further_when_it_is_started_again(
    home, tmp_path
):
    with member_over(random_panel(), tmp_path, selection_checks=8, patience_checks=1) as spec:
        folder = checkpoint_folder(spec)
        stop = Listener(stop_after=3)
        assert not run_member(spec, stop, stop.event)
        model, batch = learner_of(spec)
        progress = load_checkpoint(folder, spec.digest, model, batch)
        progress.checks_since_best = 1
        save_checkpoint(folder, spec.digest, take_snapshot(model, batch, progress))
        listener = Listener()
        assert run_member(spec, listener)
        assert {steps for steps, _ in listener.reports} == {model.num_timesteps}


def learner_of(spec):
    """Return a new learner of a member, and its batch."""
    with attach(spec.block) as block:
        scaler = fit_scaler(block.panel, spec.fold.train, spec.env.clip)
        batch = Batch(market_of(block.panel), scaler, spec.env, spec.fold.train, spec.n_envs)
    return build_learner(batch, spec.learner, (spec.n_steps, spec.batch_size), 0), batch


def test_damaged_checkpoints_make_the_member_start_anew(home, tmp_path, caplog):
    with member_over(random_panel(), tmp_path) as spec:
        whole = spec.model_copy(update={"folder": str(tmp_path / "whole")})
        assert run_member(whole, Listener())
        stop = Listener(stop_after=5)
        assert not run_member(spec, stop, stop.event)
        for state in checkpoint_folder(spec).rglob("*.safetensors"):
            state.write_bytes(state.read_bytes()[:-1])
        listener = Listener()
        assert run_member(spec, listener)
        assert listener.reports[0] == (0, 0.0)
        assert "starts anew" in caplog.text
        expected, received = parameters_of(whole), parameters_of(spec)
    for name, value in expected.items():
        assert torch.equal(value, received[name]), name


def test_checkpoint_is_never_older_than_its_interval(home, tmp_path, monkeypatch):
    monkeypatch.setattr("ploutos.agent.loop.CHECKPOINT_EVERY_S", 0.0)
    with member_over(random_panel(), tmp_path) as spec:
        saved = []

        def listen(timesteps, _steps_per_s):
            if 0 < timesteps < 512:
                saved.append((timesteps, checkpoint_steps(spec)))

        assert run_member(spec, listen)
    assert saved == [(steps, steps - 64) for steps in range(64, 512, 64)]
