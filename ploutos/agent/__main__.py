"""A member process: `python -m ploutos.agent SPEC`. In: a spec file. Out: a policy folder.

Reports progress as JSON lines on standard output, and ends at once when its standard input closes,
that is, when its parent is gone.
"""

import json
import os
import sys
import threading
from pathlib import Path

from ploutos.agent.member import MemberSpec, run_member


def _end_with_parent() -> None:
    # os.read, because a buffered reader's lock would be held when the interpreter shuts down.
    while os.read(0, 4096):
        pass
    os._exit(3)


def _report(timesteps: int, steps_per_s: float) -> None:
    print(json.dumps({"timesteps": timesteps, "steps_per_s": steps_per_s}), flush=True)


def main() -> None:
    """Run the member whose spec file is the only argument."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run_member(MemberSpec.model_validate_json(Path(sys.argv[1]).read_bytes()), _report)


if __name__ == "__main__":
    main()
