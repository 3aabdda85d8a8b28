"""Steps of halves that overlap: the numbers of whole steps, and only orders that are possible."""

import numpy as np
import pytest

from ploutos.block import SharedDataManager
from ploutos.env.batch import Batch
from ploutos.env.kernel import Outcome
from ploutos.env.workers import Workers
from ploutos.errors import EnvironmentConfigError
from ploutos.panel import save_panel
from tests.env.test_workers import CONFIGS, PANEL, actions_of, assert_equal, batch_of, spec_of

STEPS = 40


@pytest.fixture(params=["one thread", "three threads", "workers", "workers that sleep"])
def make(request, home):
    """Return a function that makes what is to be stepped in halves; it is closed at the end."""
    made = []
    with SharedDataManager(save_panel(PANEL)) as owner:

        def one(n_envs, config=CONFIGS["by value"]):
            if request.param == "one thread":
                made.append(batch_of(n_envs, config))
            elif request.param == "three threads":
                made.append(batch_of(n_envs, config, 3))
            else:
                n_cores = 64 if request.param == "workers" else 1
                spec = spec_of(owner.ref, n_envs, 3, config)
                made.append(Workers(spec._replace(n_cores=n_cores)))
            return made[-1]

        yield one
        for each in made:
            each.close()


def recorded(batch: Batch, actions: list[np.ndarray]) -> list[Outcome]:
    batch.seed(5)
    batch.reset()
    return [Outcome(*(array.copy() for array in batch.step(action))) for action in actions]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("n_envs", [7, 8])
def test_interleaved_halves_equal_whole_steps_bit_for_bit(make, config, n_envs):
    rng = np.random.default_rng(0)
    reference = batch_of(n_envs, config)
    actions = [actions_of(reference, rng) for _ in range(STEPS)]
    expected = recorded(reference, actions)
    halves = [slice(0, n_envs // 2), slice(n_envs // 2, n_envs)]
    envs = make(n_envs, config)
    envs.seed(5)
    envs.reset()
    begun, done = [0, 0], [0, 0]
    while done != [STEPS, STEPS]:
        half = int(rng.integers(2))
        if begun[half] > done[half]:
            received = envs.finish_step(half)
            whole = expected[done[half]]
            assert_equal(received, Outcome(*(array[halves[half]] for array in whole)))
            done[half] += 1
        elif begun[half] < STEPS:
            # A caller may reuse its array as soon as the step has begun.
            action = actions[begun[half]][halves[half]].copy()
            envs.start_step(action, half)
            action[:] = 0
            begun[half] += 1
    action = actions[0]
    assert_equal(envs.step(action), reference.step(action))


def test_two_environments_are_enough_and_one_is_not(home):
    batch = batch_of(2)
    batch.seed(1)
    batch.reset()
    batch.start_step(np.zeros((1, 2), int), 0)
    batch.start_step(np.zeros((1, 2), int), 1)
    assert batch.finish_step(1).reward.shape == batch.finish_step(0).reward.shape == (1,)
    with pytest.raises(EnvironmentConfigError, match="at least 2 environments"):
        batch_of(1).start_step(np.zeros((1, 2), int), 0)


def test_impossible_orders_are_refused_and_change_nothing(make):
    envs = make(6)
    action = np.zeros((3, 2), int)
    envs.seed(1)
    envs.reset()
    with pytest.raises(EnvironmentConfigError, match=r"half 0 is not being stepped: call start"):
        envs.finish_step(0)
    with pytest.raises(EnvironmentConfigError, match="expected half 0 or 1, received 2"):
        envs.start_step(action, 2)
    with pytest.raises(EnvironmentConfigError, match=r"shape \(3, 2\)"):
        envs.start_step(np.zeros((6, 2), int), 1)
    envs.start_step(action, 1)
    with pytest.raises(EnvironmentConfigError, match=r"half 1 is being stepped already"):
        envs.start_step(action, 1)
    for whole in (envs.reset, envs.masks, lambda: envs.seed(2), lambda: envs.step([*action] * 2)):
        with pytest.raises(EnvironmentConfigError, match=r"still being stepped: call finish_step"):
            whole()
    assert envs.finish_step(1).reward.shape == (3,)
    with pytest.raises(EnvironmentConfigError, match=r"half 1 is not being stepped"):
        envs.finish_step(1)
    assert envs.step(np.zeros((6, 2), int)).reward.shape == (6,)
