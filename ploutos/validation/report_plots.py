"""The pictures of the report. In: rollouts. Out: Plotly figures as JSON, the same bytes each time.

Colours are those of Okabe and Ito (2008), which differ for colour-blind eyes; the committee is
always blue, the yardstick orange, cash grey.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ploutos.validation.metrics import drawdowns
from ploutos.validation.rollout import FloatArray, IntArray, Rollout

COMMITTEE_COLOUR = "#0072B2"
BASELINE_COLOURS = ("#E69F00", "#666666", "#CC79A7", "#D55E00", "#000000")
BASELINE_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MEMBER_COLOURS = ("#56B4E9", "#009E73", "#CC79A7", "#D55E00")
SYMBOL_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHER_COLOUR = "#999999"
CASH_COLOUR = "#DDDDDD"
# A fully invested account may show less than no cash by this much, a fraction of equity.
ROUNDING = 1e-9
INK, GRID = "#333333", "#E6E6E6"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def equity_plot(
    committee: Rollout, members: Mapping[str, Rollout], baselines: Mapping[str, Rollout]
) -> str:
    """Draw the equity of all rollouts, members thin, with a choice of a logarithmic axis."""
    figure = _figure("equity, USD")
    days = dates(committee.closed_at)
    algos = list(dict.fromkeys(name.split("/")[0] for name in members))
    drawn: set[str] = set()
    for name, rollout in members.items():
        algo = name.split("/")[0]
        colour = MEMBER_COLOURS[algos.index(algo) % len(MEMBER_COLOURS)]
        figure.add_scatter(
            x=days,
            y=_rounded(rollout.equity_usd, 2),
            name=f"{algo}, each seed",
            legendgroup=algo,
            showlegend=algo not in drawn,
            line={"color": colour, "width": 1},
            opacity=0.75,
            hovertemplate=f"{name} %{{y:,.0f}}<extra></extra>",
        )
        drawn.add(algo)
    for number, (name, rollout) in enumerate(baselines.items()):
        figure.add_scatter(x=days, y=_rounded(rollout.equity_usd, 2), **_baseline(name, number))
    figure.add_scatter(
        x=days,
        y=_rounded(committee.equity_usd, 2),
        name="committee",
        line={"color": COMMITTEE_COLOUR, "width": 2.8},
        hovertemplate="committee %{y:,.0f}<extra></extra>",
    )
    _mark_folds(figure, committee)
    figure.update_yaxes(tickformat="~s")
    figure.update_layout(margin_t=44, updatemenus=[_axis_choice()])
    return _json(figure)


def drawdown_plot(committee: Rollout, baselines: Mapping[str, Rollout]) -> str:
    """Draw the loss since the highest equity so far, downwards, as a fraction."""
    figure = _figure("loss since the peak")
    days = dates(committee.closed_at)
    figure.add_scatter(
        x=days,
        y=_rounded(-drawdowns(committee.equity_usd), 5),
        name="committee",
        fill="tozeroy",
        fillcolor="rgba(0,114,178,0.18)",
        line={"color": COMMITTEE_COLOUR, "width": 1.8},
        hovertemplate="committee %{y:.1%}<extra></extra>",
    )
    for number, (name, rollout) in enumerate(baselines.items()):
        losses = _rounded(-drawdowns(rollout.equity_usd), 5)
        if any(losses):
            style = _baseline(name, number) | {"hovertemplate": f"{name} %{{y:.1%}}<extra></extra>"}
            figure.add_scatter(x=days, y=losses, **style)
    _mark_folds(figure, committee)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return _json(figure)


def positions_plot(committee: Rollout, symbols: Sequence[str]) -> str:
    """Draw the committee's weights stacked over time; the rest is cash.

    Beyond seven symbols the ones with the least mean weight are drawn together. Where there are
    short positions or a loan, the short ones are stacked downwards and cash is a line.
    """
    figure = _figure("share of equity")
    days = dates(committee.closed_at)
    order = np.argsort(-np.abs(committee.weights).mean(axis=0), kind="stable")
    shown: list[int] = sorted(order[: len(SYMBOL_COLOURS)].tolist())
    layers: list[tuple[str, str, FloatArray]] = [
        (symbols[column], colour, committee.weights[:, column])
        for column, colour in zip(shown, SYMBOL_COLOURS, strict=False)
    ]
    rest = committee.weights.sum(axis=1) - committee.weights[:, shown].sum(axis=1)
    if len(symbols) > len(shown):
        layers.append((f"{len(symbols) - len(shown)} others", OTHER_COLOUR, rest))
    cash = 1.0 - committee.weights.sum(axis=1)
    if committee.weights.min() >= 0 and cash.min() >= -ROUNDING:
        _stack(figure, days, [*layers, ("cash", CASH_COLOUR, cash)])
        figure.update_yaxes(range=[0, 1])
    else:
        _stack(figure, days, [(name, colour, np.maximum(w, 0.0)) for name, colour, w in layers])
        short = [(name, colour, np.minimum(w, 0.0)) for name, colour, w in layers]
        _stack(figure, days, [layer for layer in short if layer[2].any()], side="short ")
        figure.add_scatter(
            x=days,
            y=_rounded(cash, 4),
            name="cash",
            line={"width": 1.8, "color": INK, "shape": "hv"},
            hovertemplate="cash %{y:.1%}<extra></extra>",
        )
    figure.update_yaxes(tickformat=".0%")
    return _json(figure)


def _stack(
    figure: go.Figure,
    days: list[str],
    layers: Sequence[tuple[str, str, FloatArray]],
    side: str = "",
) -> None:
    for name, colour, weights in layers:
        figure.add_scatter(
            x=days,
            y=_rounded(weights, 4),
            name=f"{side}{name}",
            stackgroup=f"{side}weights",
            line={"width": 0, "color": colour, "shape": "hv"},
            fillcolor=colour,
            hovertemplate=f"{side}{name} %{{y:.1%}}<extra></extra>",
        )


def costs_plot(committee: Rollout, yardstick: Rollout) -> str:
    """Draw costs (USD) and turnover (multiples of the equity) summed up since the start."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09)
    days = dates(committee.closed_at[1:])
    pairs = ((committee, COMMITTEE_COLOUR), (yardstick, BASELINE_COLOURS[0]))
    for rollout, colour in pairs:
        common = {
            "x": days,
            "name": rollout.name,
            "legendgroup": rollout.name,
            "line": {"color": colour, "width": 1.8},
        }
        figure.add_scatter(
            **common,
            y=_rounded(np.cumsum(rollout.cost_usd), 2),
            hovertemplate=f"{rollout.name} %{{y:,.0f}} USD<extra></extra>",
            row=1,
            col=1,
        )
        figure.add_scatter(
            **common,
            y=_rounded(np.cumsum(rollout.turnover), 4),
            showlegend=False,
            hovertemplate=f"{rollout.name} %{{y:.1f}} x equity<extra></extra>",
            row=2,
            col=1,
        )
    _style(figure, "costs, USD", height=460)
    figure.update_yaxes(tickformat="~s", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="turnover, x equity", rangemode="tozero", row=2, col=1)
    return _json(figure)


