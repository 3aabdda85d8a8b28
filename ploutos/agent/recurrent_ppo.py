"""RecurrentPPO without padding, one thread per LSTM. In: an SB3 `VecEnv`. Out: a trained policy.

The mathematics, the random numbers and everything around them are sb3-contrib's: the same
minibatches give the same parameters, to rounding.
"""

# sb3-contrib has no public name for what a policy may override.
# pyright: reportPrivateUsage=false

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import gymnasium as gym
import numpy as np
import sb3_contrib
import torch
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.agent.recurrent_adam import clip_and_step
from ploutos.agent.recurrent_gradients import Both, compute_gradients, side_by_side
from ploutos.agent.recurrent_loss import ActorLoss, CriticLoss, Terms
from ploutos.agent.recurrent_lstm import is_plain
from ploutos.agent.recurrent_minibatches import Minibatches, rotated_rows
from ploutos.agent.recurrent_rollout import End, act, bootstrap, minibatch_of, truncated_ends

logger = logging.getLogger(__name__)

Losses = tuple[ActorLoss, CriticLoss]


class RecurrentPPO(sb3_contrib.RecurrentPPO):
    """sb3-contrib's RecurrentPPO: same numbers, less time.

    - A minibatch's sequences are packed, not padded, and each LSTM does them in one walk.
    - Actor and critic go forward and back at the same time, each in a thread.
    - Truncated episodes are bootstrapped all together, once per rollout; until then the buffer's
      rewards are those of the environments.
    - Only the infos of ended episodes are looked at.

    What this class does not compute, it leaves to sb3-contrib, and says so in the log:
    observations that are dicts, other devices than the CPU, LSTMs with dropout or projections,
    policies that override how actions are evaluated.

    Parameters
    ----------
    policy : str or class
        Default: `OneCallLstmPolicy`, which is also meant by "MlpLstmPolicy".
    env : VecEnv, gymnasium.Env or str
        As sb3-contrib takes it.
    minibatches : callable, optional
        Which rows of the rollout make a minibatch: `rotated_rows`, as in sb3-contrib, or
        `whole_sequences` (`ploutos.agent.recurrent_minibatches`), or a function of your own.
    **arguments
        Those of sb3-contrib's RecurrentPPO.

    Attributes
    ----------
    n_threads : int or None
        2 for actor and critic at the same time, 1 for one after the other; without a number, as
        many as torch is allowed. The results do not depend on it.
    """

    n_threads: int | None = None

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **sb3_contrib.RecurrentPPO.policy_aliases,
        "MlpLstmPolicy": OneCallLstmPolicy,
    }

    def __init__(
        self,
        policy: str | type[RecurrentActorCriticPolicy] = OneCallLstmPolicy,
        env: GymEnv | str | None = None,
        *,
        minibatches: Minibatches = rotated_rows,
        **arguments: Any,
    ) -> None:
        self.minibatches = minibatches
        super().__init__(policy, cast(GymEnv, env), **arguments)

    def _setup_model(self) -> None:
        super()._setup_model()
        reason = self._left_to_sb3_contrib()
        if reason:
            logger.warning("%s: sb3-contrib's own, slower training is used.", reason)

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Fill the buffer with `n_rollout_steps` steps of every environment.

        Returns
        -------
        bool
            False if the callback ended it before.
        """
        if self._left_to_sb3_contrib() or not isinstance(rollout_buffer, RecurrentRolloutBuffer):
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        lstm_states, ends = cast(RNNStates, self._last_lstm_states), list[End]()
        with side_by_side(self.n_threads) as both:
            # Callbacks find the names of sb3-contrib's loop among their locals.
            for n_steps in range(n_rollout_steps):
                self._renew_noise(n_steps, env.num_envs)
                obs_tensor = self._tensor(self._last_obs)
                episode_starts = torch.tensor(self._last_episode_starts, dtype=torch.float32)
                actions, values, log_probs, lstm_states = act(
                    self._network, obs_tensor, lstm_states, episode_starts, both
                )
                actions = actions.numpy()
                clipped_actions = actions
                if isinstance(self.action_space, gym.spaces.Box):
                    clipped_actions = actions.clip(self.action_space.low, self.action_space.high)
                new_obs, rewards, dones, infos = env.step(clipped_actions)
                self.num_timesteps += env.num_envs
                callback.update_locals(locals())
                if not callback.on_step():
                    return False
                self._update_info_buffer(infos, dones)
                ends += truncated_ends(n_steps, dones, infos, lstm_states.vf)
                rollout_buffer.add(
                    self._last_obs,
                    actions,
                    rewards,
                    self._last_episode_starts,
                    values,
                    log_probs,
                    lstm_states=self._last_lstm_states,
                )
                self._last_obs, self._last_episode_starts = cast(np.ndarray, new_obs), dones
                self._last_lstm_states = lstm_states
            bootstrap(self._network, rollout_buffer, ends)
            self._compute_advantages(rollout_buffer)
        callback.on_rollout_end()
        return True

    def _renew_noise(self, n_steps: int, n_envs: int) -> None:
        """Draw the noise of state-dependent exploration anew, where a step asks for it."""
        if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:
            self.policy.reset_noise(n_envs)

    def train(self) -> None:
        """Update the policy by the filled buffer, `n_epochs` times."""
        if self._left_to_sb3_contrib():
            super().train()
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        left = self._current_progress_remaining
        clip_range, clip_range_vf = cast(tuple[Any, Any], (self.clip_range, self.clip_range_vf))
        terms = Terms(
            clip_range=clip_range(left),
            clip_range_vf=None if clip_range_vf is None else clip_range_vf(left),
            ent_coef=self.ent_coef,
            vf_coef=self.vf_coef,
            normalize_advantage=self.normalize_advantage,
        )
        losses, found = list[Losses](), list[Losses]()
        with side_by_side(self.n_threads) as both:
            for epoch in range(self.n_epochs):
                found, is_near = self._train_epoch(terms, both)
                losses += found
                self._n_updates += 1
                if not is_near:
                    if self.verbose >= 1:
                        kl = found[-1][0].approx_kl
                        print(f"Early stopping at step {epoch} due to reaching max kl: {kl:.2f}")
                    break
        self._record(terms, losses, found)

    def _train_epoch(self, terms: Terms, both: Both) -> tuple[list[Losses], bool]:
        """Go once through the buffer; stop, and return False, where `target_kl` says so."""
        buffer, policy = cast(RecurrentRolloutBuffer, self.rollout_buffer), self._network
        size = (buffer.buffer_size, buffer.n_envs)
        # The global generator, which SB3 seeds and draws from.
        rng = np.random.RandomState(np.random.get_bit_generator())  # pyright: ignore[reportAttributeAccessIssue] - numpy's stubs lack it
        losses: list[Losses] = []
        for rows in self.minibatches(size, self.batch_size or size[0] * size[1], rng):
            losses.append(compute_gradients(policy, minibatch_of(buffer, rows), terms, both))
            if self.target_kl is not None and losses[-1][0].approx_kl > 1.5 * self.target_kl:
                return losses, False
            clip_and_step(policy.optimizer, self.max_grad_norm, both)
        return losses, True

    def _record(self, terms: Terms, losses: list[Losses], last_epoch: list[Losses]) -> None:
        """Give the logger what sb3-contrib gives it."""
        buffer, record = self.rollout_buffer, self.logger.record
        record("train/entropy_loss", np.mean([actor.entropy for actor, _ in losses]))
        record("train/policy_gradient_loss", np.mean([actor.policy for actor, _ in losses]))
        record("train/value_loss", np.mean([critic.value for _, critic in losses]))
        record("train/approx_kl", np.mean([actor.approx_kl for actor, _ in last_epoch]))
        record("train/clip_fraction", np.mean([actor.clip_fraction for actor, _ in losses]))
        record("train/loss", sum(side.loss.item() for side in losses[-1]))
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        record("train/explained_variance", explained)
        if hasattr(self.policy, "log_std"):
            record("train/std", self.policy.log_std.exp().mean().item())
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        record("train/clip_range", terms.clip_range)
        if terms.clip_range_vf is not None:
            record("train/clip_range_vf", terms.clip_range_vf)

    @torch.no_grad()
    def _compute_advantages(self, buffer: RecurrentRolloutBuffer) -> None:
        dones = cast(np.ndarray, self._last_episode_starts)
        starts = torch.tensor(dones, dtype=torch.float32)
        hidden, cell = cast(RNNStates, self._last_lstm_states).vf
        observations = self._tensor(self._last_obs)
        values = self._network.predict_values(observations, (hidden, cell), starts)
        buffer.compute_returns_and_advantage(last_values=values, dones=dones)

    @property
    def _network(self) -> RecurrentActorCriticPolicy:
        """The policy; Stable-Baselines3 declares what all of its policies have in common."""
        return cast(RecurrentActorCriticPolicy, self.policy)

    def _tensor(self, observations: Any) -> torch.Tensor:
        """Return observations, which are no dicts here, as a tensor."""
        return cast(torch.Tensor, obs_as_tensor(observations, self.device))

    def _update_info_buffer(
        self, infos: Sequence[dict[str, Any]], dones: np.ndarray | None = None
    ) -> None:
        """Note what monitors say; they say something when an episode ends."""
        if dones is None:
            super()._update_info_buffer(list(infos))
            return
        ended = np.flatnonzero(dones)
        super()._update_info_buffer([infos[e] for e in ended.tolist()], dones[ended])

    def _left_to_sb3_contrib(self) -> str | None:
        """Say what it is that this class does not compute; None if it computes everything."""
        if isinstance(self.observation_space, gym.spaces.Dict):
            return "Observations are dicts"
        if self.device.type != "cpu":
            return f"The policy is on {self.device}, not on the CPU"
        kind, known = type(self._network), RecurrentActorCriticPolicy
        for name in ("evaluate_actions", "forward", "predict_values", "extract_features"):
            if getattr(kind, name) is not getattr(known, name):
                return f"{kind.__name__} overrides {name}"
        walks = (known._process_sequence, OneCallLstmPolicy._process_sequence)
        if kind._process_sequence not in walks:
            return f"{kind.__name__} overrides _process_sequence"
        lstms = (self._network.lstm_actor, self._network.lstm_critic)
        if not all(lstm is None or is_plain(lstm) for lstm in lstms):
            return "The LSTM is not a plain one"
        return None
