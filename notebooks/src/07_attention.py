# %% [markdown] id="cover"
# # 07 · Atenção
#
# Como uma palavra descobre quais das anteriores importam. Você constrói a atenção com laços, depois com matrizes, e prova que é a mesma conta do PyTorch.
#
# **Ao final você vai saber**
#
# - calcular a atenção de três tokens à mão, e de muitos com três matrizes
# - esconder o futuro com a máscara causal, e provar que ele não vaza
# - dividir a conta em cabeças e montar o módulo que o curso usa
# - ler o mapa de calor de uma cabeça treinada
# - dizer quanto tempo e memória a atenção custa quando o texto cresce
#
# **Antes desta aula**: [06 · Embeddings](06_embeddings.ipynb), pelos vetores de tokens e posições.
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="why-attention"
# ## 1. O problema: uma palavra só não basta
#
# *Nuno tem um copo cinza. Marina tem uma bola azul. O que Nuno tem?* Para responder **copo**, o modelo precisa voltar ao começo e saber **onde** olhar. O embedding
# da última palavra, sozinho, não sabe. A **atenção** (*attention*) é a conta que faz cada token buscar, nos anteriores, o que lhe falta.
#
# Começamos com três tokens de quatro números cada um. Os números são inventados; as contas, não.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

tokens = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
names = ["copo", "azul", "cinza"]

# %% [markdown] id="similarity"
# ## 2. Semelhança: o produto escalar
#
# Multiplique dois vetores número a número e some. Se apontam para o mesmo lado, a soma é grande: essa é a nota de semelhança. Primeiro com laços, um par de cada vez:

# %%
scores = torch.empty(3, 3)
for i, one in enumerate(tokens):
    for j, other in enumerate(tokens):
        scores[i, j] = sum(a * b for a, b in zip(one, other, strict=True))
print(scores)

# %% [markdown]
# As nove notas são uma multiplicação de matrizes: cada linha com cada linha. `@` faz o mesmo de uma vez.

# %%
assert torch.equal(scores, tokens @ tokens.T)

# %% [markdown] id="softmax"
# ## 3. De notas a pesos: a softmax
#
# Queremos partes que somem 1, para misturar vetores com elas. A **softmax** eleva `e` a cada nota e divide pela soma da linha.


# %%
def softmax_by_hand(row):
    exponents = [math.exp(score) for score in row]
    return [exponent / sum(exponents) for exponent in exponents]


weights = torch.tensor([softmax_by_hand(row.tolist()) for row in scores])
assert torch.allclose(weights, scores.softmax(dim=-1))

# %%
for name, row in zip(names, weights, strict=True):
    print(f"{name:<6}", [f"{share:.2f}" for share in row.tolist()], f"soma {row.sum():.2f}")

# %% [markdown]
# O novo vetor de cada token é a soma de todos, cada um com o seu peso. Com laços e com matrizes:

# %%
mixed = torch.zeros(3, 4)
for i in range(3):
    for j in range(3):
        mixed[i] += weights[i, j] * tokens[j]
assert torch.allclose(mixed, weights @ tokens)
mixed

# %% [markdown] id="roles"
# ## 4. Três papéis: consulta, chave e valor
#
# Até aqui cada token fez tudo com o mesmo vetor, e "copo" se parece mais com copo. Mas quem pergunta *"que cor?"* procura algo diferente de si. Por isso cada token ganha três vetores,
# por três matrizes que o treino ajusta:
#
# | papel | pergunta | forma |
# | --- | --- | --- |
# | **consulta** (*query*) | o que procuro? | (tokens, largura) |
# | **chave** (*key*) | o que ofereço a quem procura? | (tokens, largura) |
# | **valor** (*value*) | o que entrego a quem me escolhe? | (tokens, largura) |

# %%
rt.seed_everything()
width = 4
w_query, w_key, w_value = torch.randn(3, 4, width)
query, key, value = tokens @ w_query, tokens @ w_key, tokens @ w_value
print("consulta", tuple(query.shape), "chave", tuple(key.shape), "valor", tuple(value.shape))

# %% [markdown] id="scale"
# ### Por que dividir pela raiz
#
# A soma de `n` produtos ao acaso cresce com a raiz de `n`. Com vetores largos as notas ficam enormes, a softmax põe tudo em um token só, e o gradiente some. Veja a maior parte
# que um token recebe, em média, entre 16 chaves sorteadas:

