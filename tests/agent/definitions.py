"""The encoders as they are defined: one observation, row and symbol after the other."""

import torch

from ploutos.agent.encoders.symbol import SymbolFeatures


def naive_window(layer, observations):
    """Return a `WindowExtractor`'s features (B, H) of by-value observations."""
    length, window = layer.layout.row_length, layer.layout.window_bars
    levels = 0
    while 2**levels < window:
        levels += 1
    assert len(layer.pairs) == levels

    def state(rows, level, t):
        if t < 0:
            return rows[0].new_zeros(layer.row.out_features)
        if level == 0:
            return torch.tanh(layer.row.weight @ rows[t] + layer.row.bias)
        pair, back = layer.pairs[level - 1], 2 ** (level - 1)
        older, newer = pair.weight[:, : pair.out_features], pair.weight[:, pair.out_features :]
        before, now = state(rows, level - 1, t - back), state(rows, level - 1, t)
        return torch.tanh(older @ before + newer @ now + pair.bias)

    found = []
    for one in observations:
        rows = [one[w * length : (w + 1) * length] for w in range(window)]
        inputs = torch.cat([state(rows, levels, window - 1), one[window * length :]])
        found.append(torch.tanh(layer.linear.weight @ inputs + layer.linear.bias))
    return torch.stack(found)


def naive_symbols(layer, observations):
    """Return a `SymbolExtractor`'s features of by-value observations."""
    found = [_naive_symbols(layer, one) for one in observations]
    return SymbolFeatures(*(torch.stack(parts) for parts in zip(*found, strict=True)))


def _naive_symbols(layer, observation):
    n_symbols, n_features, n_macro, window = layer.layout
    length, at_macro = layer.layout.row_length, n_symbols * n_features
    at_valid, at_known = at_macro + n_macro, at_macro + n_macro + n_symbols
    own, common, valid = [[] for _ in range(n_symbols)], [], None
    for w in range(window):
        row = observation[w * length : (w + 1) * length]
        valid = row[at_valid:at_known]
        common += [row[at_macro:at_valid], row[at_known:]]
        for n in range(n_symbols):
            own[n] += [row[n * n_features : (n + 1) * n_features], valid[n : n + 1]]
    account = observation[window * length :]
    context = layer.context.weight @ torch.cat([*common, account[:4]]) + layer.context.bias
    embeddings, total, count = [], torch.zeros_like(context), 0
    for n in range(n_symbols):
        held = torch.stack([account[4 + kind * n_symbols + n] for kind in range(4)])
        state = torch.tanh(layer.symbol.weight @ torch.cat([*own[n], held]) + context)
        for hidden in layer.layers:
            state = torch.tanh(hidden.weight @ state + hidden.bias)
        embeddings.append(state)
        if valid[n] == 1:
            total, count = total + state, count + 1
    return torch.stack(embeddings), total / max(count, 1), torch.tanh(context)
