# %% [markdown] id="cover" hides="afina.gpt.lora" forbids="peft" seconds=20 memory_mb=2500
# # Tarefa 04 · Duas bibliotecas, um modelo
#
# Duas bibliotecas dividem um servidor com lugar para **um** modelo na memória. A infantil quer respostas simples; a de direito, formais. Cada uma treina o
# seu LoRA, de poucos quilobytes, e a base, que é de todos, não pode mudar um bit. Um dia elas querem um modelo que misture os dois jeitos.
#
# O modelo veio da Hugging Face e guarda as matrizes **deitadas**: a camada `Conv1D` do GPT-2 calcula `x @ W + b`, com `W` de forma (entrada, saída), o contrário do
# `nn.Linear` da aula 10. E consulta, chave e valor são uma matriz só, lado a lado. As fórmulas da aula valem; as formas, é você quem acha.
#
# {{rubric}}
#
# **Regras do jogo.** Escreva só nas células de resposta; pode criar outras para experimentar. As de conferência voltam ao original na correção,
# que usa também casos escondidos. Um critério vale quando os exemplos daqui e os escondidos dão certo. `afina.gpt.lora` e `peft` não podem ser
# importados.

# %% id="setup"

# %% [markdown]
# ## A camada da base
#
# É a `Conv1D` da biblioteca, em poucas linhas. Ela é dada; não a mude.

# %% id="base"
import copy
import math

import torch
from torch import nn


class Conv1D(nn.Module):
    """x @ weight + bias, with weight (in, out): how GPT-2 keeps its layers."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) / math.sqrt(n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


# %% [markdown]
# ## 1. O LoRA de uma camada deitada (fácil)
#
# Complete `LoRA`. Ele veste uma `Conv1D` e soma à saída dela `(alpha / r) · x A B`:
#
# | o que | forma | no começo | treina |
# | --- | --- | --- | --- |
# | `self.base` | a `Conv1D` | a do modelo | não |
# | `self.a` | (entrada, r) | sorteada | sim |
# | `self.b` | (r, saída) | como na aula | sim |
# | `self.scale` | um número | | |


# %% id="answer-lora"
class LoRA(nn.Module):
    """A frozen Conv1D plus two thin matrices that learn."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        ### SOLUTION
        n_in, n_out = base.weight.shape
        base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(n_in, rank) / math.sqrt(n_in))
        self.b = nn.Parameter(torch.zeros(rank, n_out))
        self.scale = alpha / rank
        ### END

    def forward(self, x):
        ### SOLUTION
        return self.base(x) + self.scale * (x @ self.a @ self.b)
        ### END


# %% id="check-start" points=1 level="easy" title="Começa igual à base, e pode aprender" lesson="10#lora-linear"
torch.manual_seed(4)
base, x = Conv1D(6, 9), torch.randn(5, 6)
plain = base(x).detach()
layer = LoRA(base, rank=2, alpha=8)
expect(layer(x), plain, "antes do treino, a saída é a da base")
expect([tuple(layer.a.shape), tuple(layer.b.shape)], [(6, 2), (2, 9)], "as formas de a e b")
layer(x).pow(2).sum().backward()
expect(
    layer.b.grad,
    lambda g: (
        bool(g.abs().max() > 0)
        or "esperava um gradiente, encontrei zero: com a em zero, nada aprende"
    ),
    "o gradiente chega a b",
)

# %% id="check-scale" points=1 level="easy" title="alpha dividido pelo posto" lesson="10#alpha"
for rank in (1, 2, 4):
    layer = LoRA(Conv1D(6, 9), rank, alpha=8)
    before = layer(x)
    expect(
        before,
        lambda y: y.shape == (5, 9) or f"esperava (5, 9), encontrei {tuple(y.shape)}",
        f"forma, posto {rank}",
    )
    nn.init.ones_(layer.a)
    nn.init.ones_(layer.b)
    added = layer(x) - layer.base(x)
    expect(added[:, 0], 8 * x.sum(1), f"o que A e B de uns somam, posto {rank}")