# %%
torch.manual_seed(0)
for width in (4, 64, 1024):
    some, others = torch.randn(200, 1, width), torch.randn(200, 16, width)
    raw = (some @ others.transpose(1, 2)).squeeze(1)
    scaled = raw / math.sqrt(width)
    top = [x.softmax(-1).max(-1).values.mean() for x in (raw, scaled)]
    print(f"largura {width:>4}: sem dividir {top[0]:.2f}, dividindo {top[1]:.2f}")
assert top[0] > 0.9 > 0.5 > top[1]

# %% [markdown]
# Dividindo pela raiz da largura, as notas têm sempre o mesmo tamanho. É o "escalado" de *scaled dot-product attention*.

# %% [markdown] id="causal"
# ## 5. Não vale olhar o futuro
#
# Um GPT aprende a dizer o próximo token. Se, no treino, a posição 2 pudesse ver a 3, a resposta estaria à vista. A **máscara causal** põe menos infinito nas notas
# do futuro; a softmax as transforma em zero. Estas funções são as do pacote:


# %% id="mask-code"
def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> torch.Tensor:
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


# %%
# NBVAL_CHECK_OUTPUT
print(causal_mask(4, 4).int())
print("e se só a última posição é nova:", causal_mask(1, 4).int().tolist())


# %% id="weights-code"
def attention_weights(query: torch.Tensor, key: torch.Tensor, causal: bool = True) -> torch.Tensor:
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    if causal:
        seen = causal_mask(query.size(-2), key.size(-2), query.device)
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores.softmax(dim=-1)


# %%
for name, row in zip(names, attention_weights(query, key), strict=True):
    print(f"{name:<6}", [f"{share:.2f}" for share in row.tolist()])

# %% [markdown]
# "copo" só vê a si: é o primeiro. Cada linha ainda soma 1. A figura mostra o mesmo para dez tokens sorteados, sem e com máscara:

# %%
from afina.teach.figures import RED, figure, show

torch.manual_seed(1)
some, others = torch.randn(2, 10, 16)
fig, axes = figure(height=3.3, columns=2)
for ax, causal in zip(axes, (False, True), strict=True):
    ax.imshow(attention_weights(some, others, causal), cmap="Blues", vmin=0, vmax=0.6)
    ax.set(title="com máscara" if causal else "sem máscara", xlabel="token visto")
    ax.grid(visible=False)
axes[0].set_ylabel("token que olha")
show(
    fig,
    alt="Dois mapas de pesos de dez tokens. Sem máscara, o quadrado inteiro tem cor; "
    "com máscara, só o triângulo de baixo.",
)

# %% [markdown] id="dropout"
# ## 6. Dropout: treinar com buracos
#
# No treino, o **dropout** apaga ao acaso uma parte dos pesos e aumenta os outros na mesma proporção: o modelo não pode depender de um só caminho. Ao gerar, fica desligado.


# %% id="hand-code"
def attention_by_hand(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    causal: bool = True,
    dropout: float = 0.0,
) -> torch.Tensor:
    return F.dropout(attention_weights(query, key, causal), dropout) @ value


# %%
many = torch.ones(1000, 1000)
dropped = F.dropout(many, 0.2)
print(f"apagados {(dropped == 0).float().mean():.1%}, média {dropped.mean():.3f}")
assert abs(dropped.mean() - 1) < 0.01 and dropped.max() == 1 / 0.8

# %% [markdown] id="proof"
# ### A prova
#
# O PyTorch tem essa conta pronta, `F.scaled_dot_product_attention` (SDPA). Números sorteados, várias formas: a diferença tem de ser só arredondamento.

# %%
for shape in ((2, 1, 7, 8), (3, 4, 33, 16), (1, 2, 128, 32)):
    q, k, v = torch.randn(3, *shape)
    for causal in (False, True):
        ours = attention_by_hand(q, k, v, causal)
        theirs = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        assert torch.allclose(ours, theirs, atol=1e-5)
    print(f"{shape}: maior diferença {(ours - theirs).abs().max():.1e}")

# %% [markdown]
# E o futuro não vaza: troque o último token por outro, e nada muda antes dele. Sem a máscara, tudo muda.

# %%
q, k, v = torch.randn(3, 1, 1, 12, 8)
k2, v2 = k.clone(), v.clone()
k2[..., -1, :], v2[..., -1, :] = 9.0, -9.0
before = slice(0, -1)

