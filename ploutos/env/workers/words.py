"""Words of shared memory that two processes wait for. In: addresses of lines. Out: counts.

The caller and each worker have a line of memory each, which they alone write. Its first word counts
the commands that were given or carried out; its second word says that its writer sleeps on the
socket between the two. Who waits looks at the other's count for a while, then says that it sleeps,
looks once more, and sleeps. Who has counted on looks whether the other sleeps, and wakes it with
one byte.

The look after saying so closes the gap in which the other could have counted without seeing a
sleeper. For that, no processor may let the store wait behind the load that follows it, as x86 and
ARM both do. The words are therefore sequentially consistent atomics, which also order the arrays
that a count announces: no wake-up can be lost, and who sleeps needs no clock to look again.
"""

import os
import platform
import socket
import time
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from ploutos.compiled import compiled

# Words of 8 bytes in a line: two cache lines, because some processors fetch them in pairs.
LINE_WORDS = 16
COUNT, ASLEEP = 0, 1
# Two commands may be under way: command n stands in slot n % 2 of the caller's line, its kind and a
# number; the same slot of a worker's line holds the length of what it has to tell about it.
SLOTS, SLOT_WORDS = 2, 2
WAKE = b"."
# Looks between two questions to the clock, 5 to 15 microseconds.
LOOKS = 200
# About what falling asleep and being woken cost: who spins longer has lost more than that.
SPIN_S = 50e-6

_WORD_BYTES = 8
# Lines of one side: those of its neighbours lie between them.
_STRIDE = 2 * LINE_WORDS * _WORD_BYTES


def line_of(address: int, worker: int, side: int) -> int:
    """Return the address of the caller's (side 0) or the worker's line (1) for one worker."""
    return address + worker * _STRIDE + side * LINE_WORDS * _WORD_BYTES


def slot_of(count: int) -> int:
    """Return the word at which the slot of command `count` begins."""
    return SLOTS + count % 2 * SLOT_WORDS


def _load_word(_typing: Any, address: types.Type) -> tuple[Signature, Any]:
    """Return the word at an address; the compiler never takes this out of a loop."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        word = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(word, "seq_cst", _WORD_BYTES)

    return types.int64(address), generate


def _store_word(_typing: Any, address: types.Type, _value: types.Type) -> tuple[Signature, Any]:
    """Write a word to an address, after everything that this thread has written before."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        word = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        builder.store_atomic(values[1], word, "seq_cst", _WORD_BYTES)
        return context.get_dummy_value()

    return types.void(address, types.int64), generate


def _pause_core(_typing: Any) -> tuple[Signature, Any]:
    """Let the other thread of this core go first, where the processor has such an instruction."""

    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, _values: Any) -> ir.Value:
        if platform.machine() in {"x86_64", "AMD64"}:
            nothing = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, name), [])
        return context.get_dummy_value()

    return types.void(), generate


# Called from compiled code only, without the first of the parameters above.
_load: Any = intrinsic(_load_word)
_store: Any = intrinsic(_store_word)
_pause: Any = intrinsic(_pause_core)


@compiled
def first_behind(line: int, n_lines: int, count: int, looks: int) -> int:
    """Return the first of n lines whose count is below `count` at the last look; n if none is."""
    i = 0
    while i < n_lines:
        if _load(line + i * _STRIDE) >= count:
            i += 1
        elif looks <= 1:
            return i
        else:
            looks -= 1
            _pause()
    return i


@compiled
def count_on(lines: tuple[int, int], n_lines: int, count: int, slot: tuple[int, int]) -> int:
    """Write a slot and its count into n lines; return how many of those opposite say "asleep".

    Parameters
    ----------
    lines : (int, int)
        The first line of the writer, and the one opposite.
    n_lines : int
        How many lines of either there are.
    count : int
        The command's.
    slot : (int, int)
        What to write into its slot.
    """
    n_asleep, own, other = 0, lines[0], lines[1]
    at = (SLOTS + count % 2 * SLOT_WORDS) * _WORD_BYTES
    for _ in range(n_lines):
        _store(own + at, slot[0])
        _store(own + at + _WORD_BYTES, slot[1])
        _store(own, count)
        n_asleep += _load(other + ASLEEP * _WORD_BYTES)
        own += _STRIDE
        other += _STRIDE
    return n_asleep


@compiled
def lie_down(own: int, other: int, count: int) -> bool:
    """Say that the writer of line `own` sleeps; return whether line `other` is behind `count`."""
    _store(own + ASLEEP * _WORD_BYTES, 1)
    return _load(other) < count


@compiled
def get_up(own: int) -> None:
    """Say that the writer of a line is awake."""
    _store(own + ASLEEP * _WORD_BYTES, 0)


def spin(line: int, n_lines: int, count: int, spin_s: float) -> int:
    """Look at n lines for up to `spin_s` seconds (0: once) until all have reached `count`.

    Whoever else is ready to run goes first. Returns what `first_behind` returns.
    """
    behind = first_behind(line, n_lines, count, LOOKS if spin_s else 1)
    if behind < n_lines and spin_s:
        until = time.perf_counter() + spin_s
        while behind < n_lines and time.perf_counter() < until:
            os.sched_yield()
            behind = first_behind(line, n_lines, count, LOOKS)
    return behind


def sleep(channel: socket.socket, own: int, other: int, count: int) -> bool:
    """Sleep until woken, unless the line `other` has reached `count`.

    May return too early, woken by a byte that was sent when nobody slept any more.

    Returns
    -------
    bool
        False if the process at the other end of the socket is gone.
    """
    try:
        return not lie_down(own, other, count) or channel.recv(1) != b""
    finally:
        get_up(own)
