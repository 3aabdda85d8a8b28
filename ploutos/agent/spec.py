"""What a member is told. In: a run's plan. Out: a frozen spec, small enough for a file.

And what its process says by its exit code, when it did not write a policy.
"""

from pydantic import Field

from ploutos.agent.config import Algo, Device, PPOConfig, RecurrentPPOConfig
from ploutos.block import BlockRef
from ploutos.config import FrozenConfig
from ploutos.env.config import EnvConfig
from ploutos.folds import Fold
from ploutos.store import digest_json

# Its parent has ended; numbers were not finite twice; it was told to stop (128 + SIGTERM).
ORPHANED_EXIT, DIVERGED_EXIT, STOPPED_EXIT = 3, 4, 143


class MemberSpec(FrozenConfig):
    """Everything a member process needs to know."""

    run_id: str = Field(description="Run that the member belongs to.")
    algo: Algo = Field(description="Algorithm.")
    fold: Fold = Field(description="Rows to train on and to select on.")
    seed: int = Field(description="Random seed.")
    learner: PPOConfig | RecurrentPPOConfig = Field(description="Hyper-parameters.")
    env: EnvConfig = Field(description="The episode.")
    block: BlockRef = Field(description="The shared block.")
    n_envs: int = Field(ge=1, description="Environments stepped together.")
    n_steps: int = Field(ge=1, description="Rollout length per environment, in bars.")
    batch_size: int = Field(ge=1, description="Minibatch size, in environment steps.")
    torch_threads: int = Field(ge=1, description="Threads of the learner.")
    learner_threads: int = Field(default=1, ge=1, description="Threads that share an update.")
    env_threads: int = Field(ge=1, description="Threads that step the environments.")
    device: Device = Field(default="cpu", description="Where the networks are computed.")
    selection_checks: int = Field(ge=1, description="Scorings on the validation rows.")
    patience_checks: int | None = Field(
        default=None, ge=1, description="Scorings without a better one after which it stops."
    )
    warm_up_bars: int = Field(ge=0, description="Bars shown to an LSTM before it trades.")
    folder: str = Field(description="Policy folder to write.")
    work_folder: str = Field(description="Folder of checkpoint and TensorBoard logs.")

    @property
    def name(self) -> str:
        """Return the member's name, unique within its run."""
        return f"{self.algo}-fold{self.fold.index}-seed{self.seed}"

    @property
    def random_seed(self) -> int:
        """Return the number that seeds the member, far from every other member's.

        Environment e draws from the stream `seed + e`: seeds 0 and 1 themselves would share all
        but one of their environments' windows.
        """
        return int(digest_json([self.algo, self.fold.index, self.seed])[:7], 16)

    @property
    def digest(self) -> str:
        """Return the digest of what determines the member's result; checkpoints carry it."""
        places = {"block", "learner_threads", "env_threads", "folder", "work_folder"}
        return digest_json(self.model_dump(mode="json", exclude=places))
