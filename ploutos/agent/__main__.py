"""A member process: `python -m ploutos.agent SPEC`. In: a spec file. Out: a policy folder.

Reports progress as JSON lines on standard output. On SIGTERM, and when its standard input closes,
that is, when its parent is gone, it leaves a checkpoint and ends. The exit code says which.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from ploutos.agent.member import run_member
from ploutos.agent.spec import DIVERGED_EXIT, ORPHANED_EXIT, STOPPED_EXIT, MemberSpec
from ploutos.errors import DivergedError

logger = logging.getLogger(__name__)

# What an orphan may still take to write its checkpoint.
GRACE_S = 4.0


def _end_with_parent(stop: threading.Event) -> None:
    # os.read, because a buffered reader's lock would be held when the interpreter shuts down.
    while os.read(0, 4096):
        pass
    stop.set()
    time.sleep(GRACE_S)
    os._exit(ORPHANED_EXIT)


def _report(stop: threading.Event, timesteps: int, steps_per_s: float) -> None:
    try:
        print(json.dumps({"timesteps": timesteps, "steps_per_s": steps_per_s}), flush=True)
    except BrokenPipeError:
        stop.set()  # nobody listens any more


def main() -> None:
    """Run the member whose spec file is the only argument."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    spec = MemberSpec.model_validate_json(Path(sys.argv[1]).read_bytes())
    try:
        code = 0 if run_member(spec, partial(_report, stop), stop) else STOPPED_EXIT
    except DivergedError:
        logger.exception("%s cannot go on", spec.name)
        code = DIVERGED_EXIT
    # Taking the interpreter apart takes torch a second or two, which whoever said stop waits for.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
