"""The answer key of task 03, in NumPy: another library than the students use."""

from random import Random

import numpy as np

from workshop.tasks import Hidden, Wrong


def attend(query, key, padding=0):
    """The causal weights of one text and one head; `query` and `key` are (tokens, width)."""
    tokens, width = query.shape
    weights = np.zeros((tokens, tokens))
    for i in range(padding, tokens):
        scores = key[padding : i + 1] @ query[i] / np.sqrt(width)
        parts = np.exp(scores - scores.max())
        weights[i, padding : i + 1] = parts / parts.sum()
    return weights


def grouped(query, key, value):
    """(batch, heads, tokens, width) over (batch, groups, tokens, width)."""
    each = query.shape[1] // key.shape[1]
    return np.array(
        [
            [attend(q, k[h // each]) @ v[h // each] for h, q in enumerate(qs)]
            for qs, k, v in zip(query, key, value, strict=True)
        ]
    )


def hidden(rng: Random) -> dict[str, Hidden]:
    draw = np.random.default_rng(rng.randrange(2**32))

    def some(*shape):
        return draw.normal(size=shape).round(3)

    def weights_of(query, key, padding, part=""):
        found = (
            f"attention_weights(torch.tensor(inputs[0]), torch.tensor(inputs[1]), inputs[2]){part}"
        )
        return found, [query.tolist(), key.tolist(), padding]

    def rows_are_causal(found):
        found = np.array(found)
        if found.shape != (2, 3, 6, 6):
            return f"esperava a forma (2, 3, 6, 6), encontrei {found.shape}"
        if np.abs(np.triu(found, 1)).max() > 1e-6:
            return f"no peso dado ao futuro, esperava 0, encontrei {np.abs(np.triu(found, 1)).max():.3f}"
        if np.abs(found.sum(-1) - 1).max() > 1e-4:
            worst = found.sum(-1).flat[np.abs(found.sum(-1) - 1).argmax()]
            return f"uma linha soma {worst:.3f}; esperava 1"
        return True

    def hides_filler(found):
        found = np.array(found)
        for row, filler in zip(found, padding, strict=True):
            if not np.isfinite(row).all():
                return "há nan na linha de um preenchimento; esperava zeros"
            if np.abs(row[:, :, :filler]).max() > 1e-6:
                taken = np.abs(row[:, :, :filler]).max()
                return f"o preenchimento recebeu peso {taken:.3f}; esperava zero"
            if row[:, filler, filler].min() <= 0:
                return "um token de verdade não vê nem a si; esperava um peso"
        return True

    query, key = some(2, 2, 3, 6, 9)
    padding = [2, 3]
    last = [
        [attend(q, k)[-1] for q, k in zip(*pair, strict=True)]
        for pair in zip(query, key, strict=True)
    ]
    scale = Hidden(*weights_of(query, key, [0, 0], "[:, :, -1]"), last)
    causal = Hidden(*weights_of(query, key, [0, 0]), rows_are_causal)
    filler = Hidden(*weights_of(query, key, padding), hides_filler)

    x = some(2, 5, 12)
    split = x.reshape(2, 5, 3, 4).transpose(0, 2, 1, 3)
    heads = Hidden(
        "x = torch.tensor(inputs)\noutput = [split_heads(x, 3), join_heads(split_heads(x, 3))]",
        x.tolist(),
        [split, x],
    )
    groups = some(2, 3, 2, 4)
    share = Hidden(
        "share_heads(torch.tensor(inputs), 12)", groups.tolist(), np.repeat(groups, 4, axis=1)
    )

    weights, value, rate = np.abs(some(1, 2, 300, 5)) + 0.1, np.eye(5)[None, None].repeat(2, 1), 0.3

    def drops(found):
        calm, trained = np.array(found[0]), np.array(found[1])
        if np.abs(calm - weights).max() > 1e-4:
            return "fora do treino os pesos mudaram; esperava os mesmos"
        erased = (trained == 0).mean()
        if abs(erased - rate) > 0.06:
            return (
                f"no treino, esperava cerca de {rate:.0%} de pesos apagados, encontrei {erased:.0%}"
            )
        if np.abs(trained - weights / (1 - rate))[trained != 0].max() > 1e-4:
            return f"esperava que os pesos que ficam fossem divididos por {1 - rate:.1f}; não foram"
        return True

    dropout = Hidden(
        f"w, v = torch.tensor(inputs[0]), torch.tensor(inputs[1])\n"
        f"torch.manual_seed(1)\noutput = [mix(w, v, {rate}, False), mix(w, v, {rate}, True)]",
        [weights.tolist(), value.tolist()],
        drops,
    )

    sizes = {"query": (16, 16), "key": (8, 16), "value": (8, 16), "out": (16, 16)}
    state = {f"{n}.weight": some(*size) / 3 for n, size in sizes.items()}
    state |= {f"{n}.bias": some(size[0]) / 3 for n, size in sizes.items()}
    x = some(2, 6, 16)

    def project(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    parts = [
        project(n, x).reshape(2, 6, -1, 4).transpose(0, 2, 1, 3) for n in ("query", "key", "value")
    ]
    mixed = grouped(*parts).transpose(0, 2, 1, 3).reshape(2, 6, 16)
    whole = Hidden(
        "layer = GroupedAttention(16, 4, 2, dropout=0.3).eval()\n"
        "layer.load_state_dict({name: torch.tensor(rows) for name, rows in inputs[0].items()})\n"
        "output = layer(torch.tensor(inputs[1]), [0, 0])",
        [{name: rows.tolist() for name, rows in state.items()}, x.tolist()],
        project("out", mixed),
        1e-3,
    )

    def steps(window):
        return (
            "q, k, v = (torch.tensor(part) for part in inputs)\ncache, rows = {}, []\n"
            "for i in range(q.size(2)):\n    here = [part[:, :, i : i + 1] for part in (q, k, v)]\n"
            f"    rows.append(next_token(*here, cache, {window}))\n"
            "output = [torch.cat(rows, dim=2), cache['key'].size(2)]"
        )

    query, key, value = some(2, 4, 9, 5), some(2, 2, 9, 5), some(2, 2, 9, 5)
    inputs = [part.tolist() for part in (query, key, value)]
    window, short = 4, np.empty_like(query)
    for i in range(9):
        kept = sorted({0, *range(max(0, i - window + 2), i + 1)})
        short[:, :, i] = grouped(query[:, :, kept], key[:, :, kept], value[:, :, kept])[:, :, -1]
    return {
        "scale": scale,
        "causal": causal,
        "padding": filler,
        "heads": heads,
        "share": share,
        "dropout": dropout,
        "whole": whole,
        "cache": Hidden(steps(9), inputs, [grouped(query, key, value), 9]),
        "window": Hidden(steps(window), inputs, [short, window]),
    }


WRONG = [
    Wrong(
        "sem máscara causal",
        {"allowed = seen & real": "allowed = (seen | True) & real"},
        ["causal", "whole"],
    ),
    Wrong(
        "sem dividir pela raiz",
        {"(-2, -1) / math.sqrt(query.size(-1))\n    places": "(-2, -1)\n    places"},
        ["scale", "whole"],
    ),
    Wrong(
        "softmax nas colunas",
        {"-torch.inf).softmax(dim=-1)": "-torch.inf).softmax(dim=-2)"},
        ["scale", "causal", "whole"],
    ),
    Wrong(
        "máscara depois da softmax",
        {"scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)": "scores.softmax(dim=-1)"},
        ["causal", "whole"],
    ),
    Wrong(
        "cabeças misturadas",
        {
            "x.view(batch, tokens, n_heads, columns // n_heads).transpose(1, 2)": "x.view(batch, n_heads, tokens, -1)"
        },
        ["heads", "whole"],
    ),
    Wrong(
        "grupos intercalados",
        {
            "x.repeat_interleave(n_heads // x.size(1), dim=1)": "x.repeat(1, n_heads // x.size(1), 1, 1)"
        },
        ["share", "whole"],
    ),
    Wrong("dropout esquecido", {"F.dropout(weights, dropout, training)": "weights"}, ["dropout"]),
    Wrong(
        "linha de preenchimento vira nan",
        {"weights.masked_fill(~allowed, 0.0)": "weights"},
        ["padding"],
    ),
    Wrong(
        "janela sem a âncora",
        {
            "torch.cat((row[:, :, :1], row[:, :, row.size(2) - window + 1 :]), dim=2)": "row[:, :, -window:]"
        },
        ["window"],
    ),
]
