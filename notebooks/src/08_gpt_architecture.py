# %% [markdown] id="cover"
# # 08 · A arquitetura de um GPT
#
# Você monta um GPT inteiro, peça por peça, e prova que ele é o GPT-2: com os mesmos pesos, dá as mesmas notas. Depois calcula quanto pesa um modelo de 1 milhão a 7 bilhões de pesos.
#
# **Ao final você vai saber**
#
# - explicar LayerNorm, GELU, feed-forward e atalho, e medir o que os atalhos fazem
# - montar um bloco e um GPT completo
# - provar que o seu modelo é igual ao `GPT2LMHeadModel`
# - contar os pesos de um modelo só pela configuração
# - calcular a memória para usar e para treinar, em fp32, bf16 e 4 bits
#
# **Antes desta aula**: [07 · Atenção](07_attention.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="overview"
# ## 1. O caminho de um token
#
# Entra um número, o *id* do token; sai uma nota para cada token do vocabulário. No meio:
#
# | passo | forma |
# | --- | --- |
# | ids | (lote, tokens) |
# | tabela de tokens + tabela de posições | (lote, tokens, colunas) |
# | N blocos: atenção e feed-forward, cada um com norma e atalho | (lote, tokens, colunas) |
# | norma final | (lote, tokens, colunas) |
# | cabeça: notas (*logits*) | (lote, tokens, vocabulário) |

# %%
from afina.teach.figures import TRANSFORMER_ALT, show, transformer

show(transformer(), alt=TRANSFORMER_ALT)

# %% [markdown]
# A atenção você já tem. Faltam a norma, a GELU, a feed-forward e os atalhos.

# %% [markdown] id="layernorm"
# ## 2. LayerNorm: pôr cada vetor na mesma escala
#
# Camada após camada, os números tendem a crescer ou a sumir. A **LayerNorm** pega o vetor de **um** token, tira a média, divide pelo desvio padrão e devolve a ele uma escala e um
# deslocamento que o treino aprende. Um vetor por vez: o lote e os vizinhos não entram na conta.

# %%
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)  # matrices this small gain little from more


def layer_norm_by_hand(x, scale, shift):
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, unbiased=False)
    return scale * (x - mean) / torch.sqrt(variance + 1e-5) + shift


# %%
rt.seed_everything()
x = 5 + 3 * torch.randn(2, 4, 8)
normed = layer_norm_by_hand(x, torch.ones(8), torch.zeros(8))
print(f"antes:  média {x.mean():.2f}, desvio {x.std():.2f}")
print(f"depois: média {normed.mean():.2f}, desvio {normed.std(unbiased=False):.2f}")

# %%
norm = nn.LayerNorm(8)
for parameter in norm.parameters():
    nn.init.normal_(parameter)
ours = layer_norm_by_hand(x, norm.weight, norm.bias)
assert torch.allclose(ours, norm(x), atol=1e-5)

# %% [markdown]
# Igual a `nn.LayerNorm`, que usamos daqui em diante por ser mais rápida.

# %% [markdown] id="gelu"
# ## 3. GELU: uma dobra suave
#
# Duas camadas lineares seguidas são uma só. Entre elas é preciso dobrar a reta. A ReLU dobra de uma vez, no zero; a **GELU** dobra suave, e deixa passar um pouco do lado negativo.
# O GPT-2 usa esta aproximação:

# %%
import math


def gelu_by_hand(x):
    inside = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + torch.tanh(inside))


line = torch.linspace(-4, 4, 201)
assert torch.allclose(gelu_by_hand(line), F.gelu(line, approximate="tanh"), atol=1e-6)

# %%
from afina.teach.figures import SLATE, figure

fig, ax = figure(height=2.4)
ax.plot(line, gelu_by_hand(line), label="GELU")
ax.plot(line, F.relu(line), "--", label="ReLU")
ax.set(title="A mesma ideia, com e sem quina", xlabel="entrada", ylabel="saída", ylim=(-0.5, 3))
ax.legend()
show(
    fig,
    alt="ReLU e GELU entre -4 e 4: a ReLU tem uma quina no zero; a GELU passa suave e desce um pouco "
    "abaixo de zero.",
)

