"""Real faults for the ledger and the cycle: processes that race, die at once, or fill the disk.

`python -m tests.trading.drills FOLDER` runs them all and prints a JSON report. The imports
and the compilation are paid for once here; every victim is a forked process of its own that
opens its own ledger.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np

from ploutos.errors import LedgerError
from ploutos.trading.cycle import decide_cycle, run, settle_cycle
from ploutos.trading.events import Claim, Note, Opened
from ploutos.trading.ledger import Ledger
from ploutos.trading.ledger_schema import url_of
from tests.trading.desks import BARS, clock_of, desk_on, weekdays

# The split of BBB, then two missed sessions, a dividend of AAA, a missing bar of CCC.
LAST_ROWS = (BARS - 13, BARS - 12, BARS - 9, BARS - 8)
NOW = 1_362_000_000_000_000_000


def in_child(work):
    """Run `work()` in a forked process; return its exit status as `waitpid` gives it."""
    return os.waitpid(start_child(work), 0)[1]


def start_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent must not run on twice
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return pid


def trade(path, after_step=lambda: None):
    """Trade the rows of the drill; `after_step` is called at every step boundary."""
    desk = desk_on(path)
    clock = clock_of(desk.market)
    with desk.ledger:
        for row in LAST_ROWS:
            session, now = desk.sessions[row], int(clock[row])
            start = settle_cycle if row == LAST_ROWS[-1] else decide_cycle
            for _ in start(desk, session, now):
                after_step()


def die_after(steps):
    left = steps

    def after_step():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return after_step


def head_of(path):
    with Ledger(url_of(path)) as ledger:
        return ledger.verify().head


def undisturbed(folder):
    """Trade without a fault; return the number of steps and the head."""
    steps = 0

    def count():
        nonlocal steps
        steps += 1

    trade(folder / "undisturbed.sqlite", count)
    return steps, head_of(folder / "undisturbed.sqlite")


def boundaries(folder):
    steps, head = undisturbed(folder)
    killed, heads = 0, []
    for step in range(1, steps + 1):
        path = folder / f"{step}.sqlite"
        status = in_child(lambda p=path, s=step: trade(p, die_after(s)))
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if in_child(lambda p=path: trade(p)) != 0:
            raise RuntimeError(f"the start after the kill at step {step} failed")
        heads.append(head_of(path))
    return {"steps": steps, "killed": killed, "heads": heads, "undisturbed": head}


def instants(folder):
    _, head = undisturbed(folder)
    rng = np.random.default_rng(1)
    killed, heads = 0, []
    for number in range(4):
        path = folder / f"{number}.sqlite"
        patience_s, finished = 0.005, False
        while not finished:
            pid = start_child(lambda p=path: trade(p))
            time.sleep(patience_s * rng.uniform(0.5, 1.5))
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            killed += os.WIFSIGNALED(status)
            finished = status == 0
            patience_s *= 1.2
        heads.append(head_of(path))
    return {"killed": killed, "heads": heads, "undisturbed": head}


def double_fire(folder):
    _, head = undisturbed(folder)
    path = folder / "ledger.sqlite"
    desk_on(path).ledger.close()
    clock = clock_of(desk_on(path).market)

    def fire(row):
        desk = desk_on(path)
        start = settle_cycle if row == LAST_ROWS[-1] else decide_cycle
        try:
            outcome = run(start(desk, desk.sessions[row], int(clock[row]))).outcome
        except LedgerError as error:
            outcome = type(error).__name__
        with (folder / "outcomes").open("a") as file:
            file.write(f"{'decided' if outcome == 'settled' else outcome}\n")

    for row in LAST_ROWS:
        for pid in [start_child(lambda r=row: fire(r)) for _ in range(3)]:
            os.waitpid(pid, 0)
    outcomes = (folder / "outcomes").read_text().split("\n")[:-1]
    return {
        "sessions": len(LAST_ROWS),
        "outcomes": outcomes,
        "head": head_of(path),
        "undisturbed": head,
    }


def race(folder):
    path = folder / "ledger.sqlite"
    days = weekdays(30)
    with Ledger(url_of(path)) as ledger:
        opened = Opened(mode="paper", symbols=("AAA",), initial_cash_micro=0)
        ledger.append("a", [opened], NOW)

    def claim_all(name):
        with Ledger(url_of(path)) as ledger:
            for day in days:
                try:
                    ledger.append("a", [Claim(strategy="s", session=day)], NOW)
                except LedgerError:
                    continue
                with (folder / "winners").open("a") as file:
                    file.write(f"{day} {name}\n")

    children = [start_child(lambda n=name: claim_all(n)) for name in ("one", "two")]
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    lines = [line.split() for line in (folder / "winners").read_text().splitlines()]
    with Ledger(url_of(path)) as ledger:
        events = ledger.verify().events
    winners = [[name for when, name in lines if when == day] for day in days]
    return {"winners": winners, "events": events, "statuses": statuses}


def full_disk(folder):
    """Fill the ledger under a limit on the size of any file this process writes."""
    refusal, recorded = "", 1
    with Ledger(url_of(folder / "ledger.sqlite")) as ledger:
        opened = Opened(mode="paper", symbols=("AAA",), initial_cash_micro=0)
        ledger.append("a", [opened], NOW)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            for _ in range(1000):
                ledger.append("a", [Note(text="x" * 900)], NOW)
                recorded += 1
        except LedgerError as error:
            refusal = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"refusal": refusal, "recorded": recorded, "path": str(folder / "ledger.sqlite")}


DRILLS = (race, full_disk, boundaries, instants, double_fire)


def run_drills(folder):
    report = {}
    for drill in DRILLS:
        own = folder / drill.__name__
        own.mkdir()
        report[drill.__name__] = drill(own)
    return report


if __name__ == "__main__":
    print(json.dumps(run_drills(Path(sys.argv[1]))))