# %% id="check-frozen" points=1 level="easy" title="Só A e B aprendem" lesson="10#untouched"
layer = LoRA(copy.deepcopy(base), rank=2, alpha=8)
learning = [name for name, p in layer.named_parameters() if p.requires_grad]
expect(
    layer(x),
    lambda y: y.shape == (5, 9) or f"esperava (5, 9), encontrei {tuple(y.shape)}",
    "a forma da saída",
)
expect(sorted(learning), ["a", "b"], "o que aprende")
for _ in range(3):
    (layer(x) - 1).pow(2).mean().backward()
    for matrix in layer.parameters():
        if matrix.grad is not None:
            matrix.data -= 0.1 * matrix.grad
            matrix.grad = None
expect(layer.base.weight, base.weight, "a base, depois de três passos")

# %% [markdown]
# ## 2. Juntar sem estragar (essencial)
#
# `merge(layer)` devolve uma `Conv1D` **nova**, que sozinha dá a mesma saída que `layer`. A base de `layer` é de todos: fica como estava.


# %% id="answer-merge"
def merge(layer):
    """A plain Conv1D that computes what the base and its LoRA compute together."""
    ### SOLUTION
    merged = copy.deepcopy(layer.base)
    with torch.no_grad():
        merged.weight += layer.scale * layer.a @ layer.b
    return merged
    ### END


# %% [markdown]
# Os exemplos põem números em A e B, como se um treino os tivesse deixado.

# %% id="check-merge" points=1 level="core" title="Junto dá o mesmo que separado" lesson="10#merge"
torch.manual_seed(4)
layer = LoRA(copy.deepcopy(base), rank=3, alpha=12)
apart = layer(x)
expect(
    apart,
    lambda y: y.shape == (5, 9) or f"esperava (5, 9), encontrei {tuple(y.shape)}",
    "a forma da saída",
)
nn.init.normal_(layer.a)
nn.init.normal_(layer.b)
apart = layer(x).detach()
merged = merge(layer)
expect(
    merged,
    lambda m: type(m) is Conv1D or f"encontrei {type(m).__name__}",
    "merge devolve uma Conv1D",
)
expect(merged(x), apart, "a saída junta")

# %% id="check-shared" points=1 level="core" title="A base continua de todos" lesson="10#merge"
expect(
    merge(layer), lambda m: type(m) is Conv1D or f"encontrei {type(m).__name__}", "outra vez merge"
)
expect(layer.base.weight, base.weight, "os pesos da base, depois de merge")
expect(layer(x), apart, "a saída separada, depois de merge")

# %% [markdown]
# ## 3. Só consulta e valor (essencial)
#
# No artigo do LoRA (Hu e outros, 2021), as matrizes ajustadas são a da consulta e a do valor. Aqui as três moram em uma `Conv1D` de (d, 3d): as primeiras `d` colunas da
# saída são a consulta, as do meio a chave, as últimas o valor. Complete `QueryValueLoRA`: um par de matrizes para a consulta, outro para o valor, e a chave sai
# **como na base**. Um só par para as três não serve: mexeria na chave.


