"""Random configurations: every rule of an account and of an episode, on and off."""

from ploutos.env.config import EnvConfig, RewardConfig
from ploutos.portfolio.config import (
    CostConfig,
    MarginConfig,
    OrderActions,
    PortfolioConfig,
    WeightActions,
)

FREE = CostConfig(
    commission_bps=0,
    half_spread_bps=0,
    impact_bps=0,
    maximum_participation=None,
    us_sell_fees=False,
)


def random_costs(rng):
    participation = rng.choice([None, 0.01, 0.1, 1.0])
    return CostConfig(
        commission_bps=float(rng.choice([0, 1, 25])),
        commission_per_share_usd=float(rng.choice([0, 0.0, 0.005])),
        commission_per_order_usd=float(rng.choice([0, 0, 1, 30])),
        minimum_commission_usd=float(rng.choice([0, 0, 0.35, 20])),
        half_spread_bps=float(rng.choice([0, 2, 40])),
        impact_bps=float(rng.choice([0, 100, 5000])),
        maximum_participation=participation,
        us_sell_fees=bool(rng.random() < 0.5),
    )


def random_portfolio(rng):
    margin = None
    if rng.random() < 0.5:
        margin = MarginConfig(
            borrow_fee=float(rng.choice([0, 0.01, 3])),
            loan_rate=float(rng.choice([0, 0.06, 2])),
            maintenance=float(rng.choice([0.05, 0.3, 0.6, 0.8])),
        )
    by_weight = rng.random() < 0.5
    orders = OrderActions(buy_fraction=float(rng.uniform(0.05, 1)))
    return PortfolioConfig(
        initial_cash_usd=float(10 ** rng.uniform(3, 6)),
        actions=WeightActions() if by_weight else orders,
        maximum_weight=float(rng.uniform(0.1, 1)),
        maximum_gross=float(rng.choice([0.6, 1] if margin is None else [0.6, 1, 2, 2, 2])),
        minimum_order_usd=float(rng.choice([0, 50, 500])),
        lot_shares=rng.choice([None, None, 1, 10]),
        cash_interest=float(rng.choice([0, 0.05])),
        minimum_holding_bars=int(rng.choice([0, 0, 1, 3])),
        maximum_orders=rng.choice([None, None, 1, 2]),
        stop_loss=rng.choice([None, 0.02, 0.1]),
        take_profit=rng.choice([None, 0.03, 0.3]),
        drawdown_stop=rng.choice([None, None, 0.1, 0.3]),
        margin=margin,
        costs=random_costs(rng),
    )


def random_reward(rng):
    if rng.random() < 0.3:
        return RewardConfig()
    return RewardConfig(
        scale=float(rng.choice([1, 100])),
        log_return=float(rng.choice([0, 1])),
        benchmark_return=float(rng.choice([0, 1.5])),
        differential_sharpe=float(rng.choice([0, 0.1])),
        sharpe_decay=float(rng.choice([0.01, 0.3])),
        drawdown=float(rng.choice([0, 2])),
        turnover=float(rng.choice([0, 0.05])),
    )


def random_config(rng):
    return EnvConfig(
        portfolio=random_portfolio(rng),
        reward=random_reward(rng),
        episode_bars=rng.choice([None, 2, 5, 12]),
        ruin_fraction=float(rng.choice([0, 0.2, 0.7])),
        window_bars=int(rng.choice([1, 1, 3])),
        by_reference=bool(rng.random() < 0.3),
        clip=float(rng.choice([1.5, 5.0])),
    )


def random_actions(rng, shape, by_weight):
    """Return actions as often as not at the edges of what an action may be."""
    if not by_weight:
        return rng.choice([0, 1, 2], shape, p=rng.choice([[0.3, 0.5, 0.2], [0.6, 0.2, 0.2]]))
    weights = rng.uniform(-1.2, 1.2, shape)
    weights[rng.random(shape) < 0.2] = 0.0
    return weights