# %% [markdown] id="feed-forward"
# ## 4. Feed-forward: cada token pensa sozinho
#
# Na atenção os tokens conversam. Na **feed-forward** cada um é transformado por si: quatro vezes mais largo, dobra, e de volta. É onde está a maior parte dos pesos de um bloco.


# %% id="feed-forward-code"
class FeedForward(nn.Module):
    def __init__(self, d_model: int):
        super().__init__()
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


# %%
from afina.gpt.attention import CausalSelfAttention

feed_forward, attention = FeedForward(64), CausalSelfAttention(64, 4)
sizes = [sum(p.numel() for p in part.parameters()) for part in (feed_forward, attention)]
print("feed-forward:", sizes[0], "pesos; atenção:", sizes[1])
assert 1.9 < sizes[0] / sizes[1] < 2.1

# %% [markdown]
# A prova de que ela não mistura tokens: mude um, e só ele muda.

# %%
x = torch.randn(1, 6, 64)
changed = x.clone()
changed[0, 2] += 1
moved = (feed_forward(changed) - feed_forward(x)).abs().sum(-1)[0] > 0
print(moved.tolist())
assert moved.tolist() == [False, False, True, False, False, False]

# %% [markdown] id="block"
# ## 5. O bloco, com atalhos
#
# O bloco lê uma cópia normalizada e **soma** o que achou ao que entrou: é o **atalho** (*residual*, *shortcut*). A norma vem antes de cada passo (*pre-norm*), como no GPT-2.

# %% id="config-code"
from afina.gpt.model import GPTConfig

config = GPTConfig(vocab_size=512, context=64, d_model=64, n_heads=4, n_layers=6)
print(config)


# %% id="block-code"
class Block(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm_1 = nn.LayerNorm(config.d_model)
        self.attention = CausalSelfAttention(config.d_model, config.n_heads, config.dropout)
        self.norm_2 = nn.LayerNorm(config.d_model)
        self.feed_forward = FeedForward(config.d_model)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, cache: list[torch.Tensor] | None = None) -> torch.Tensor:
        x = x + self.drop(self.attention(self.norm_1(x), cache))
        return x + self.drop(self.feed_forward(self.norm_2(x)))


# %%
block = Block(config)
print(tuple(x.shape), "->", tuple(block(x).shape))
assert block(x).shape == x.shape  # so that blocks can be stacked

# %% [markdown]
# Uma configuração que não fecha é recusada antes de qualquer conta:

# %%
from afina.errors import CourseError

try:
    GPTConfig(vocab_size=512, context=64, d_model=100, n_heads=3, n_layers=2)
except CourseError as error:
    print(error)

# %% [markdown] id="gpt"
# ## 6. O modelo inteiro
#
# Duas tabelas, os blocos, uma norma. A cabeça é a própria tabela de tokens: a nota de um token é o produto escalar do último vetor com a linha dele (*weight tying*). O método
# `hidden` dá os vetores antes da cabeça; a aula 11 vai usá-los para classificar. `start_weights` sorteia pesos pequenos, e `check_length` recusa texto longo demais.

# %% id="gpt-code"
from afina.gpt.embeddings import look_up
from afina.gpt.model import check_length, start_weights


