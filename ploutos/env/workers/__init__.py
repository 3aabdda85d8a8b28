"""Environments stepped by worker processes that share one block. In: actions. Out: an `Outcome`.

Three kinds of process:

- the *caller* holds `Workers`, which has the methods of `Batch`;
- the *nursery* is a fresh interpreter that imports the environment (never torch, never a frame
  library), attaches the block, loads the compiled kernel, freezes the garbage collector, and forks;
- the *workers* are those forks. Each owns a slice of the environments and runs one `Batch` over it,
  so the results are bit for bit those of one `Batch`. What the nursery loaded stays shared between
  them: a worker has a few MiB of its own.

Actions, outcomes and the words that processes wait for lie in memory that has no name, so no death
can leave it behind. A worker has a socket of its own: it is woken there when it sleeps, and tells
there what a wrapper said of an episode. The closing of a socket, in either direction, is the news
that the process at the other end is gone.
"""

from ploutos.env.workers.pool import Workers
from ploutos.env.workers.shared import WorkersSpec

__all__ = ["Workers", "WorkersSpec"]