# %%
for causal in (True, False):
    change = attention_by_hand(q, k, v, causal) - attention_by_hand(q, k2, v2, causal)
    moved = change[..., before, :].abs().max().item()
    print("com máscara:" if causal else "sem máscara:", f"{moved:.3f}")
    assert (moved == 0) == causal

# %% [markdown] id="heads"
# ## 7. Várias cabeças
#
# Uma mistura só responde a uma pergunta. Com **cabeças** (*heads*), as colunas são repartidas e cada fatia faz a sua própria atenção: uma pode buscar o dono, outra a cor. O custo
# é quase o mesmo, porque cada fatia é mais estreita.
#
# | passo | forma |
# | --- | --- |
# | entrada | (lote, tokens, colunas) |
# | uma projeção dá os três papéis | (lote, tokens, 3 × colunas) |
# | repartir em cabeças | 3 × (lote, cabeças, tokens, largura) |
# | atenção em cada cabeça | (lote, cabeças, tokens, largura) |
# | juntar de novo e projetar | (lote, tokens, colunas) |
#
# Este é o módulo do pacote. As três matrizes são uma só (`qkv`), porque uma multiplicação grande é mais rápida que três pequenas. O `cache` fica para a aula 09.

# %% id="module-code"
from torch import nn


class CausalSelfAttention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, d_model = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.n_heads, d_model // self.n_heads)
        return qkv.permute(2, 0, 3, 1, 4)

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor] | None = None) -> torch.Tensor:
        query, key, value = self.heads(x)
        if cache is not None:
            if cache:
                key, value = torch.cat((cache[0], key), dim=2), torch.cat((cache[1], value), dim=2)
            cache[:] = key, value
        queries, keys = query.size(2), key.size(2)
        alone = queries == 1 or queries == keys
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if alone else causal_mask(queries, keys, x.device),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=queries == keys,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        query, key, _ = self.heads(x)
        return attention_weights(query, key)


# %% [markdown]
# Confira contra as cabeças feitas uma a uma, com `attention_by_hand` e fatias de colunas:

# %% id="heads-proof"
torch.manual_seed(2)
layer = CausalSelfAttention(d_model=48, n_heads=4)
x = torch.randn(2, 10, 48)
q, k, v = layer.qkv(x).split(48, dim=-1)

# %%
slices = [slice(12 * n, 12 * n + 12) for n in range(4)]
one_by_one = [attention_by_hand(q[..., s], k[..., s], v[..., s]) for s in slices]
assert torch.allclose(layer.out(torch.cat(one_by_one, dim=-1)), layer(x), atol=1e-5)
print("quatro cabeças separadas = um módulo:", tuple(layer(x).shape))

# %% [markdown]
# E contra a classe do próprio PyTorch, `nn.MultiheadAttention`, com os mesmos pesos:

# %%
theirs = nn.MultiheadAttention(48, 4, batch_first=True)
theirs.in_proj_weight, theirs.in_proj_bias = layer.qkv.weight, layer.qkv.bias
theirs.out_proj.weight, theirs.out_proj.bias = layer.out.weight, layer.out.bias
expected, _ = theirs(x, x, x, attn_mask=~causal_mask(10, 10))
assert torch.allclose(layer(x), expected, atol=1e-5)

# %% [markdown] id="trained-head"
# ## 8. O que uma cabeça treinada procura
#
# O `gpt-pt` é o GPT do curso, treinado em português com este mesmo módulo (a aula 09 mostra como). `attention_maps` devolve os pesos de todas as camadas e cabeças.

# %%
from afina.gpt.model import attention_maps
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt

model = load_gpt(rt.models / "gpt-pt")
tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")

# %%
story = "Nuno tem um copo cinza de vidro. Marina tem uma bola azul de couro. O que Nuno tem? Nuno tem um"
ids = [tokenizer.end, *tokenizer.encode(story)]  # a document begins where another ended
maps = attention_maps(model, torch.tensor([ids]))[:, 0]
print("camadas, cabeças, tokens, tokens:", tuple(maps.shape))

# %% [markdown]
# Para responder, é preciso **copiar**. Que cabeças olham para onde está o token que vai ser escrito? Damos a cada uma uma nota: a parte do peso que vai para as aparições
# anteriores do **próximo** token, em textos que o modelo nunca viu. Uma atenção que olhasse para todos por igual serve de referência.


