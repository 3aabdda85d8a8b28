"""A member's training loop. In: a learner and what it was told. Out: a trained one, or its excuse.

Between rollouts it reports, scores on the validation rows, stops early, and keeps a snapshot; every
now and then the snapshot becomes a checkpoint. Inside a rollout and between two minibatches it asks
whether to stop; then what came after the snapshot is dropped, so that going on later gives the same
numbers as not having stopped. Rollouts and gradients pass the guards before anything is learned.
"""

# SB3 has no public names for the state of its training loop.
# pyright: reportPrivateUsage=false

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stable_baselines3.common.callbacks import BaseCallback

from ploutos.agent.checkpoint import save_checkpoint
from ploutos.agent.gradients import watch_gradients
from ploutos.agent.guards import Scene, check_rollout
from ploutos.agent.learner import Learner
from ploutos.agent.learner_state import (
    Snapshot,
    copy_parameters,
    first_not_finite,
    take_snapshot,
)
from ploutos.agent.progress import Progress, is_out_of_patience, note_score
from ploutos.agent.spec import MemberSpec
from ploutos.errors import DivergedError

CHECKPOINT_EVERY_S = 10.0


class Parent(NamedTuple):
    """Whoever started a member.

    report: called with (timesteps, steps_per_s) at the start (speed 0), between rollouts and at the
    end. stop: when it is set, the member leaves a checkpoint and returns.
    """

    report: Callable[[int, float], None]
    stop: threading.Event


class _LeaveError(Exception):
    """Raised inside `learn` to get out of it; SB3 cannot be told to stop between two rollouts."""


class Loop(BaseCallback):
    """The callback that SB3 calls before, in and after rollouts.

    Parameters
    ----------
    spec : MemberSpec
        What to train.
    learner : (PPO or RecurrentPPO, Scene)
        The learner, new or put back to a checkpoint, and what to judge its rollouts by.
    progress : Progress
        How far it is; changed as it goes on.
    score : callable
        Returns the score of the current parameters.
    parent : Parent
        Whom to report to, and who may say stop.
    """

    def __init__(
        self,
        spec: MemberSpec,
        learner: tuple[Learner, Scene],
        progress: Progress,
        score: Callable[[], float],
        parent: Parent,
    ) -> None:
        super().__init__()
        self.spec, self.progress, self.score, self._parent = spec, progress, score, parent
        self.learner, self.scene = learner
        self.folder = checkpoint_folder(spec)
        self._began = time.monotonic()
        self._trained_before = progress.trained_s
        self._is_resumed = self.learner._last_obs is not None
        # The very first rollout begins with a checkpoint: then there is always one to go back to.
        self._saved_steps = self.learner.num_timesteps if self._is_resumed else -1
        self._saved_at = self._began
        self._was_stopped = self._has_passed = False
        self._boundary: Snapshot | None = None
        self._first_row = self.scene.batch.episodes.row.copy()

    def run(self) -> bool:
        """Train to the end, or until patience ends; False if it was stopped and can go on later.

        Raises
        ------
        DivergedError
            If a number is not finite or absurd; no parameter was changed by it.
        """
        try:
            return self._run()
        except DivergedError as error:
            raise DivergedError(f"{self.spec.name}: {error}") from error

    def _run(self) -> bool:
        model, left = self.learner, self.spec.learner.total_timesteps - self.learner.num_timesteps
        if left > 0 and not is_out_of_patience(self.progress, self.spec.patience_checks):
            watch = watch_gradients(model, self._leave_if_told)
            try:
                model.learn(left, callback=self, reset_num_timesteps=not self._is_resumed)
            except _LeaveError:
                pass
            except Exception:
                # Torch only says that a number is invalid; if it came from the rollout, name it.
                if not self._has_passed:
                    check_rollout(model, self.scene, self._first_row)
                raise
            finally:
                watch.remove()
        if self._was_stopped:
            self._save_boundary()
        elif not is_out_of_patience(self.progress, self.spec.patience_checks):
            self._check()
        return not self._was_stopped

    def _on_rollout_start(self) -> None:
        steps = self.learner.num_timesteps
        if steps > 0:
            self._note_time()
            self._parent.report(steps, steps / self.progress.trained_s)
        self._take_boundary()
        self._leave_if_told()
        every = self.spec.learner.total_timesteps / self.spec.selection_checks
        if steps > 0 and steps >= every * (self.progress.checks_done + 1):
            self._check()
            self._take_boundary()
        if is_out_of_patience(self.progress, self.spec.patience_checks):
            raise _LeaveError
        if self._saved_steps < 0 or time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S:
            self._save_boundary()

    def _on_step(self) -> bool:
        self._leave_if_told()
        return True

    def _on_rollout_end(self) -> None:
        check_rollout(self.learner, self.scene, self._first_row)
        self._has_passed = True

    def _take_boundary(self) -> None:
        self._has_passed = False
        self._boundary = take_snapshot(self.learner, self.scene.batch, self.progress)
        self._first_row = self.scene.batch.episodes.row.copy()

    def _save_boundary(self) -> None:
        if self._boundary is None or self._boundary.numbers.num_timesteps <= self._saved_steps:
            return
        save_checkpoint(self.folder, self.spec.digest, self._boundary)
        self._saved_steps = self._boundary.numbers.num_timesteps
        self._saved_at = time.monotonic()

    def _leave_if_told(self) -> None:
        if self._parent.stop.is_set():
            self._was_stopped = True
            raise _LeaveError

    def _check(self) -> None:
        """Score the current parameters, and keep them if they are the best."""
        bad = first_not_finite(dict(self.learner.policy.state_dict()))
        if bad is not None:
            raise DivergedError(
                f"expected finite parameters after {self.learner.num_timesteps} steps, received "
                f"others in {bad}. Lower the learning rate."
            )
        note_score(self.progress, self.score(), copy_parameters(self.learner))
        self._note_time()

    def _note_time(self) -> None:
        self.progress.trained_s = self._trained_before + time.monotonic() - self._began


def checkpoint_folder(spec: MemberSpec) -> Path:
    """Return where a member's checkpoints lie."""
    return Path(spec.work_folder) / "checkpoint"