def dates(closed_at: IntArray) -> list[str]:
    """Return instants (K,) int64 ns UTC as ISO text to the minute, e.g. "2012-01-03T21:00"."""
    return np.datetime_as_string(closed_at.astype("datetime64[ns]"), unit="m").tolist()


def _figure(y_title: str) -> go.Figure:
    figure = go.Figure()
    _style(figure, y_title, height=400)
    return figure


def _style(figure: go.Figure, y_title: str, height: int) -> None:
    axis = {"gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID, "automargin": True}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hovermode="x unified",
        legend={"orientation": "h", "yanchor": "top", "y": -0.14, "x": 0, "traceorder": "normal"},
    )
    figure.update_xaxes(**axis, hoverformat="%Y-%m-%d", nticks=8, tickangle=0)
    figure.update_yaxes(**axis)
    figure.update_layout(yaxis_title={"text": y_title, "standoff": 8})


def _baseline(name: str, number: int) -> dict[str, object]:
    style = number % len(BASELINE_COLOURS)
    return {
        "name": name,
        "line": {
            "color": BASELINE_COLOURS[style],
            "dash": BASELINE_DASHES[style],
            "width": 1.8,
        },
        "hovertemplate": f"{name} %{{y:,.0f}}<extra></extra>",
    }


def _mark_folds(figure: go.Figure, rollout: Rollout) -> None:
    borders = np.flatnonzero(np.diff(rollout.fold)) + 1
    for day in dates(rollout.closed_at[borders]):
        figure.add_shape(
            type="line",
            x0=day,
            x1=day,
            y0=0,
            y1=1,
            yref="paper",
            layer="below",
            line={"color": "#B0B0B0", "width": 1, "dash": "dot"},
        )


def _axis_choice() -> dict[str, object]:
    choices = (("linear", "linear"), ("log", "logarithmic"))
    return {
        "type": "buttons",
        "direction": "right",
        "x": 1,
        "xanchor": "right",
        "y": 1.02,
        "yanchor": "bottom",
        "pad": {"t": 0, "b": 4},
        "buttons": [
            {"label": label, "method": "relayout", "args": [{"yaxis.type": kind}]}
            for kind, label in choices
        ],
    }


def _rounded(values: FloatArray, digits: int) -> list[float]:
    # Adding zero turns -0.0 into 0.0, which would read "-0.0%" in the hover text.
    return (np.round(values, digits) + 0.0).tolist()


def _json(figure: go.Figure) -> str:
    text = str(figure.to_json())
    # The text goes into a script element, which "</script>" in a name would end.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
