"""Real member processes: stopped by signals, hanging, failing. Nothing is left behind or lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from ploutos.agent import TrainConfig
from ploutos.agent.checkpoint import MANIFEST, CheckpointManifest
from ploutos.agent.train import start_run, train_run
from ploutos.agent.untrusted import read_sealed
from ploutos.agent.watch import end, watch
from ploutos.env.config import EnvConfig
from ploutos.errors import DivergedError
from ploutos.folds import FoldConfig
from ploutos.panel import save_panel
from ploutos.runs import read_part, run_folder
from tests.agent.members import PPO, members_of
from tests.panels import random_panel

CONFIG = TrainConfig(
    algos=("PPO",),
    seeds=(0,),
    folds=FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60),
    env=EnvConfig(episode_bars=20),
    ppo=PPO.model_copy(update={"total_timesteps": 16 * 2048, "n_epochs": 3}),
    selection_checks=2,
    warm_up_bars=4,
)
PARENT = """
import sys
from ploutos.agent.train import train_run
train_run(sys.argv[1], lambda now: print(now.message, flush=True))
"""


class ParentProcess:
    """A process that trains a run; reads what it says about its members."""

    def __init__(self, run_id):
        command = [sys.executable, "-c", PARENT, run_id]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.steps = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            name, _, rest = line.partition(":")
            if " steps " in rest:
                self.steps[name] = int(rest.split()[0].replace(",", ""))

    def wait_for_steps(self, n_members, least):
        deadline = time.monotonic() + 120
        while sum(steps >= least for steps in self.steps.values()) < n_members:
            assert time.monotonic() < deadline, self.steps
            assert self.process.poll() is None
            time.sleep(0.02)

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def finish(self):
        code = self.process.wait(60)
        self._reader.join(10)
        self.process.stdout.close()
        return code


def still_running(processes, timeout_s):
    """Return those that have not ended; a container may have nobody to collect the dead."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def checkpoint_steps(run_id):
    """Return the steps of the newest checkpoint of every member."""
    found = {}
    for folder in (run_folder(run_id) / "members").glob("*/checkpoint"):
        manifest = read_sealed(max(folder.glob("0*")) / MANIFEST, CheckpointManifest)
        found[folder.parent.name] = manifest.numbers.num_timesteps
    return found


