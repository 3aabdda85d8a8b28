"""Checkpoints on disk. In: snapshots of a learner. Out: a folder that always holds a whole one.

    checkpoint/
        000007/ checkpoint.json     counters and progress, sealed with its own digest
                state.safetensors   everything else; its size and digest stand in the JSON
        000006/ ...                 the one before, in case the newest is damaged

A generation appears in one rename, after its files have reached the disk. No name is read from a
file, nothing is unpickled, and a checkpoint of another member, another generation, another shape of
model or another scaler is refused.
"""

import logging
import re
import shutil
from pathlib import Path

from pydantic import Field

from ploutos.agent.learner import Learner
from ploutos.agent.learner_state import (
    Snapshot,
    expected_shapes,
    first_not_finite,
    put_back,
)
from ploutos.agent.progress import Numbers, Progress
from ploutos.agent.tensors import load_tensors, save_tensors
from ploutos.agent.untrusted import read_sealed, write_sealed
from ploutos.config import FrozenConfig
from ploutos.env.batch import Batch
from ploutos.errors import CheckpointError, DivergedError, PolicyError, StoreError
from ploutos.store import new_folder

logger = logging.getLogger(__name__)

KEPT_GENERATIONS = 2
MANIFEST, STATE = "checkpoint.json", "state.safetensors"
_GENERATION = re.compile(r"\d{6,12}")


class CheckpointManifest(FrozenConfig):
    """What stands in `checkpoint.json`."""

    member: str = Field(description="Digest of what determines the member's result.")
    generation: int = Field(ge=1, description="Number of the checkpoint; its folder has this name.")
    state_digest: str = Field(description="SHA-256 of `state.safetensors`.")
    numbers: Numbers = Field(description="Counters, random states, progress.")


def save_checkpoint(folder: Path, member: str, snapshot: Snapshot) -> Path:
    """Write a snapshot as the newest generation, keep the one before it, return its folder.

    Raises
    ------
    DivergedError
        If the snapshot holds a number that is not finite: it is nothing to come back to.
    StoreError
        If the file system refuses; the checkpoints from before stay.
    """
    bad = first_not_finite(snapshot.tensors)
    if bad is not None:
        raise DivergedError(
            f"{bad} is not finite after {snapshot.numbers.num_timesteps} steps; it is not saved."
        )
    folder.mkdir(parents=True, exist_ok=True)
    found = _generations(folder)
    generation = 1 + max((int(path.name) for path in found), default=0)
    final = folder / f"{generation:06d}"
    with new_folder(final) as temporary:
        manifest = CheckpointManifest(
            member=member,
            generation=generation,
            state_digest=save_tensors(temporary / STATE, snapshot.tensors),
            numbers=snapshot.numbers,
        )
        write_sealed(temporary / MANIFEST, manifest)
    for old in found[KEPT_GENERATIONS - 1 :]:
        _remove(old)
    return final


def load_checkpoint(folder: Path, member: str, model: Learner, batch: Batch) -> Progress | None:
    """Put `model` and `batch` back to the newest checkpoint that is whole; None if there is none.

    A damaged one is removed with a warning, and the one before it is taken.

    Raises
    ------
    CheckpointError
        If there are checkpoints, but none of them can be used. Model and batch must not be used
        either; build new ones.
    """
    damaged: list[str] = []
    for generation in _generations(folder):
        try:
            snapshot = read_checkpoint(generation, member, model, batch)
            progress = put_back(snapshot, model, batch)
        except CheckpointError as error:
            logger.warning("%s; it is removed", error)
            damaged.append(str(error))
            _remove(generation)
        else:
            return progress
    if damaged:
        raise CheckpointError("; ".join(damaged))
    return None


def read_checkpoint(generation: Path, member: str, model: Learner, batch: Batch) -> Snapshot:
    """Read one generation, of a member, for this shape of model.

    Raises
    ------
    CheckpointError
        If anything about it is not as it was written, or it is not for this member and model.
    """
    try:
        manifest = _read_manifest(generation, member)
        expected = expected_shapes(manifest.numbers, model, batch)
        tensors = load_tensors(generation / STATE, manifest.state_digest, expected)
    except (PolicyError, StoreError) as error:
        raise CheckpointError(f"the checkpoint {generation} cannot be used: {error}") from error
    return Snapshot(manifest.numbers, tensors)


def _read_manifest(generation: Path, member: str) -> CheckpointManifest:
    if generation.is_symlink():
        raise StoreError(f"expected a folder at {generation}, received a link.")
    manifest = read_sealed(generation / MANIFEST, CheckpointManifest)
    if manifest.member != member or f"{manifest.generation:06d}" != generation.name:
        raise StoreError(
            f"expected generation {generation.name} of member {member[:12]}, received "
            f"{manifest.generation:06d} of {manifest.member[:12]}: it was put here from elsewhere."
        )
    return manifest


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoints of a finished member."""
    shutil.rmtree(folder, ignore_errors=True)


def _generations(folder: Path) -> list[Path]:
    """Return the folders of the generations, the newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _GENERATION.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _remove(generation: Path) -> None:
    if generation.is_dir() and not generation.is_symlink():
        shutil.rmtree(generation, ignore_errors=True)
    else:
        generation.unlink(missing_ok=True)
