"""PPO that trains standard policies by compiled code. In: SB3's arguments. Out: an SB3 algorithm.

`PPO` is `stable_baselines3.PPO` with the same hyper-parameters, files, callbacks and logs. Where
the policy is a standard one on a CPU, rollouts and updates are those of `ploutos.agent.fused`; for
all others, torch's.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from ploutos.agent.fused.act import Answer
from ploutos.agent.fused.binding import bind, why_not
from ploutos.agent.fused.gradient import Rollout
from ploutos.agent.fused.loss import CLIPPED, ENTROPY, KL, LOSS, POLICY_LOSS, VALUE_LOSS, Hyper
from ploutos.agent.fused.step import GRADIENT_NOT_FINITE, LOSS_NOT_FINITE, TOO_FAR
from ploutos.agent.fused.trainer import Trainer
from ploutos.agent.rollout import KeptRolloutBuffer, Truncations, random_order
from ploutos.errors import DivergedError


class PPO(stable_baselines3.PPO):
    """Stable-Baselines3's PPO, compiled where it can be.

    Actions are drawn from `random`, a generator of its own, where SB3 draws from torch's. All else
    equals SB3's PPO: the order of the minibatches, losses, clipping, Adam, up to rounding.

    Attributes
    ----------
    torch_because : str or None
        Why the policy is trained by torch; None if it is trained by compiled code.
    random : numpy.random.Generator
        What actions are drawn from.
    n_threads : int
        Threads for minibatches of 2,048 samples and more; the results do not depend on it.
    order : function of a rollout buffer to (S,) int64
        The samples, time-major, in the order in which an epoch's minibatches are cut from them.
    """

    torch_because: str | None = None
    n_threads: int = 1
    order: Callable[[RolloutBuffer], np.ndarray] = staticmethod(random_order)

    def _setup_model(self) -> None:
        if self.rollout_buffer_class is None and not isinstance(
            self.observation_space, spaces.Dict
        ):
            self.rollout_buffer_class = KeptRolloutBuffer
        super()._setup_model()
        self._trainer: Trainer | None = None

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed all generators, this one's own too."""
        super().set_random_seed(seed)
        self.random = np.random.default_rng(seed)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_trainer"]

    def _compiled(self) -> Trainer | None:
        """Return the compiled trainer, made when it is first asked for; None if torch has to do."""
        if not isinstance(self.rollout_buffer, RolloutBuffer):
            self.torch_because = "its rollout buffer is not SB3's"
            return None
        self.torch_because = why_not(self.policy)
        if self.torch_because is not None:
            return None
        trainer = getattr(self, "_trainer", None)
        if trainer is None or trainer.bound.policy is not self.policy:
            n_choices = self.rollout_buffer.action_dim
            trainer = Trainer(bind(self.policy), n_choices, self.n_threads)
            self._trainer = trainer
        return trainer

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Collect experience as SB3 does; truncated episodes are valued all at once at the end."""
        trainer = self._compiled()
        if trainer is None:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        with trainer.rollout():
            return self._collect(trainer, (env, callback), rollout_buffer, n_rollout_steps)

    def _collect(
        self,
        trainer: Trainer,
        between: tuple[VecEnv, BaseCallback],
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        env, callback = between
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        truncations = Truncations()
        new_obs, dones = self._last_obs, np.zeros(env.num_envs, np.bool_)
        # The names are SB3's: callbacks look at the local variables.
        for n_steps in range(n_rollout_steps):
            actions = rollout_buffer.actions[n_steps]
            values, log_probs = rollout_buffer.values[n_steps], rollout_buffer.log_probs[n_steps]
            observation = np.asarray(self._last_obs, np.float32)
            answer = Answer(actions, values, log_probs)
            trainer.act(observation, self._draws(env.num_envs), answer)
            clipped_actions = self._sent(actions)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            if dones.any():
                ended = dones.nonzero()[0]
                self._update_info_buffer([infos[e] for e in ended], dones[ended])
                truncations.note(n_steps, ended, infos)
            rollout_buffer.observations[n_steps] = observation
            rollout_buffer.rewards[n_steps] = rewards
            rollout_buffer.episode_starts[n_steps] = self._last_episode_starts
            rollout_buffer.pos = n_steps + 1
            self._last_obs = new_obs  # pyright: ignore[reportAttributeAccessIssue] - no tuple here
            self._last_episode_starts = dones
        rollout_buffer.full = True
        truncations.add_values(rollout_buffer.rewards, self.gamma, trainer.value_of)
        values = trainer.value_of(np.asarray(new_obs, np.float32))
        rollout_buffer.compute_returns_and_advantage(torch.from_numpy(values), dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Update the policy from the rollout.

        Raises
        ------
        DivergedError
            If a loss or a gradient is not finite; the parameters are those before that minibatch.
        """
        trainer = self._compiled()
        if trainer is None:
            super().train()
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        hyper, buffer = self._hyper(), self.rollout_buffer
        n_steps, n_envs = buffer.rewards.shape
        rollout = Rollout(
            observation=buffer.observations.reshape(n_steps * n_envs, -1),
            action=buffer.actions.reshape(n_steps * n_envs, -1),
            log_prob=buffer.log_probs.reshape(-1),
            value=buffer.values.reshape(-1),
            returns=buffer.returns.reshape(-1),
            advantage=buffer.advantages.reshape(-1),
        )
        orders = (self.order(buffer) for _ in range(self.n_epochs))
        epochs, code = trainer.train(rollout, orders, self.batch_size, hyper)
        if code in (LOSS_NOT_FINITE, GRADIENT_NOT_FINITE):
            raise DivergedError(_what_diverged(epochs[-1][-1], code, self.num_timesteps))
        self._n_updates += len(epochs)
        self._log(epochs, hyper)
        if code == TOO_FAR and self.verbose >= 1:
            print(f"Early stopping at step {len(epochs) - 1}: divergence {epochs[-1][-1][KL]:.2f}")

    def _hyper(self) -> Hyper:
        group = self.policy.optimizer.param_groups[0]
        progress = self._current_progress_remaining
        # SB3 has made schedules of numbers by now.
        clip_range = cast("Callable[[float], float]", self.clip_range)
        clip_range_vf = cast("Callable[[float], float] | None", self.clip_range_vf)
        return Hyper(
            clip_range=float(clip_range(progress)),
            clip_range_vf=-1.0 if clip_range_vf is None else float(clip_range_vf(progress)),
            ent_coef=float(self.ent_coef),
            vf_coef=float(self.vf_coef),
            max_grad_norm=float(self.max_grad_norm),
            target_kl=-1.0 if self.target_kl is None else float(self.target_kl),
            learning_rate=float(group["lr"]),
            beta1=float(group["betas"][0]),
            beta2=float(group["betas"][1]),
            eps=float(group["eps"]),
            normalise=bool(self.normalize_advantage),
        )

    def _draws(self, n_envs: int) -> np.ndarray:
        """Return random numbers for the actions of one step, (E, choices) float32."""
        shape = (n_envs, self.rollout_buffer.action_dim)
        if isinstance(self.action_space, spaces.Box):
            return self.random.standard_normal(shape, np.float32)
        return self.random.random(shape, np.float32)

    def _sent(self, action: np.ndarray) -> np.ndarray:
        """Return what the environments get: (E,) choices, or numbers within their bounds."""
        if isinstance(self.action_space, spaces.Box):
            return np.clip(action, self.action_space.low, self.action_space.high)
        return action[:, 0] if isinstance(self.action_space, spaces.Discrete) else action

    def _log(self, epochs: list[np.ndarray], hyper: Hyper) -> None:
        """Record what SB3's PPO records."""
        figures, buffer, record = np.concatenate(epochs), self.rollout_buffer, self.logger.record
        record("train/entropy_loss", -figures[:, ENTROPY].mean())
        record("train/policy_gradient_loss", figures[:, POLICY_LOSS].mean())
        record("train/value_loss", figures[:, VALUE_LOSS].mean())
        record("train/approx_kl", epochs[-1][:, KL].mean())
        record("train/clip_fraction", figures[:, CLIPPED].mean())
        record("train/loss", figures[-1, LOSS])
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        record("train/explained_variance", explained)
        if hasattr(self.policy, "log_std"):
            record("train/std", torch.exp(self.policy.log_std).mean().item())
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        record("train/clip_range", hyper.clip_range)
        if hyper.clip_range_vf > 0:
            record("train/clip_range_vf", hyper.clip_range_vf)


def _what_diverged(figures: np.ndarray, code: int, timesteps: int) -> str:
    if code == GRADIENT_NOT_FINITE:
        what: Any = "gradient"
    else:
        names = {"policy loss": POLICY_LOSS, "value loss": VALUE_LOSS, "entropy": ENTROPY}
        names["divergence from the rollout's policy"] = KL
        what = ", ".join(n for n, column in names.items() if not np.isfinite(figures[column]))
    return (
        f"expected a finite loss and gradient after {timesteps} steps, received a {what} that is "
        "not finite. The parameters were left as they were before. Lower the learning rate, or "
        "look for absurd rewards."
    )