def parameters(run_id):
    """Return the bytes of every policy's parameters, by its name."""
    found = (run_folder(run_id) / "policies").glob("*/policy.safetensors")
    return {path.parent.name: path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The parameters of the run that nobody disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLOUTOS_HOME", str(tmp_path_factory.mktemp("home")))
        run_id = start_run(save_panel(random_panel()), CONFIG)
        train_run(run_id)
        return parameters(run_id)


def test_sigterm_and_sigkill_five_seconds_later_lose_less_than_a_rollout(home, uninterrupted):
    run_id = start_run(save_panel(random_panel()), CONFIG)
    parent = ParentProcess(run_id)
    parent.wait_for_steps(2, 2048)
    children, reached = parent.children(), dict(parent.steps)
    parent.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 5
    while parent.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.process.kill()
    assert still_running(children, 0.5) == []
    # Its members and its block are gone by then, if perhaps not yet torch.
    assert parent.finish() in (128 + signal.SIGTERM, -signal.SIGKILL)
    assert len(children) >= 2
    saved, finished = checkpoint_steps(run_id), parameters(run_id)
    # On a busy machine one may have finished before the other had begun: it has its policy.
    assert saved.keys() | finished.keys() == reached.keys()
    assert all(saved[name] >= reached[name] for name in saved), (saved, reached)
    segment = read_part(run_id, "block")["segment"]
    assert not (Path("/dev/shm") / segment).exists()
    results = train_run(run_id)
    assert len(results) == 2
    assert parameters(run_id) == uninterrupted


def test_members_of_a_killed_parent_leave_a_checkpoint_and_end(home):
    endless = CONFIG.ppo.model_copy(update={"total_timesteps": 10**9})
    run_id = start_run(save_panel(random_panel()), CONFIG.model_copy(update={"ppo": endless}))
    parent = ParentProcess(run_id)
    parent.wait_for_steps(2, 3 * 2048)
    children, reached = parent.children(), dict(parent.steps)
    parent.process.kill()
    assert still_running(children, 10) == []
    assert parent.finish() == -signal.SIGKILL
    saved = checkpoint_steps(run_id)
    assert all(saved[name] >= reached[name] for name in reached), (saved, reached)


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_member_that_is_ended_alone_is_continued_with_the_same_result(home, uninterrupted, kind):
    run_id = start_run(save_panel(random_panel()), CONFIG)
    ended = []

    def end_first(now):
        steps = int(now.message.split(":")[1].split()[0].replace(",", ""))
        members = members_of(os.getpid())
        if not ended and members and steps > 2048:
            ended.append(members[0].pid)
            os.kill(members[0].pid, kind)

    train_run(run_id, end_first)
    assert len(ended) == 1
    assert parameters(run_id) == uninterrupted


def test_member_whose_numbers_are_absurd_is_not_started_again(home):
    panel = random_panel()
    prices = panel.prices.copy()
    prices[20, 1, 3] = np.inf
    config = CONFIG.model_copy(
        update={"env": EnvConfig(episode_bars=None), "member_retries": 5, "seeds": (0, 1)}
    )
    run_id = start_run(save_panel(replace(panel, prices=prices)), config)
    began = []
    with pytest.raises(DivergedError, match=r"(?s)exit code 4.*panel row 19.*S1 moved most"):
        train_run(run_id, lambda now: began.append(": 0 steps" in now.message))
    # Each member begins, and once more from its checkpoint, but in no second process.
    assert sum(began) <= 2 * 4
    assert members_of(os.getpid()) == []


def child(code):
    """Start a Python child as a member is started."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_child_that_hangs_in_the_middle_of_a_line_is_noticed():
    process = child("import time; print('never ended', end='', flush=True); time.sleep(60)")
    began = time.monotonic()
    reason = watch(process, lambda _line: True, 1.0, threading.Event())
    end(process, 0.0)
    assert reason == "no progress for 1 s"
    assert time.monotonic() - began < 20


def test_child_that_talks_without_progress_is_noticed():
    process = child("import time\nwhile True: print('noise', flush=True); time.sleep(0.01)")
    reason = watch(process, lambda _line: False, 1.0, threading.Event())
    end(process, 0.0)
    assert reason == "no progress for 1 s"


def test_child_that_closes_its_output_and_stays_is_noticed():
    process = child("import os, time; os.close(1); time.sleep(60)")
    reason = watch(process, lambda _line: True, 1.0, threading.Event())
    end(process, 0.0)
    assert reason == "it closed its output and did not end within 1 s"


def test_every_line_of_a_burst_is_passed_on():
    process = child("print(*range(100_000), sep='\\n')")
    lines = []
    assert (
        watch(process, lambda line: lines.append(int(line)) is None, 30.0, threading.Event())
        is None
    )
    end(process, 0.0)
    assert lines == list(range(100_000))
    assert process.returncode == 0


def test_stop_is_noticed_at_once():
    process = child("import time; time.sleep(60)")
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    assert watch(process, lambda _line: True, 50.0, stop) == "the run is stopping"
    assert time.monotonic() - began < 5
    end(process, 0.0)


@pytest.mark.parametrize("stubborn", ["SIGTERM is ignored", "stopped"])
def test_child_that_does_not_listen_is_killed_after_its_grace(stubborn):
    process = child(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready', flush=True); time.sleep(60)"
    )
    process.stdout.readline()
    if stubborn == "stopped":
        process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    end(process, 0.5)
    assert process.returncode == -signal.SIGKILL
    assert 0.5 <= time.monotonic() - began < 10


def test_child_takes_its_own_children_along():
    process = child(
        "import subprocess, sys, time;"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(one.pid, flush=True); time.sleep(60)"
    )
    grandchild = psutil.Process(int(process.stdout.readline()))
    end(process, 0.0)
    assert still_running([grandchild], 10) == []