class GPT(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        start_weights(self)

    def embed(self, ids: torch.Tensor, start: int = 0) -> torch.Tensor:
        end = start + ids.size(1)
        check_length(end, self.config)
        try:
            vectors = self.tokens(ids)
        except IndexError:
            vectors = look_up(self.tokens.weight, ids)
        return self.drop(vectors + self.positions.weight[start:end])

    def hidden(
        self, ids: torch.Tensor, cache: list[list[torch.Tensor]] | None = None
    ) -> torch.Tensor:
        start = cache[0][0].size(2) if cache and cache[0] else 0
        x = self.embed(ids, start)
        for number, block in enumerate(self.blocks):
            x = block(x, cache[number] if cache is not None else None)
        return self.norm(x)

    def forward(
        self, ids: torch.Tensor, cache: list[list[torch.Tensor]] | None = None
    ) -> torch.Tensor:
        return F.linear(self.hidden(ids, cache), self.tokens.weight)

    def new_cache(self) -> list[list[torch.Tensor]]:
        return [[] for _ in self.blocks]


# %%
rt.seed_everything()
model = GPT(config)
logits = model(torch.randint(512, (2, 10)))
print("notas:", tuple(logits.shape))
assert logits.shape == (2, 10, 512)

# %% [markdown]
# Texto mais longo que o contexto, ou um token que a tabela não tem, e ele diz o que houve:

# %%
for ids in (torch.zeros(1, 65, dtype=torch.long), torch.tensor([[3, 512]])):
    try:
        model(ids)
    except CourseError as error:
        print(error)

# %% [markdown]
# A perda compara as notas de cada posição com o token que veio depois. Rótulo `-100` não conta.


# %% id="loss-code"
def next_token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# %% [markdown] id="untrained"
# ### Antes do treino
#
# O modelo acabou de nascer. Ele já escreve, porque escrever é só escolher a próxima nota mais alta e repetir. O que ele escreve é outra história:

# %%
from afina.gpt.generate import generate
from afina.gpt.tokenizer import load_tokenizer

tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")
rt.seed_everything()
newborn = GPT(GPTConfig(len(tokenizer), context=64, d_model=64, n_heads=4, n_layers=4))

# %%
ids = tokenizer.encode("O Porto joga no")
written = generate(newborn, torch.tensor([ids]), max_new_tokens=12, temperature=1.0, seed=1)
print(tokenizer.decode(written[0]))

# %% [markdown]
# A perda diz o mesmo com um número. Quem chuta por igual entre `V` tokens erra `ln V`, e o recém-nascido está aí:

# %%
text = torch.tensor([tokenizer.encode("O Porto joga no Estádio do Dragão, no Porto.")])
loss = next_token_loss(newborn(text[:, :-1]), text[:, 1:]).item()
print(f"perda {loss:.2f}, ln({len(tokenizer)}) = {math.log(len(tokenizer)):.2f}")
assert abs(loss - math.log(len(tokenizer))) < 0.3

# %% [markdown] id="gpt2-proof"
# ## 7. A prova: é o GPT-2
#
# O `transformers` tem o GPT-2 original. Criamos um pequeno, com pesos sorteados, e copiamos os pesos para o nosso. (O GPT-2 guarda as matrizes deitadas, em `Conv1D`; `from_gpt2` as vira.) As notas
# têm de ser iguais até a quinta casa.

# %%
from transformers import GPT2Config, GPT2LMHeadModel

from afina.gpt.weights import from_gpt2, to_gpt2

rt.seed_everything()
reference = GPT2LMHeadModel(
    GPT2Config(
        vocab_size=500,
        n_positions=64,
        n_embd=48,
        n_head=4,
        n_layer=3,
        bos_token_id=0,
        eos_token_id=0,
    )
)
for parameter in reference.parameters():
    nn.init.normal_(parameter, std=0.2)  # far from zero, biases and norms too
reference = reference.eval()

# %%
ours = from_gpt2(reference)
ids = torch.randint(500, (4, 64))
with torch.no_grad():
    difference = (ours(ids) - reference(ids).logits).abs().max()
print(f"maior diferença entre {4 * 64 * 500} notas: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# E de volta: um modelo nosso vira um `GPT2LMHeadModel`, e daí em diante tudo o que lê GPT-2 lê o seu.

# %%
back = to_gpt2(newborn)
with torch.no_grad():
    assert torch.allclose(back(text).logits, newborn.eval()(text), atol=1e-5)
print(type(back).__name__, f"{back.num_parameters():,} pesos".replace(",", "."))

# %% [markdown] id="shortcuts"
# ## 8. O que os atalhos fazem, medido
#
# O erro é medido na saída, e o gradiente volta, bloco por bloco, até o primeiro. Cada bloco o multiplica por alguma coisa. Montamos o mesmo modelo sem atalhos, e também sem atalhos
# e sem normas, e olhamos o tamanho do gradiente em cada bloco.


# %%
class WithoutShortcuts(Block):
    def forward(self, x, cache=None):
        return self.feed_forward(self.norm_2(self.attention(self.norm_1(x))))


class WithoutShortcutsAndNorms(Block):
    def forward(self, x, cache=None):
        return self.feed_forward(self.attention(x))


# %%
from afina.gpt.loader import read_documents
from afina.gpt.tokenizer import train_bpe
from afina.gpt.train import Recipe, batch_of, train, windows

documents = read_documents(rt.data / "prose_train.txt.gz")[:1500]
small = train_bpe(documents, 512)
rows = windows(small, documents, context=64)


# %%
def built_with(kind):
    rt.seed_everything()
    model = GPT(GPTConfig(len(small), context=64, d_model=64, n_heads=4, n_layers=6))
    for block in model.blocks:
        block.__class__ = kind  # the same weights, another way through them
    return model


# %%
kinds = {
    "com atalhos": Block,
    "sem atalhos": WithoutShortcuts,
    "sem atalhos nem normas": WithoutShortcutsAndNorms,
}
inputs, targets = batch_of(0, rows, Recipe(steps=1, batch_size=16))
gradients = {}
for name, kind in kinds.items():
    model = built_with(kind)
    next_token_loss(model(inputs), targets).backward()
    gradients[name] = [block.feed_forward.up.weight.grad.norm().item() for block in model.blocks]
    print(f"{name:<24}", [f"{size:.0e}" for size in gradients[name]])

# %%
fig, ax = figure(height=3)
for (name, sizes), style in zip(gradients.items(), ("o-", "s--", "^:"), strict=True):
    ax.plot(range(1, 7), sizes, style, label=name)
ax.set(
    yscale="log",
    xlabel="bloco",
    ylabel="tamanho do gradiente",
    title="O gradiente que chega a cada bloco, antes do treino",
)
ax.legend()
show(
    fig,
    alt="Tamanho do gradiente por bloco, em escala logarítmica. Com atalhos, e também sem eles mas com normas, "
    "as linhas são quase planas; sem atalhos nem normas, a linha fica muitas ordens de grandeza abaixo.",
)

# %% [markdown]
# Sem atalhos nem normas, o sinal encolhe a cada bloco da ida, e o gradiente que volta é quase nada em todos. As normas, sozinhas, devolvem o **tamanho**. Será que devolvem o **rumo**? Só treinando se sabe: cem passos de cada um, e como régua
# a perda de quem só conhece a frequência de cada token, sem olhar o texto.

# %% id="shortcuts-training"
recipe = Recipe(steps=100, batch_size=8, learning_rate=2e-3, warmup=10, evaluate_every=1000)
some = [rows[n] for n in range(0, len(rows), len(rows) // 32)]
learning = {name: list(train(built_with(kind), rows, some, recipe)) for name, kind in kinds.items()}

# %%
counts = torch.bincount(rows.ids, minlength=len(small)).clamp(min=1).float()
chance = counts / counts.sum()
frequency_only = -sum(chance[targets].log().mean().item() for _, targets in some) / len(some)

# %%
final = {name: entries[-1]["validation_loss"] for name, entries in learning.items()}
print({name: f"{loss:.2f}" for name, loss in final.items()}, f"só frequência: {frequency_only:.2f}")
assert final["com atalhos"] < frequency_only - 0.5
assert min(final["sem atalhos"], final["sem atalhos nem normas"]) > frequency_only - 0.2

# %%
fig, ax = figure(height=3)
for (name, entries), style in zip(learning.items(), ("-", "--", "-."), strict=True):
    ax.plot([entry["loss"] for entry in entries], style, label=name, linewidth=1.8)
ax.axhline(frequency_only, color=SLATE, linestyle=":", label="só frequência")
ax.set(title="Com seis blocos, só aprende quem tem atalhos", xlabel="passos", ylabel="perda")
ax.legend()
show(
    fig,
    alt=f"Perda em cem passos. Com atalhos cai até {final['com atalhos']:.1f}; sem eles para na linha "
    f"de quem só conhece frequências, {frequency_only:.1f}.",
)

# %% [markdown]
# Sem atalhos, o modelo só aprendeu que tokens são comuns: cada bloco apaga um pouco do que distinguia um token do outro. Com eles, a entrada passa intacta, e cada bloco só acrescenta.

# %% [markdown] id="counting"
# ## 9. Quantos pesos
#
# Dá para contar sem montar nada. Com `d` colunas, `V` tokens, `T` posições e `N` blocos, o grosso é `(V + T) × d + 12 × N × d²`. Com vieses e normas:


# %% id="count-code"
def count_parameters(config: GPTConfig) -> int:
    d = config.d_model
    tables = (config.vocab_size + config.context) * d
    attention = d * 3 * d + 3 * d + d * d + d
    feed_forward = d * 4 * d + 4 * d + 4 * d * d + d
    norms = 2 * 2 * d
    return tables + config.n_layers * (attention + feed_forward + norms) + 2 * d


# %%
# NBVAL_CHECK_OUTPUT
gpt2 = GPTConfig(vocab_size=50_257, context=1024, d_model=768, n_heads=12, n_layers=12)
print(f"GPT-2: {count_parameters(gpt2):,} pesos".replace(",", "."))

# %% [markdown]
# É o número publicado do menor GPT-2, "124M". Agora a escada do material do curso, de 1 milhão a 7 bilhões. Um modelo de 7 bilhões não cabe aqui, mas o PyTorch tem um dispositivo de faz de conta, `meta`, em
# que os tensores têm forma e não têm números. Nele todos cabem, e a fórmula é conferida peso a peso.

# %%
ladder = {
    "1M": GPTConfig(2_048, 256, 128, 4, 4),
    "10M": GPTConfig(8_000, 512, 320, 5, 6),
    "100M": GPTConfig(16_000, 1024, 768, 12, 12),
    "1B": GPTConfig(32_000, 2048, 2048, 16, 18),
    "4B": GPTConfig(32_000, 2048, 3072, 24, 34),
    "7B": GPTConfig(32_000, 2048, 4096, 32, 34),
}

# %% id="meta"
ghosts = {}
for name, config in ladder.items():
    with torch.device("meta"):
        ghosts[name] = GPT(config)
    real = sum(parameter.numel() for parameter in ghosts[name].parameters())
    assert real == count_parameters(config)
    print(f"{name:>5}: {real:>13,} pesos".replace(",", "."), "(fórmula = modelo)")

# %% [markdown] id="memory"
# ## 10. Quanta memória
#
# **Para usar**, guarda-se cada peso: 4 bytes em fp32, 2 em bf16, e em 4 bits (NF4) meio byte mais uma escala a cada 64 pesos. **Para treinar**, guardam-se também o gradiente e as duas médias do AdamW:
# quatro números por peso. Em 4 bits não se treina o peso: congela-se, e treina-se um LoRA ao lado (a aula 10 mostra).
#
# Não é preciso acreditar na conta do AdamW. Medimos em um modelo de verdade, e o NF4 com o `bitsandbytes`:

# %%
real = GPT(ladder["1M"])
optimizer = torch.optim.AdamW(real.parameters())
next_token_loss(real(torch.randint(2048, (1, 8))), torch.randint(2048, (1, 8))).backward()
optimizer.step()

# %%
stored = [t for p in real.parameters() for t in (p, p.grad, *optimizer.state[p].values())]
per_weight = sum(t.numel() * t.element_size() for t in stored) / count_parameters(ladder["1M"])
print(f"treinar em fp32: {per_weight:.2f} bytes por peso")
assert abs(per_weight - 16) < 0.01

# %% id="nf4"
import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about kernels we do not use
from bitsandbytes.functional import quantize_4bit

matrix = torch.randn(512, 512)
packed, state = quantize_4bit(matrix, blocksize=64, quant_type="nf4")
stored = packed.nbytes + state.absmax.nbytes
NF4_BYTES = stored / matrix.numel()
print(f"NF4: {NF4_BYTES} bytes por peso")
assert NF4_BYTES == 0.5 + 4 / 64

# %% [markdown]
# Agora a tabela. `lora` conta os pesos de um LoRA de posto 16 em todas as matrizes dos blocos: `16 × (entrada + saída)` por matriz, com os 16 bytes de treino cada um. As tabelas e as normas ficam em bf16.


# %%
def gigabytes(config):
    d, n = config.d_model, count_parameters(config)
    matrices = 12 * config.n_layers * d * d
    four_bits = matrices * NF4_BYTES + (n - matrices) * 2
    lora = config.n_layers * 16 * ((d + 3 * d) + 2 * d + 2 * (d + 4 * d))
    sizes = (4 * n, 2 * n, four_bits, 16 * n, 8 * n, four_bits + 16 * lora)
    return [size / 1e9 for size in sizes]


# %% id="memory-table"
import pandas as pd

columns = [f"{use}, {kind}" for use in ("usar", "treinar") for kind in ("fp32", "bf16", "4 bits")]
table = pd.DataFrame({name: gigabytes(config) for name, config in ladder.items()}, index=columns).T
table.index.name = "GB"
table.style.format("{:.3g}", decimal=",")

# %% [markdown]
# A coluna "usar, bf16", conferida nos modelos de faz de conta do `meta`, cujos tensores sabem quantos bytes teriam:

# %%
for name, ghost in ghosts.items():
    halves = sum(p.numel() * p.element_size() for p in ghost.bfloat16().parameters()) / 1e9
    assert math.isclose(halves, table.loc[name, "usar, bf16"])
print("bf16 confere nos seis tamanhos")

# %% [markdown] id="seed-claim"
# Faltam as ativações, que crescem com o lote e o texto, e o cache da aula 09. Mesmo assim a tabela já responde. O primeiro material do curso diz que treinar um modelo de 4 bilhões pede uma placa como a RTX 3080, que tem 10 GB:

# %%
for column in ("treinar, fp32", "treinar, bf16", "treinar, 4 bits"):
    need = table.loc["4B", column]
    print(f"{column:<16} {need:5.1f} GB:", "cabe em 10 GB" if need < 10 else "não cabe em 10 GB")
assert table.loc["4B", "treinar, bf16"] > 10 > table.loc["4B", "treinar, 4 bits"]

# %% [markdown]
# Ajustar, sim, com QLoRA. Treinar todos os pesos, não: nem em bf16. É por isso que a segunda metade do curso usa LoRA.

# %% [markdown]
# ## Sua vez
#
# **1.** Um GPT com vocabulário 32.000, contexto 512, 512 colunas, 8 cabeças e 8 blocos: quantos pesos? Use `count_parameters`.

# %%
my_count = ...

# %%
from afina.teach.check import check

check(
    my_count,
    lambda n: (
        n == count_parameters(GPTConfig(32_000, 512, 512, 8, 8))
        or "confira a ordem: vocabulário, contexto, colunas, cabeças, blocos"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `my_count = count_parameters(GPTConfig(32_000, 512, 512, 8, 8))`, cerca de 42 milhões.
#
# </details>
#
# **2.** Qual o maior da escada que cabe, para **usar** em bf16, nos 16 GB de uma T4? Responda com o nome, como `"1B"`.

# %%
largest_on_t4 = ...

# %%
check(
    largest_on_t4,
    lambda name: (
        name == table.index[table["usar, bf16"] < 16][-1] or "olhe a coluna usar, bf16 da tabela"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `largest_on_t4 = "7B"`: 14 GB. Sobram 2 GB para o cache e as ativações; em 4 bits sobra muito mais.
#
# </details>
#
# **3.** Escreva `rms_norm(x)`: como a LayerNorm, mas sem tirar a média e sem escala, só dividindo pela raiz da média dos quadrados. É a norma do Llama.


# %%
def rms_norm(x):
    return ...


# %%
sample = torch.randn(3, 8)
check(
    rms_norm(sample),
    lambda got: (
        torch.allclose(got, F.rms_norm(sample, (8,)), atol=1e-4)
        or "média dos quadrados na última dimensão, keepdim=True, raiz, e divida"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True))`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Um bloco: norma, atenção, soma; norma, feed-forward, soma.
# - Atalhos fazem modelos fundos aprenderem. A norma cuida da escala; o atalho, da informação.
# - Com os mesmos pesos, o seu GPT dá as notas do GPT-2.
# - Pesos: tabelas mais `12 × N × d²`. Treinar em fp32 custa 16 bytes por peso, fora as ativações.
# - Em 4 bits o modelo cabe onde não cabia, mas aí só se treina o que está ao lado dele.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("08")

# %% [markdown]
# {{quiz 08}}

# %% [markdown]
# ## Próximo passo
#
# O modelo está de pé e não sabe nada. Em [09 · Pré-treino](09_pretraining.ipynb) ele lê português pela primeira vez.