# %% id="copying"
def where_the_next_is(ids):
    """True at (i, j) when the token that comes after position i already stood at position j."""
    ids = torch.tensor(ids)
    return (ids[1:, None] == ids[None, :-1]).tril()


# %%
from afina.gpt.loader import read_documents

found, even, count = 0, 0, 0
for document in read_documents(rt.data / "prose_validation.txt.gz")[:60]:
    row = [tokenizer.end, *tokenizer.encode(document)][: model.config.context]
    places = where_the_next_is(row)
    some = places.any(dim=1)
    shares = attention_maps(model, torch.tensor([row[:-1]]))[:, 0] * places
    found = found + shares[:, :, some].sum(dim=(-2, -1))
    even = even + (places.sum(1) / torch.arange(1, len(row)))[some].sum()
    count = count + some.sum()

# %%
copying = found / count
layer, head = divmod(int(copying.argmax()), copying.size(1))
print(copying.numpy().round(2), f"olhar para todos por igual: {even / count:.2f}")
print(f"a que mais copia: camada {layer + 1}, cabeça {head + 1}")
assert copying.max() > 1.5 * even / count

# %% [markdown]
# Cada linha é uma camada, cada coluna uma cabeça: umas passam bem da referência, outras olham para outras coisas. Esta é a que mais copia, na nossa
# historinha. Os quadros contornados marcam onde já estava o token seguinte; azul dentro deles é cópia:

# %%
fig, ax = figure(height=6.2)
words = [tokenizer.decode([i]).strip() or "·" for i in ids]
ax.imshow(maps[layer, head], cmap="Blues", vmin=0, vmax=1)
for i, j in where_the_next_is(ids).nonzero().tolist():
    ax.add_patch(plt.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=1.2))
ax.set_xticks(range(len(ids)), words, rotation=90, fontsize=8)
ax.set_yticks(range(len(ids)), words, fontsize=8)
ax.set(
    title=f"Camada {layer + 1}, cabeça {head + 1}", xlabel="token visto", ylabel="token que olha"
)
ax.grid(visible=False)
show(
    fig,
    alt="Mapa de calor de uma cabeça treinada, só o triângulo de baixo. Quadros contornados marcam onde já estava o "
    f"token seguinte; em média, {copying.max():.0%} do peso cai em lugares assim.",
)

# %%
best = maps[layer, head, -1].topk(3)
print(f"de onde o último token, {words[-1]!r}, mais lê:")
for share, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
    print(f"  {words[place]!r:<10} na posição {place:>2}: {share:.2f}")
assert words[best.indices[0]] == "copo"

# %% [markdown]
# Quase todos os quadros estão claros: esta cabeça acha o token seguinte mais vezes que o acaso, e longe de sempre. Mas olhe a última linha, a de onde
# sai a resposta: o lugar mais lido é **copo**. Era a pergunta do começo da aula.

# %% [markdown] id="cost"
# ## 9. O preço: o quadrado do texto
#
# `n` tokens olham para `n` tokens: `n × n` notas. Dobre o texto, e o trabalho da atenção quadruplica. Medimos três formas da mesma conta: os laços, as matrizes e o SDPA, que
# faz tudo em blocos e nunca guarda a tabela inteira.


# %%
def attention_by_loops(query, key, value):
    mixed = []
    for i, one in enumerate(query.tolist()):
        row = [
            sum(a * b for a, b in zip(one, other, strict=True)) for other in key[: i + 1].tolist()
        ]
        shares = softmax_by_hand([score / math.sqrt(len(one)) for score in row])
        columns = zip(*value[: i + 1].tolist(), strict=True)
        mixed.append(
            [sum(s * c for s, c in zip(shares, column, strict=True)) for column in columns]
        )
    return torch.tensor(mixed)


q, k, v = torch.randn(3, 20, 16)
assert torch.allclose(attention_by_loops(q, k, v), attention_by_hand(q, k, v), atol=1e-5)

# %%
import time

torch.set_num_threads(1)  # the sums are compared, not the threads


def seconds(compute, *tensors, times=20):
    compute(*tensors)
    best = math.inf
    for _ in range(times):
        start = time.perf_counter()
        compute(*tensors)
        best = min(best, time.perf_counter() - start)
    return best


# %%
def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


