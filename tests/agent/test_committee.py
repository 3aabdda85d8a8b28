import json
import shutil

import numpy as np
import pytest

from ploutos.agent.committee import MANIFEST, load_committee, save_committee
from ploutos.agent.policy import Committee, save_policy
from ploutos.env.config import EnvConfig
from ploutos.errors import PolicyError, StoreError
from ploutos.store import digest_json
from tests.agent.test_policy import EPISODES, LEARNERS, actions_of, policy_of


def saved(folder, name, *arguments, **keywords):
    """Save a policy; return it and its folder."""
    policy = policy_of(*arguments, **keywords)
    path = folder / name
    save_policy(path, policy.network.state_dict(), policy.scaler, policy.manifest)
    return policy, path


@pytest.fixture
def three(tmp_path):
    """Three policies of both algorithms, and the folder of their committee."""
    found = [saved(tmp_path, f"PPO-seed{seed}", LEARNERS[0], seed=seed) for seed in range(2)]
    found.append(saved(tmp_path, "RecurrentPPO-seed0", LEARNERS[1]))
    save_committee(tmp_path / "committee", [path for _, path in found])
    return [policy for policy, _ in found], tmp_path / "committee"


def test_committee_read_back_acts_as_the_mean_of_its_members(three, tmp_path):
    policies, folder = three
    expected = actions_of(Committee(policies))
    folder.rename(tmp_path / "elsewhere")
    for path in tmp_path.glob("*-seed*"):
        shutil.rmtree(path)
    np.testing.assert_array_equal(actions_of(load_committee(tmp_path / "elsewhere")), expected)
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("name", ["manifest.json", "policy.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "link", "exchange"])
def test_damaged_member_is_refused(three, tmp_path, name, damage):
    path = three[1] / "members" / "PPO-seed1" / name
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "link":
        (tmp_path / "outside").write_bytes(data)
        path.symlink_to(tmp_path / "outside")
    elif damage == "exchange":
        shutil.copy(path.parent.with_name("PPO-seed0") / name, path)
    with pytest.raises(PolicyError, match=r"exchanged|regular file"):
        load_committee(three[1])


def test_members_that_changed_their_places_are_refused(three):
    members = three[1] / "members"
    (members / "PPO-seed0").rename(members / "away")
    (members / "PPO-seed1").rename(members / "PPO-seed0")
    (members / "away").rename(members / "PPO-seed1")
    with pytest.raises(PolicyError, match="changed or exchanged"):
        load_committee(three[1])


@pytest.mark.parametrize("name", ["../PPO-seed0", "/etc", "..", "", ".hidden", "a/b", "a\0b"])
def test_names_that_lead_out_of_the_folder_are_refused(three, name):
    content = json.loads((three[1] / MANIFEST).read_text())["content"]
    content["members"][0]["name"] = name
    whole = {"content": content, "sha256": digest_json(content)}
    (three[1] / MANIFEST).write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")
    with pytest.raises(PolicyError, match="expected a plain file name"):
        load_committee(three[1])


def test_member_folder_that_is_a_link_is_refused(three, tmp_path):
    member = three[1] / "members" / "PPO-seed0"
    member.rename(tmp_path / "outside")
    member.symlink_to(tmp_path / "outside")
    with pytest.raises(PolicyError, match="received a link"):
        load_committee(three[1])


def test_changed_list_of_members_is_refused(three):
    text = (three[1] / MANIFEST).read_text()
    (three[1] / MANIFEST).write_text(text.replace("PPO-seed1", "PPO-seed0", 1))
    with pytest.raises(PolicyError, match="does not have the digest"):
        load_committee(three[1])


def test_committee_is_never_changed(three, tmp_path):
    with pytest.raises(PolicyError, match="never changed"):
        save_committee(three[1], [tmp_path / "PPO-seed0"])


def test_policies_that_do_not_belong_together_are_refused(tmp_path):
    _, one = saved(tmp_path, "one", LEARNERS[0])
    others = {
        "weights": saved(tmp_path, "weights", LEARNERS[0], EPISODES[2])[1],
        "window": saved(tmp_path, "window", LEARNERS[0], EnvConfig(window_bars=3))[1],
    }
    with pytest.raises(PolicyError, match="orders and weights have no mean"):
        save_committee(tmp_path / "committee", [one, others["weights"]])
    with pytest.raises(PolicyError, match="the same symbols, features and window"):
        save_committee(tmp_path / "committee", [one, others["window"]])
    with pytest.raises(PolicyError, match="distinct names"):
        save_committee(tmp_path / "committee", [one, one])
    with pytest.raises(PolicyError, match="at least one policy"):
        save_committee(tmp_path / "committee", [])
    with pytest.raises(StoreError, match="plain file name"):
        save_committee(tmp_path / "committee", [one, tmp_path / "a name with spaces"])
    assert not (tmp_path / "committee").exists()
