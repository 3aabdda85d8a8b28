"""Our learner as this machine's plan makes it. In: a scene, hyper-parameters. Out: model, plan."""

from typing import Any

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.hardware import detect_hardware
from ploutos.agent.learner import build_learner
from ploutos.agent.plan import Plan, plan
from ploutos.agent.workload import BlockShape, Job
from ploutos.env.observe import market_length


def planned(
    scene: Any, learner: PPOConfig, *, by_reference: bool = False, seed: int = 0
) -> tuple[Any, Plan]:
    """Return one member over a scene's panel and rows (`env_sides.Scene`, `planted.Planted`)."""
    panel = scene.panel
    shape = BlockShape(
        n_bytes=panel.features.nbytes,
        n_rows=len(scene.rows),
        n_symbols=panel.n_symbols,
        row_values=market_length(panel),
        macro_values=2 * panel.n_macro,
    )
    algo = "RecurrentPPO" if isinstance(learner, RecurrentPPOConfig) else "PPO"
    job = Job(algo=algo, learner=learner, by_reference=by_reference, n_members=1)
    chosen = plan(detect_hardware(), shape, job)
    batch = scene.batch(chosen.n_envs, chosen.env_threads, by_reference)
    model = build_learner(batch, learner, (chosen.n_steps, chosen.batch_size), seed)
    model.n_threads = chosen.learner_threads
    return model, chosen
