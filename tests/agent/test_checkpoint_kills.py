"""A member that is killed while it saves: whatever the instant, a whole checkpoint is there."""

import multiprocessing
import os
import signal
import time

import numpy as np

from ploutos.agent.checkpoint import (
    MANIFEST,
    STATE,
    CheckpointManifest,
    load_checkpoint,
    save_checkpoint,
)
from ploutos.agent.learner_state import Snapshot
from ploutos.agent.tensors import load_tensors
from ploutos.agent.untrusted import read_sealed
from tests.agent.learners import LEARNERS, MEMBER, fresh, save, trained

# A long run takes PLOUTOS_TEST_KILLS=100, as in tests/block/test_kills.py.
KILLS = int(os.environ.get("PLOUTOS_TEST_KILLS", "20"))


def save_without_end(source, folder, saved):
    """Save a checkpoint again and again, with a growing number of steps, and tell after each."""
    manifest = read_sealed(source / MANIFEST, CheckpointManifest)
    tensors = load_tensors(source / STATE, manifest.state_digest)
    steps = manifest.numbers.num_timesteps
    while True:
        numbers = manifest.numbers.model_copy(update={"num_timesteps": steps})
        save_checkpoint(folder, MEMBER, Snapshot(numbers, tensors))
        saved.send(steps)
        steps += 1


def test_kill_during_a_save_leaves_a_whole_checkpoint(tmp_path):
    source = save(tmp_path / "source", *trained(LEARNERS[0]))
    learner, folder = fresh(LEARNERS[0]), tmp_path / "checkpoint"
    # Its children are processes like any other, but torch is imported only once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ploutos.agent.checkpoint"])
    rng = np.random.default_rng(0)
    interrupted = 0
    for _ in range(KILLS):
        told, saved = context.Pipe(duplex=False)
        child = context.Process(target=save_without_end, args=(source, folder, saved))
        child.start()
        saved.close()
        last = told.recv()
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        last = max([last, *remaining(told)])
        interrupted += any(path.name.startswith(".") for path in folder.iterdir())
        progress = load_checkpoint(folder, MEMBER, *learner)
        assert progress is not None
        assert learner[0].num_timesteps in (last, last + 1)
        for path in folder.glob(".*"):
            path.rename(tmp_path / f"{child.pid}{path.name}")
    assert interrupted > 0


def remaining(told):
    """Return what was still in the pipe of a dead process."""
    messages = []
    try:
        while True:
            messages.append(told.recv())
    except EOFError:
        return messages
