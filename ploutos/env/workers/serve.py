"""A worker's life: one command after the other. In: commands. Out: outcomes, in shared arrays."""

import pickle
import socket
from contextlib import suppress
from typing import NamedTuple

from ploutos.block import Block
from ploutos.env.batch import Batch
from ploutos.env.kernel import Outcome
from ploutos.env.workers.shared import MASKS, RESET, SEED, STEP, TOUCH, SharedArrays
from ploutos.env.workers.words import (
    WAKE,
    count_on,
    first_behind,
    line_of,
    sleep,
    slot_of,
    spin,
)
from ploutos.env.workers.wrapped import WrappedEnvs


class Part(NamedTuple):
    """The environments of a worker in one half: which they are, and what steps them."""

    half: int
    own: slice
    envs: Batch | WrappedEnvs


def serve(
    channel: socket.socket, worker: int, parts: list[Part], share: tuple[Block, SharedArrays, float]
) -> None:
    """Carry out commands until the caller hangs up.

    Parameters
    ----------
    channel : socket
        This worker's end of its own socket.
    worker : int
        Its number.
    parts : list of Part
        Its environments.
    share : (Block, SharedArrays, float)
        The attached block, the arrays of all, and how long to look before sleeping, in seconds.
    """
    block, shared, spin_s = share
    for part in parts:
        part.envs.write_into(Outcome(*(array[part.own] for array in shared.outcome)))
    address = shared.lines.ctypes.data
    theirs, ours = line_of(address, worker, 0), line_of(address, worker, 1)
    count = 1
    # A caller that is gone cannot be answered, and that is no error of this worker.
    with suppress(ConnectionError):
        while _await(channel, (ours, theirs), count, spin_s):
            slot = slot_of(count)
            command, number = shared.lines[worker, 0, slot : slot + 2].tolist()
            mail = _carry_out((command, number), parts, block, shared)
            if count_on((ours, theirs), 1, count, (len(mail), 0)):
                channel.sendall(WAKE)
            if mail:
                # After the answer: whoever waits for that does not read yet, and mail may be long.
                channel.sendall(mail)
            count += 1
    for part in parts:
        part.envs.close()


def _await(channel: socket.socket, lines: tuple[int, int], count: int, spin_s: float) -> bool:
    """Wait for command `count`; return False if the caller has hung up instead."""
    ours, theirs = lines
    given = spin(theirs, 1, count, spin_s)
    while not given:
        if not sleep(channel, ours, theirs, count):
            return False
        given = first_behind(theirs, 1, count, 1)
    return True


def _carry_out(
    command: tuple[int, int], parts: list[Part], block: Block, shared: SharedArrays
) -> bytes:
    """Do what a command says; return what the caller has to read about it, usually nothing."""
    kind, number = command
    infos = {}
    if kind == TOUCH:
        block.touch()
    for half, own, envs in parts:
        if kind == STEP and number >> half & 1:
            envs.advance(shared.action[own])
            if isinstance(envs, WrappedEnvs):
                infos |= {own.start + e: info for e, info in envs.infos.items()}
        elif kind == RESET:
            envs.reset()
        elif kind == SEED:
            envs.seed(number + own.start)
        elif kind == MASKS:
            shared.masks[own] = envs.masks()
    return pickle.dumps(infos) if infos else b""