taken = {"laços": {}, "matrizes": {}, "SDPA": {}}
for length in (32, 64, 128, 256, 512, 1024, 2048):
    q, k, v = torch.randn(3, 4, length, 64)
    if length <= 128:
        taken["laços"][length] = 4 * seconds(attention_by_loops, q[0], k[0], v[0], times=5)
    taken["matrizes"][length] = seconds(attention_by_hand, q, k, v)
    taken["SDPA"][length] = seconds(sdpa, q, k, v)

# %%
fig, ax = figure(height=3.3)
for (name, times), style in zip(taken.items(), ("^:", "s--", "o-"), strict=True):
    ax.plot(list(times), [1000 * t for t in times.values()], style, label=name)
ax.set(
    xscale="log", yscale="log", xlabel="tokens", ylabel="milissegundos", xticks=list(taken["SDPA"])
)
ax.set_xticklabels(list(taken["SDPA"]))
ax.minorticks_off()
ax.set_title("A mesma conta, três jeitos (quatro cabeças de 64 colunas)")
ax.legend()
show(
    fig,
    alt="Tempo da atenção por comprimento, em escala logarítmica: os laços ficam muito acima; "
    "as matrizes e o SDPA sobem quase juntos.",
)

# %%
print(f"128 tokens: laços / matrizes = {taken['laços'][128] / taken['matrizes'][128]:.0f} vezes")
print(f"2048 tokens: matrizes / SDPA = {taken['matrizes'][2048] / taken['SDPA'][2048]:.1f} vezes")
for length in (1024, 4096, 32_768):
    print(
        f"{length:>6} tokens: {4 * length**2 / 2**20:>6.0f} MB de pesos por cabeça, em fp32".replace(
            ".", ","
        )
    )

# %% [markdown]
# A última conta explica por que o contexto é caro, e por que ninguém guarda essa tabela: o SDPA a calcula aos pedaços, em tempo parecido nesta máquina.

# %% [markdown]
# ## Sua vez
#
# **1.** Cinco tokens, máscara causal, notas todas iguais. Que peso o **quarto** token dá a cada um dos que vê?

# %%
share_of_each = ...

# %%
from afina.teach.check import check

even = attention_weights(torch.zeros(5, 4), torch.zeros(5, 4))
check(
    share_of_each,
    lambda share: (
        abs(share - even[3, 0].item()) < 1e-6 or "ele vê a si e aos três anteriores, por igual"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `share_of_each = 1 / 4`: com notas iguais a softmax reparte por igual entre os quatro que ele vê.
#
# </details>
#
# **2.** Escreva `window_mask(n, size)`: cada token vê só a si e aos `size - 1` anteriores (*sliding window*, usada em modelos de contexto longo). Dica: duas `tril`.


# %%
def window_mask(n, size):
    return ...


# %%
expected = [[0 <= i - j < 3 for j in range(6)] for i in range(6)]
check(
    window_mask(6, 3),
    lambda mask: (
        torch.as_tensor(mask).bool().tolist() == expected
        or "compare com causal_mask(n, n): falta apagar o que está longe"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `full = torch.ones(n, n, dtype=torch.bool)` e `return full.tril() & ~full.tril(-size)`.
#
# </details>
#
# **3.** Uma camada tem 768 colunas e 12 cabeças. Quantos pesos há em `CausalSelfAttention`? E com 6 cabeças? Responda com o par.

# %%
weights_12_and_6 = ...

# %%
check(
    weights_12_and_6,
    lambda pair: (
        tuple(pair)
        == tuple(sum(p.numel() for p in CausalSelfAttention(768, h).parameters()) for h in (12, 6))
        or "qkv tem 768 × 2304 pesos e 2304 vieses; out, 768 × 768 e 768"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `weights_12_and_6 = (2_362_368, 2_362_368)`: as cabeças só repartem as mesmas colunas.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Atenção: nota de semelhança, softmax, mistura. Três multiplicações de matrizes.
# - Consulta, chave e valor separam o que se procura, o que se oferece e o que se entrega.
# - A máscara causal zera o futuro, e dá para provar que ele não vaza.
# - Cabeças são fatias das colunas: mais perguntas, quase o mesmo custo.
# - O custo cresce com o quadrado do texto; o SDPA faz a mesma conta sem guardar a tabela.

# %% [markdown]
# ## Quiz
#
# Seis perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("07")

# %% [markdown]
# {{quiz 07}}

# %% [markdown]
# ## Próximo passo
#
# A atenção é metade do bloco. Em [08 · A arquitetura de um GPT](08_gpt_architecture.ipynb) você monta a outra metade, empilha os blocos e conta os pesos.
