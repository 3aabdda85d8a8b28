"""Committees on disk. In: policy folders. Out: one folder that names its members with digests.

    committee/
        committee.json      names and digests of the members, sealed with its own digest
        members/PPO-fold2-seed0/ policy.safetensors, manifest.json
        members/PPO-fold2-seed1/ ...

The members are copies, so the folder can be moved and sent; it holds no pickle and no link.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from ploutos.agent.policy import Committee, Policy, load_policy
from ploutos.agent.untrusted import open_regular, plain_name, read_sealed, write_sealed
from ploutos.config import FrozenConfig
from ploutos.errors import PolicyError, StoreError
from ploutos.store import new_folder, write_atomic

MANIFEST, MEMBERS = "committee.json", "members"
POLICY_FILES = ("manifest.json", "policy.safetensors")


class CommitteeMember(FrozenConfig):
    """One policy of a committee."""

    name: str = Field(description="Name of its folder below `members`.")
    digests: dict[str, str] = Field(description="SHA-256 of each of its files.")


class CommitteeManifest(FrozenConfig):
    """What stands in `committee.json`."""

    members: tuple[CommitteeMember, ...] = Field(min_length=1, description="In a fixed order.")


def save_committee(folder: Path, policies: Sequence[Path]) -> None:
    """Copy policy folders into one new folder, in one rename.

    Raises
    ------
    PolicyError
        If there is no policy, one cannot be loaded, two have the same name, they do not belong
        together, or `folder` is there already.
    StoreError
        If the file system refuses.
    """
    if folder.exists():
        raise PolicyError(f"expected no {folder} yet: a committee is never changed.")
    names = [plain_name(path.name) for path in policies]
    if len(set(names)) != len(names):
        raise PolicyError(f"expected policies with distinct names, received {sorted(names)}.")
    _seat([load_policy(path) for path in policies])
    with new_folder(folder) as temporary:
        members: list[CommitteeMember] = []
        for path, name in zip(policies, names, strict=True):
            own = temporary / MEMBERS / name
            own.mkdir(parents=True)
            for file in POLICY_FILES:
                write_atomic(own / file, (path / file).read_bytes())
            members.append(CommitteeMember(name=name, digests=_digests(own)))
        write_sealed(temporary / MANIFEST, CommitteeManifest(members=tuple(members)))


def load_committee(folder: Path) -> Committee:
    """Load a committee for acting; its members decide by their mean.

    Raises
    ------
    PolicyError
        If a file is missing, is a link, or does not have the digest that the manifest names.
    """
    try:
        manifest = read_sealed(folder / MANIFEST, CommitteeManifest)
        policies = [_load_member(folder, member) for member in manifest.members]
    except StoreError as error:
        raise PolicyError(f"the committee in {folder} cannot be used: {error}") from error
    return _seat(policies)


def _load_member(folder: Path, member: CommitteeMember) -> Policy:
    own = folder / MEMBERS / plain_name(member.name)
    if own.is_symlink() or own.parent.is_symlink():
        raise PolicyError(f"expected a folder at {own}, received a link.")
    received = _digests(own)
    if received != member.digests:
        raise PolicyError(
            f"{own}: expected files with the digests {member.digests}, received {received}. The "
            "member was changed or exchanged; save the committee again."
        )
    return load_policy(own)


def _digests(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in POLICY_FILES:
        with os.fdopen(open_regular(folder / name), "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _seat(policies: Sequence[Policy]) -> Committee:
    """Return the committee of policies that look at the same numbers."""
    seen = {
        (p.manifest.symbols, p.manifest.catalog_digest, p.manifest.env.window_bars)
        for p in policies
    }
    if len(seen) > 1:
        raise PolicyError(
            "expected policies over the same symbols, features and window in a committee, received "
            f"{len(seen)} kinds: {sorted(seen)}."
        )
    return Committee(policies)
