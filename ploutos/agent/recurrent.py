"""RecurrentPPO's policy with one LSTM call per minibatch. In: sequences. Out: LSTM outputs.

sb3-contrib walks a minibatch one time step at a time as soon as it holds any episode start. Its
rollout buffer already splits sequences at episode starts, so a start can only stand at a sequence's
first position: clearing the initial state there and calling the LSTM once gives the same numbers.
"""

from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import nn

LstmState = tuple[torch.Tensor, torch.Tensor]


class OneCallLstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's recurrent policy; same parameters, same outputs, fewer calls."""

    @staticmethod
    def _process_sequence(
        features: torch.Tensor,
        lstm_states: LstmState,
        episode_starts: torch.Tensor,
        lstm: nn.LSTM,
    ) -> tuple[torch.Tensor, Any]:  # sb3-contrib declares one tensor where it returns a pair
        """Run `lstm` over sequences, cleared where an episode starts.

        Parameters
        ----------
        features : (n_seq * length, input_size)
            Sequences one after another, padded to one length.
        lstm_states : pair of (n_layers, n_seq, hidden_size)
            States before each sequence.
        episode_starts : (n_seq * length,)
            1 where an episode starts, else 0.
        lstm : nn.LSTM
            The actor's or the critic's.

        Returns
        -------
        (n_seq * length, hidden_size), pair of (n_layers, n_seq, hidden_size)
            Outputs in the order of `features`, and the states after each sequence.
        """
        n_seq = lstm_states[0].shape[1]
        starts = episode_starts.reshape(n_seq, -1)
        if bool((starts[:, 1:] != 0).any()):
            return RecurrentActorCriticPolicy._process_sequence(
                features, lstm_states, episode_starts, lstm
            )
        sequences = features.reshape(n_seq, -1, lstm.input_size).swapaxes(0, 1)  # (L, n_seq, I)
        keep = (1.0 - starts[:, 0]).view(1, n_seq, 1)
        outputs, states = lstm(sequences, (keep * lstm_states[0], keep * lstm_states[1]))
        return torch.flatten(outputs.transpose(0, 1), start_dim=0, end_dim=1), states
