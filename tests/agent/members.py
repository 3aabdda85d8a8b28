"""Specs of small members over a block of their own, and a way to run them in this process."""

import threading
from contextlib import contextmanager

import psutil

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.loop import Parent
from ploutos.agent.spec import MemberSpec
from ploutos.block import SharedDataManager
from ploutos.env.config import EnvConfig
from ploutos.folds import Fold, Rows
from ploutos.panel import save_panel

PPO = PPOConfig(total_timesteps=512, n_epochs=1, net_arch=(8,))
RECURRENT = RecurrentPPOConfig(total_timesteps=512, n_epochs=1, net_arch=(8,), lstm_hidden_size=4)


def fold_of(panel):
    """Return a fold whose last fifth is validation; nothing is left to test on."""
    first, last = panel.meta.first_row, panel.n_rows
    cut = first + (last - first) * 4 // 5
    return Fold(
        index=0,
        train=Rows(start=first, stop=cut),
        purge=Rows(start=cut, stop=cut),
        validation=Rows(start=cut, stop=last),
        embargo=Rows(start=last, stop=last),
        test=Rows(start=last, stop=last),
    )


@contextmanager
def member_over(panel, folder, **changes):
    """Publish a panel and yield the spec of a member over it; needs the fixture `home`."""
    with SharedDataManager(save_panel(panel)) as owner:
        spec = {
            "run_id": "0123",
            "algo": "PPO",
            "fold": fold_of(panel),
            "seed": 0,
            "learner": PPO,
            "env": EnvConfig(episode_bars=20),
            "block": owner.ref,
            "n_envs": 4,
            "n_steps": 16,
            "batch_size": 32,
            "torch_threads": 1,
            "env_threads": 1,
            "selection_checks": 1,
            "warm_up_bars": 2,
            "folder": str(folder / "policy"),
            "work_folder": str(folder / "work"),
        }
        yield MemberSpec(**(spec | changes))


class Listener:
    """A parent that notes what is reported, and says stop after so many reports."""

    def __init__(self, stop_after=None):
        self.reports = []
        self.stop_after = stop_after
        self.event = threading.Event()

    def __call__(self, timesteps, steps_per_s):
        self.reports.append((timesteps, steps_per_s))
        if len(self.reports) == self.stop_after:
            self.event.set()

    @property
    def parent(self):
        return Parent(self, self.event)


def members_of(pid):
    """Return the member processes below a process."""
    return [p for p in psutil.Process(pid).children(recursive=True) if _is_member(p)]


def _is_member(process):
    try:
        return "spec.json" in " ".join(process.cmdline())
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return False
