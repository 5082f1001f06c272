# %% [markdown] id="cover" hides="afina.gpt.attention, afina.gpt.model" seconds=20 memory_mb=2500
# # Tarefa 03 · Atenção para um teclado de bolso
#
# Um fabricante de celulares baratos quer um teclado que sugira a próxima palavra sem internet. O modelo já existe; falta a **atenção**, e o
# aparelho impõe três condições que a aula 07 não tinha:
#
# - as frases chegam em lote e são preenchidas à **esquerda**, para que a última palavra de todas fique na mesma coluna;
# - a memória é pouca: **várias cabeças dividem** as mesmas chaves e valores (*grouped-query attention*; Ainslie e outros, 2023);
# - a conversa não acaba: o cache guarda só uma **janela**, e a primeira palavra, que serve de âncora (Xiao e outros, 2023).
#
# Você escreve a atenção em partes pequenas, monta o módulo e faz o passo que escreve um token por vez.
#
# {{rubric}}
#
# **Regras do jogo.** Escreva só nas células de resposta; pode criar outras para experimentar. As de conferência voltam ao original na correção,
# que usa também casos escondidos. Um critério vale quando os exemplos daqui e os escondidos dão certo. `afina.gpt.attention` e `afina.gpt.model`
# são o gabarito e não podem ser importados.

# %% id="setup"

# %% id="imports"
import math

import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown]
# ## 1. Quem olha para quem (fácil)
#
# `attention_weights(query, key, padding)` devolve os pesos da atenção causal.
#
# | o que | forma |
# | --- | --- |
# | `query`, `key` | (lote, cabeças, tokens, largura) |
# | `padding` | uma lista de inteiros: em cada linha do lote, quantas das primeiras posições são preenchimento |
# | resultado | (lote, cabeças, tokens, tokens) |
#
# Um token vê a si e aos anteriores, menos o preenchimento. A linha de um token de verdade soma 1. A de um preenchimento não vê ninguém e é
# toda **zero**: cuidado, a softmax de uma linha só com menos infinito é `nan`.

# %% id="answer-weights"


def attention_weights(query, key, padding):
    """How much each token takes from each one that it may see."""
    ### SOLUTION
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    places = torch.arange(query.size(-2))
    seen = places[None, :] <= places[:, None]
    real = places >= torch.as_tensor(padding)[:, None]
    allowed = seen & real[:, None, None, :]
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
    return weights.masked_fill(~allowed, 0.0)
    ### END


# %% [markdown]
# A última linha vê tudo, e mostra se as notas têm o tamanho certo. Com largura 4 e notas 0 e 2·ln 3, a divisão pela raiz deixa ln 3: três vezes mais peso.

# %% id="check-scale" points=1 level="easy" title="Notas divididas pela raiz da largura" lesson="07#scale"
query = torch.ones(1, 1, 2, 4)
key = torch.tensor([0.0, math.log(3) / 2]).view(1, 1, 2, 1).expand(1, 1, 2, 4)
weights = attention_weights(query, key, [0])
expect(
    weights,
    lambda w: (
        torch.allclose(w[0, 0, 1], torch.tensor([0.25, 0.75]))
        or f"esperava 0.25 e 0.75, encontrei {w[0, 0, 1].tolist()}"
    ),
    "os pesos da última linha",
)

# %% id="check-causal" points=1 level="easy" title="O futuro pesa zero, e o resto soma 1" lesson="07#causal"
torch.manual_seed(3)
query, key = torch.randn(2, 2, 3, 5, 8)
weights = attention_weights(query, key, [0, 0])
expect(
    weights,
    lambda w: not w.triu(1).any() or f"esperava 0, encontrei {w.triu(1).max():.2f}",
    "o maior peso que vai para o futuro",
)
expect(weights.sum(-1), torch.ones(2, 3, 5), "cada linha soma 1")

# %% id="check-padding" points=1 level="easy" title="Ninguém vê o preenchimento" lesson="07#mask-code"
weights = attention_weights(query, key, [0, 2])  # the second text has two fillers
expect(
    weights,
    lambda w: not w.isnan().any() or "encontrei nan na linha de um preenchimento; esperava zeros",
    "só números",
)
given = weights[1, :, :2, :2].abs().max()  # what a filler gives to what came before
taken = weights[1, :, :, :2].abs().max()
expect([given, taken], [0.0, 0.0], "o que um preenchimento dá e o que recebe")
expect(weights[1, :, 2, 2] > 0, [True] * 3, "o primeiro token de verdade vê a si")

