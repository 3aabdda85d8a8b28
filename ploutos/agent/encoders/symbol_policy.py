"""A policy whose parameters do not grow with the universe. In: observations. Out: actions, values.

Stable-Baselines3's policy over `SymbolExtractor`: one actor for all symbols, one critic over their
mean. Permuting the symbols permutes the actions and leaves the value as it is.
"""

# SB3 declares a tensor between extractor and towers, but only hands it on: here it is a tuple.
# pyright: reportIncompatibleMethodOverride=false

import torch
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import MlpExtractor
from stable_baselines3.common.type_aliases import Schedule

from ploutos.agent.encoders.symbol import SymbolFeatures

ORDERS = 3


class SymbolOrders(CategoricalDistribution):
    """Independent orders of N symbols, as one distribution: (B, N, 3) logits, (B, N) actions.

    What SB3's `MultiCategoricalDistribution` says of the same logits, without a loop over symbols.
    """

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the log probability (B,) of all symbols' actions (B, N)."""
        return super().log_prob(actions).sum(dim=1)

    def entropy(self) -> torch.Tensor:
        """Return the entropy (B,), the sum over symbols."""
        return super().entropy().sum(dim=1)

    def mode(self) -> torch.Tensor:
        """Return the likeliest action of each symbol, (B, N)."""
        return self.distribution.logits.argmax(dim=2)


class SymbolWeights(DiagGaussianDistribution):
    """Independent normal target weights of N symbols, with one standard deviation for all."""

    def proba_distribution(
        self, mean_actions: torch.Tensor, log_std: torch.Tensor
    ) -> "SymbolWeights":
        """Set the means, (B, N, 1), and the one log standard deviation, (1,)."""
        return super().proba_distribution(mean_actions.squeeze(2), log_std)


class SymbolTowers(MlpExtractor):
    """The hidden layers: the actor's over [symbol | pooled], the critic's over [pooled | context].

    Both towers are SB3's; the actor's is applied to every symbol. All symbols' pooled half is the
    same, so that a symbol can compare itself with the others.
    """

    def forward(self, features: SymbolFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the latent values of actor (B, N, L) and critic (B, L')."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: SymbolFeatures) -> torch.Tensor:
        """Return the actor's latent values, (B, N, L)."""
        pooled = features.pooled[:, None].expand_as(features.symbols)  # (B, H) -> (B, N, H)
        return self.policy_net(torch.cat([features.symbols, pooled], dim=2))

    def forward_critic(self, features: SymbolFeatures) -> torch.Tensor:
        """Return the critic's latent values, (B, L')."""
        return self.value_net(torch.cat([features.pooled, features.context], dim=1))


class SymbolPolicy(ActorCriticPolicy):
    """SB3's policy with one head for all symbols: 3 logits of each, or one mean weight of each.

    Its features extractor is a `SymbolExtractor`. As in SB3's policies, `net_arch` gives the hidden
    layers of actor and critic, and orthogonal matrices begin them.
    """

    def _build(self, lr_schedule: Schedule) -> None:
        by_weight = isinstance(self.action_dist, DiagGaussianDistribution)
        # The head that SB3 makes for a distribution has the size of one symbol's action.
        self.action_dist = SymbolWeights(1) if by_weight else SymbolOrders(ORDERS)
        super()._build(lr_schedule)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = SymbolTowers(
            self.features_dim, self.net_arch, self.activation_fn, self.device
        )
