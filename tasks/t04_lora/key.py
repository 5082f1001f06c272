"""The answer key of task 04, in NumPy: another library than the students use."""

from random import Random

import numpy as np

from workshop.tasks import Hidden, Wrong

LAYER = """
base = Conv1D(*np.shape(inputs["weight"]))
with torch.no_grad():
    base.weight.copy_(torch.tensor(inputs["weight"]))
    base.bias.copy_(torch.tensor(inputs["bias"]))
x = torch.tensor(inputs["x"])
"""


def hidden(rng: Random) -> dict[str, Hidden]:
    draw = np.random.default_rng(rng.randrange(2**32))

    def some(*shape):
        return draw.normal(size=shape).round(3)

    def layer(n_in, n_out, **more):
        arrays = {"weight": some(n_in, n_out), "bias": some(n_out), "x": some(4, n_in), **more}
        return arrays, {name: value.tolist() for name, value in arrays.items()}

    def case(inputs, code, wanted):
        return Hidden("import numpy as np" + LAYER + code, inputs, wanted, 1e-3)

    def starts(found):
        said, a, gradient = found
        if np.abs(np.array(said) - plain).max() > 1e-4:
            return "antes do treino a saída não é a da base; esperava a mesma"
        if a == 0 or gradient == 0:
            return "A e B não podem ser os dois parados: o gradiente de b é zero, e nada aprende"
        return True

    arrays, inputs = layer(5, 8)
    plain = arrays["x"] @ arrays["weight"] + arrays["bias"]
    start = case(
        inputs,
        "layer = LoRA(base, 3, 5)\nsaid = layer(x)\nsaid.pow(2).sum().backward()\n"
        "output = [said, layer.a.abs().max().item(), layer.b.grad.abs().max().item()]",
        starts,
    )
    frozen = case(
        inputs,
        "layer = LoRA(base, 2, 4)\noutput = sorted(n for n, p in layer.named_parameters() if p.requires_grad)",
        ["a", "b"],
    )

    arrays, inputs = layer(5, 8, a=some(5, 4), b=some(4, 8))
    trained = (
        "layer = LoRA(base, 4, 10)\nwith torch.no_grad():\n"
        "    layer.a.copy_(torch.tensor(inputs['a']))\n    layer.b.copy_(torch.tensor(inputs['b']))\n"
    )
    scale = case(
        inputs,
        trained + "output = layer(x) - base(x)",
        2.5 * arrays["x"] @ arrays["a"] @ arrays["b"],
    )
    merge = case(
        inputs,
        trained + "apart = layer(x)\noutput = (merge(layer)(x) - apart).abs().max().item()",
        lambda gap: (
            gap < 1e-3 or f"a saída junta difere da separada em até {gap:.2f}; esperava a mesma"
        ),
    )
    shared = case(inputs, trained + "merge(layer)\noutput = layer.base.weight", arrays["weight"])

    names = ("a_query", "b_query", "a_value", "b_value")
    pairs = dict(zip(names, (some(6, 2), some(2, 6), some(6, 2), some(2, 6)), strict=True))
    arrays, inputs = layer(6, 18, **pairs)
    wanted = arrays["x"] @ arrays["weight"] + arrays["bias"]
    wanted[:, :6] += 3.5 * arrays["x"] @ pairs["a_query"] @ pairs["b_query"]
    wanted[:, 12:] += 3.5 * arrays["x"] @ pairs["a_value"] @ pairs["b_value"]
    qv = case(
        inputs,
        "layer = QueryValueLoRA(base, 2, 7)\nwith torch.no_grad():\n"
        f"    for name in {names}:\n        getattr(layer, name).copy_(torch.tensor(inputs[name]))\n"
        "output = layer(x)",
        wanted,
    )

    parts = [(some(7, r), some(r, 5), alpha) for r, alpha in ((1, 4), (4, 2), (2, 9))]
    shares = [0.5, 1.0, -0.25]
    wanted = sum(
        share * alpha / a.shape[1] * a @ b
        for (a, b, alpha), share in zip(parts, shares, strict=True)
    )
    join = Hidden(
        "parts = [(torch.tensor(a), torch.tensor(b), alpha) for a, b, alpha in inputs[0]]\n"
        "a, b, alpha = join(parts, inputs[1])\noutput = alpha / a.size(1) * a @ b",
        [[[a.tolist(), b.tolist(), alpha] for a, b, alpha in parts], shares],
        wanted,
        1e-3,
    )

    a, b, rank = some(12, 6), some(6, 15), 2
    target = 1.5 * a @ b
    best = np.linalg.norm(np.linalg.svd(target, compute_uv=False)[rank:])

    def is_closest(found):
        small, width = np.array(found[0]), found[1]
        left = np.linalg.norm(target - small)
        if width != rank:
            return f"esperava posto {rank}, encontrei {width}"
        return (
            bool(left < best * 1.001)
            or f"o erro é {left:.2f}; com o mesmo posto dá para ter {best:.2f}"
        )

    shrink = Hidden(
        f"a, b, alpha = shrink(torch.tensor(inputs[0]), torch.tensor(inputs[1]), 9, {rank})\n"
        "output = [alpha / a.size(1) * a @ b, a.size(1)]",
        [a.tolist(), b.tolist()],
        is_closest,
    )
    return {
        "start": start,
        "scale": scale,
        "frozen": frozen,
        "merge": merge,
        "shared": shared,
        "qv": qv,
        "join": join,
        "shrink": shrink,
    }


WRONG = [
    Wrong("alpha sem o posto", {"self.scale = alpha / rank": "self.scale = alpha"}, ["scale"]),
    Wrong(
        "B não começa em zero",
        {
            "self.b = nn.Parameter(torch.zeros(rank, n_out))": "self.b = nn.Parameter(torch.randn(rank, n_out))"
        },
        ["start"],
    ),
    Wrong(
        "A em zero, B sorteada",
        {
            "self.a = nn.Parameter(torch.randn(n_in, rank) / math.sqrt(n_in))": "self.a = nn.Parameter(torch.zeros(n_in, rank))",
            "self.b = nn.Parameter(torch.zeros(rank, n_out))": "self.b = nn.Parameter(torch.randn(rank, n_out))",
        },
        ["start"],
    ),
    Wrong("a base também treina", {"        base.requires_grad_(False)\n": ""}, ["frozen"]),
    Wrong(
        "merge esquece a escala",
        {"layer.scale * layer.a @ layer.b": "layer.a @ layer.b"},
        ["merge"],
    ),
    Wrong("merge na própria base", {"copy.deepcopy(layer.base)": "layer.base"}, ["shared"]),
    Wrong(
        "mexe na chave, e não no valor",
        {"torch.cat((query, key, value), dim=-1)": "torch.cat((query, value, key), dim=-1)"},
        ["qv"],
    ),
    Wrong("junta sem as escalas", {"share * alpha / b.size(0) * b for": "share * b for"}, ["join"]),
    Wrong(
        "corta colunas em vez das menores direções",
        {
            "u[:, :rank] * sizes[:rank], v[:rank], rank": "a[:, :rank], b[:rank], alpha * rank / a.size(1)"
        },
        ["shrink"],
    ),
]