# %% id="answer-qv"
class QueryValueLoRA(nn.Module):
    """LoRA on the query and the value of a fused layer (d, 3d)."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        d = base.weight.size(0)
        self.base = base.requires_grad_(False)
        self.rank, self.alpha = rank, alpha
        self.a_query = nn.Parameter(torch.randn(d, rank) / math.sqrt(d))
        self.b_query = nn.Parameter(torch.zeros(rank, d))
        self.a_value = nn.Parameter(torch.randn(d, rank) / math.sqrt(d))
        self.b_value = nn.Parameter(torch.zeros(rank, d))

    def forward(self, x):
        """(…, d) -> (…, 3d)."""
        ### SOLUTION
        query, key, value = self.base(x).chunk(3, dim=-1)
        each = self.alpha / self.rank
        query = query + each * (x @ self.a_query @ self.b_query)
        value = value + each * (x @ self.a_value @ self.b_value)
        return torch.cat((query, key, value), dim=-1)
        ### END


# %% id="check-qv" points=2 level="core" title="Consulta e valor mudam, a chave não" lesson="07#roles"
torch.manual_seed(4)
fused, x4 = Conv1D(4, 12), torch.randn(2, 3, 4)
layer = QueryValueLoRA(fused, rank=2, alpha=6)
expect(layer(x4), fused(x4), "antes do treino, a saída é a da base")
for matrix in (layer.a_query, layer.b_query, layer.a_value):
    nn.init.ones_(matrix)
nn.init.constant_(layer.b_value, 10)
moved = (layer(x4) - fused(x4)).detach()
total = 6 * x4.sum(-1, keepdim=True)
expect(moved[..., 4:8].abs().max(), 0.0, "o quanto a chave mudou")
expect(moved[..., :4], total.expand(2, 3, 4), "o que foi somado à consulta")
expect(moved[..., 8:], 10 * total.expand(2, 3, 4), "o que foi somado ao valor")

# %% [markdown]
# ## 4. Dois jeitos em um (desafio)
#
# A prefeitura quer um atendente que misture: 0,7 do infantil e 0,3 do jurídico. `join(adapters, shares)` recebe uma lista de `(a, b, alpha)`, de postos e alphas
# diferentes, e uma parte para cada um. Devolve **um** `(a, b, alpha)` que, usado com a fórmula de sempre, soma exatamente
#
# `parte₁ · (alpha₁ / r₁) · A₁ B₁ + parte₂ · (alpha₂ / r₂) · A₂ B₂ + …`
#
# Fazer a média das matrizes não serve: (A₁ + A₂)(B₁ + B₂) tem termos que ninguém treinou. O posto do resultado pode ser a soma dos postos.


# %% id="answer-join"
def join(adapters, shares):
    """One (a, b, alpha) whose update is the weighted sum of the updates of several."""
    ### SOLUTION
    a = torch.cat([a for a, _, _ in adapters], dim=1)
    scaled = [
        share * alpha / b.size(0) * b for (_, b, alpha), share in zip(adapters, shares, strict=True)
    ]
    return a, torch.cat(scaled), a.size(1)
    ### END


# %% id="check-join" points=2 level="stretch" title="Vários LoRA em um, sem erro" lesson="10#lora-linear"
torch.manual_seed(4)
children = torch.randn(6, 2), torch.randn(2, 9), 8
legal = torch.randn(6, 3), torch.randn(3, 9), 3
joined = join([children, legal], [0.7, 0.3])
expect(
    joined,
    lambda j: len(j) == 3 or f"esperava 3 partes, encontrei {len(j)}",
    "join devolve a, b e alpha",
)
a, b, alpha = joined
wanted = 0.7 * 4 * children[0] @ children[1] + 0.3 * 1 * legal[0] @ legal[1]
expect(alpha / a.size(1) * a @ b, wanted, "a mistura de dois, com 0,7 e 0,3")

# %% [markdown]
# O posto cresceu, e o servidor só aceita arquivos de posto `rank`. `shrink(a, b, alpha, rank)` devolve o `(a, b, alpha)` desse posto cuja atualização fica **o mais perto
# possível** da original. A aula 10 mediu o tamanho das direções com a SVD: `torch.linalg.svd` também as devolve.


# %% id="answer-shrink"
def shrink(a, b, alpha, rank):
    """The closest update of a lower rank (Eckart and Young, 1936)."""
    ### SOLUTION
    u, sizes, v = torch.linalg.svd(alpha / a.size(1) * a @ b, full_matrices=False)
    return u[:, :rank] * sizes[:rank], v[:rank], rank
    ### END


# %% id="check-shrink" points=1 level="stretch" title="O menor posto, o menor erro" lesson="10#singular-values"
torch.manual_seed(4)
a, b = torch.randn(20, 8), torch.randn(8, 30)
smaller = shrink(a, b, 16, 3)
expect(
    smaller,
    lambda s: len(s) == 3 or f"esperava 3 partes, encontrei {len(s)}",
    "shrink devolve a, b e alpha",
)
a3, b3, alpha3 = smaller
expect([a3.size(1), b3.size(0)], [3, 3], "o posto pedido")
left = (2 * a @ b - alpha3 / 3 * a3 @ b3).norm().item()
best = torch.linalg.svdvals(2 * a @ b)[3:].norm().item()
expect(
    left,
    lambda e: e < best * 1.001 or f"esperava {best:.1f}, encontrei {e:.1f}",
    "o erro, o menor possível",
)

# %% [markdown]
# ## Para terminar
#
# Rode tudo do começo (*Kernel › Restart Kernel and Run All Cells*) e confira que cada célula de conferência diz ✔. Depois entregue este arquivo e
# compare-o com a [solução comentada](solution.ipynb).