# %% [markdown]
# ## 2. As cabeças (essencial)
#
# Três funções que só mudam a forma:
#
# - `split_heads(x, n_heads)`: (lote, tokens, colunas) → (lote, cabeças, tokens, largura). A cabeça 0 fica com as **primeiras** colunas de cada token;
# - `join_heads(x)`: o caminho de volta;
# - `share_heads(x, n_heads)`: (lote, grupos, tokens, largura) → (lote, cabeças, tokens, largura). Com 6 cabeças e 2 grupos, as cabeças 0, 1 e 2 usam o
#   grupo 0; as 3, 4 e 5, o grupo 1.


# %% id="answer-heads"
def split_heads(x, n_heads):
    """Each head gets its own slice of the columns."""
    ### SOLUTION
    batch, tokens, columns = x.shape
    return x.view(batch, tokens, n_heads, columns // n_heads).transpose(1, 2)
    ### END


def join_heads(x):
    """The heads side by side again."""
    ### SOLUTION
    return x.transpose(1, 2).flatten(2)
    ### END


def share_heads(x, n_heads):
    """Each group of keys or values, once for every head that uses it."""
    ### SOLUTION
    return x.repeat_interleave(n_heads // x.size(1), dim=1)
    ### END


# %% id="check-heads" points=1 level="core" title="Repartir e juntar as cabeças" lesson="07#heads"
x = torch.arange(12.0).view(1, 3, 4)  # three tokens of four columns
heads = split_heads(x, 2)
expect(
    heads, [[[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [10, 11]]]], "três tokens em duas cabeças"
)
expect(join_heads(heads), x, "juntar desfaz o repartir")

# %% id="check-share" points=1 level="core" title="Cada grupo serve às suas cabeças" lesson="07#heads-proof"
shared = share_heads(torch.tensor([10.0, 20.0]).view(1, 2, 1, 1), 6)
wanted = torch.tensor([10.0, 10, 10, 20, 20, 20]).view(1, 6, 1, 1)
expect(shared, wanted, "o grupo que cada uma de seis cabeças usa")

# %% [markdown]
# ## 3. Misturar, com dropout (essencial)
#
# `mix(weights, value, dropout, training)` mistura os valores. Só **no treino**, antes da mistura, cada peso é apagado com chance `dropout`, e os que ficam crescem
# para que a média não mude.


# %% id="answer-mix"
def mix(weights, value, dropout=0.0, training=False):
    """The values mixed by the weights, some of which are silenced while training."""
    ### SOLUTION
    return F.dropout(weights, dropout, training) @ value
    ### END


# %% [markdown]
# Com a identidade no lugar dos valores, sai o próprio peso: dá para ver o que foi apagado.

# %% id="check-dropout" points=1 level="core" title="O dropout apaga pesos, só no treino" lesson="07#dropout"
even, identity = torch.full((1, 1, 400, 10), 0.1), torch.eye(10).view(1, 1, 10, 10)
expect(mix(even, identity, 0.2, False), even, "ao gerar, nada é apagado")
torch.manual_seed(3)
mixed = mix(even, identity, 0.2, True)
erased = (mixed == 0).float().mean().item()
expect(
    erased,
    lambda share: 0.15 < share < 0.25 or f"esperava perto de 20 %, encontrei {share:.0%}",
    "os pesos apagados no treino",
)
expect(mixed.max(), 0.125, "os que ficam crescem de 0,1 para 0,1 / 0,8")

# %% [markdown]
# ## 4. O módulo inteiro (essencial)
#
# Junte as partes em `forward`: projetar, repartir, repetir os grupos, pesar, misturar, juntar e projetar. Este critério usa todas as anteriores: se ele
# falha e elas passam, o erro está na montagem.


# %% id="answer-module"
class GroupedAttention(nn.Module):
    """Causal attention of `n_heads` queries over `n_groups` keys and values."""

    def __init__(self, d_model, n_heads, n_groups, dropout=0.0):
        super().__init__()
        width = d_model // n_heads
        self.n_heads, self.n_groups, self.dropout = n_heads, n_groups, dropout
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, n_groups * width)
        self.value = nn.Linear(d_model, n_groups * width)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x, padding):
        """(batch, tokens, d_model) in and out."""
        ### SOLUTION
        query = split_heads(self.query(x), self.n_heads)
        key = share_heads(split_heads(self.key(x), self.n_groups), self.n_heads)
        value = share_heads(split_heads(self.value(x), self.n_groups), self.n_heads)
        weights = attention_weights(query, key, padding)
        mixed = mix(weights, value, self.dropout, self.training)
        return self.out(join_heads(mixed))
        ### END


