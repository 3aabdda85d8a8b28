"""A worker's life: one command after the other. In: nine bytes. Out: one byte, when it is done."""

import socket
from contextlib import suppress

from ploutos.block import Block
from ploutos.env.batch import Batch
from ploutos.env.kernel import Outcome
from ploutos.env.workers.shared import COMMAND, DONE, RESET, SEED, STEP, TOUCH, SharedArrays


def serve(
    channel: socket.socket, block: Block, batch: Batch, share: tuple[slice, SharedArrays]
) -> None:
    """Carry out commands until the caller hangs up.

    Parameters
    ----------
    channel : socket
        This worker's end of its own socket.
    block : Block
        The attached block.
    batch : Batch
        The environments of this worker.
    share : (slice, SharedArrays)
        Which environments these are, and the arrays of all.
    """
    own, shared = share
    batch.outcome = Outcome(*(array[own] for array in shared.outcome))
    action = shared.action[own]
    # A caller that is gone cannot be answered, and that is no error of this worker.
    with suppress(ConnectionError):
        channel.sendall(DONE)
        while message := channel.recv(COMMAND.size, socket.MSG_WAITALL):
            command, number = COMMAND.unpack(message)
            if command == STEP:
                batch.step(action)
            elif command == RESET:
                batch.reset()
            elif command == SEED:
                batch.seed(number + own.start)
            elif command == TOUCH:
                block.touch()
            channel.sendall(DONE)