# %% [markdown]
# A referência é a do PyTorch, que também sabe repetir grupos (`enable_gqa`):

# %% id="check-whole" points=1 level="core" title="O módulo dá o mesmo que o PyTorch" lesson="07#module-code"
torch.manual_seed(3)
layer = GroupedAttention(24, n_heads=6, n_groups=2).eval()
x = torch.randn(2, 7, 24)
q, k, v = (
    project(x).unflatten(-1, (-1, 4)).transpose(1, 2)
    for project in (layer.query, layer.key, layer.value)
)
mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
theirs = layer.out(mixed.transpose(1, 2).flatten(2))
expect(
    layer(x, [0, 0]),
    lambda y: (
        torch.allclose(y, theirs, atol=1e-4)
        or f"esperava a mesma saída, encontrei diferenças de até {(y - theirs).abs().max():.2f}"
    ),
    "seis cabeças, dois grupos",
)

# %% [markdown]
# ## 5. Um token por vez, com pouca memória (desafio)
#
# Ao escrever, só o token novo faz perguntas; as chaves e os valores dos anteriores estão guardados. `next_token(query, key, value, cache, window)` recebe o token novo,
# `query` (lote, cabeças, 1, largura), `key` e `value` (lote, grupos, 1, largura), e:
#
# 1. acrescenta a chave e o valor a `cache["key"]` e `cache["value"]` (o `cache` começa como `{}`, e a função o modifica);
# 2. se passarem de `window` tokens, deixa o **primeiro de todos** e os `window - 1` mais recentes;
# 3. devolve a mistura do token novo sobre o que ficou, (lote, cabeças, 1, largura). Nada no cache é futuro: não é preciso máscara.
#
# Escreva a conta aqui dentro, sem chamar as funções de antes: assim cada parte vale por si.


# %% id="answer-step"
def next_token(query, key, value, cache, window):
    """One more token: the cache grows, then forgets what left the window, never the first token."""
    ### SOLUTION
    for name, new in (("key", key), ("value", value)):
        row = torch.cat((cache[name], new), dim=2) if name in cache else new
        if row.size(2) > window:
            row = torch.cat((row[:, :, :1], row[:, :, row.size(2) - window + 1 :]), dim=2)
        cache[name] = row
    each = query.size(1) // key.size(1)
    keys, values = (cache[name].repeat_interleave(each, dim=1) for name in ("key", "value"))
    scores = query @ keys.transpose(-2, -1) / math.sqrt(query.size(-1))
    return scores.softmax(dim=-1) @ values
    ### END


# %% id="check-cache" points=2 level="stretch" title="Token a token, o mesmo resultado" lesson="09#cache"
torch.manual_seed(3)
q, k, v = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
at_once = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
cache = {}
for i in range(6):
    one = slice(i, i + 1)
    mixed = next_token(q[:, :, one], k[:, :, one], v[:, :, one], cache, window=6)
    expect(mixed, at_once[:, :, one], f"o token {i}, com os anteriores no cache")

# %% id="check-window" points=1 level="stretch" title="A memória não passa da janela, e guarda a âncora" lesson="09#cache"
cache = {}
for i in range(6):
    number = torch.full((1, 1, 1, 2), float(i))
    mixed = next_token(number * 0, number, number, cache, window=4)
expect(mixed, torch.full((1, 1, 1, 2), 3.0), "a média dos valores 0, 3, 4 e 5")
expect(cache["key"][0, 0, :, 0], [0, 3, 4, 5], "as chaves guardadas")

# %% [markdown]
# ## Para terminar
#
# Rode tudo do começo (*Kernel › Restart Kernel and Run All Cells*) e confira que cada célula de conferência diz ✔. Depois entregue este arquivo e
# compare-o com a [solução comentada](solution.ipynb).
