# %% [markdown] id="cover"
# # 10 · LoRA
#
# Ajustar um modelo sem mexer em nenhum dos pesos dele. Você mede por que isso é possível, escreve o LoRA à mão, prova que é o mesmo da biblioteca `peft` e descobre quando ele não basta.
#
# **Ao final você vai saber**
#
# - dizer o que é o posto de uma matriz, e medi-lo em um ajuste de verdade
# - escrever `LoRALinear`, com `alpha / r` e B em zero, e prová-lo contra o `peft`
# - treinar, gravar, carregar e juntar um LoRA
# - escolher o posto medindo a perda contra os pesos treinados
# - comparar LoRA, adapters, prompt tuning, congelamento e QLoRA
#
# **Antes desta aula**: [09 · Pré-treino](09_pretraining.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="cost"
# ## 1. O que custa ajustar tudo
#
# O `gpt-pt` escreve português. Para que faça outra coisa, o caminho direto é continuar o treino com todos os pesos soltos. Cada peso que aprende ocupa quatro lugares na memória: ele mesmo, o gradiente e as duas médias do AdamW.

# %%
import torch
import torch.nn.functional as F
from torch import nn

from afina.gpt.lora import count_weights
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt

torch.set_num_threads(rt.pick(cpu=1, gpu=4))
tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")


# %%
def fresh():
    return load_gpt(rt.models / "gpt-pt").to(rt.device)


def training_megabytes(model):
    learning, every = count_weights(model)
    return 4 * (every + 3 * learning) / 1e6  # fp32: 4 bytes a number


# %%
gpt = fresh()
print(f"{count_weights(gpt)[0]:,} pesos aprendem".replace(",", "."))
print(f"{training_megabytes(gpt):.1f} MB para treinar, sem contar as ativações".replace(".", ","))

# %% [markdown]
# Aqui sobra memória. Em um modelo de 7 bilhões de pesos, a mesma conta dá mais de 100 GB, e cada tarefa nova é mais um arquivo do tamanho do modelo inteiro.

# %% [markdown] id="rank"
# ## 2. Posto: quanta novidade há em uma matriz
#
# Multiplique uma coluna por uma linha: sai uma matriz inteira, mas todas as linhas dela são a mesma, esticada. Ela tem **posto** (*rank*) 1. Some duas dessas, posto 2. É a medida de quantas direções diferentes a matriz tem, e não de quantos números.

# %%
torch.manual_seed(rt.seed)
column, row = torch.randn(24, 1), torch.randn(1, 40)
rank_1 = column @ row
rank_3 = torch.randn(24, 3) @ torch.randn(3, 40)
any_matrix = torch.randn(24, 40)

# %%
from afina.teach.figures import BLUE, ORANGE, RED, figure, show

fig, axes = figure(height=2.4, columns=3)
for ax, matrix in zip(axes, (rank_1, rank_3, any_matrix), strict=True):
    ax.imshow(matrix, cmap="RdBu", vmin=-4, vmax=4)
    ax.set(title=f"posto {torch.linalg.matrix_rank(matrix)}", xticks=[], yticks=[])
    ax.grid(visible=False)
show(
    fig,
    alt="Três matrizes de 24 por 40 em cores: a de posto 1 é um xadrez de linhas iguais a menos da escala, a de posto 3 tem faixas que se repetem, a de posto 24 parece ruído.",
)

# %% [markdown]
# As três têm 960 números. Para guardar a primeira, bastam 24 + 40; para a segunda, três vezes isso. O de posto cheio não tem atalho.

# %%
for matrix, rank in ((rank_1, 1), (rank_3, 3), (any_matrix, 24)):
    assert torch.linalg.matrix_rank(matrix) == rank
    print(f"posto {rank:>2}: {rank * (24 + 40):>4} números em duas finas, contra {matrix.numel()}")

# %% [markdown] id="real-update"
# ## 3. O posto de um ajuste de verdade
#
# A aposta do LoRA (Hu e outros, 2021): o que um ajuste **soma** a cada matriz tem posto baixo, mesmo que a matriz não tenha. Vamos medir. A tarefa é difícil de propósito: descrições de produto em **inglês**, que o `gpt-pt` nunca leu.

# %%
import json

from afina.gpt.train import Recipe, evaluate, train, whole_documents, windows


def descriptions(name):
    lines = (rt.data / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


# %%
english = windows(tokenizer, descriptions("train.jsonl"), context=64)
english_held_out = windows(tokenizer, descriptions("validation.jsonl")[:40], context=64)
print(descriptions("train.jsonl")[0][:75], "…")
print(f"{len(english)} janelas de treino, {len(english_held_out)} separadas")

# %%
recipe = Recipe(60, 8, learning_rate=2e-3, warmup=10, weight_decay=0.0, evaluate_every=60)
before = evaluate(gpt, english_held_out)
full = fresh()
diary = list(train(full, english, english_held_out, recipe))
after = diary[-1]["validation_loss"]
print(f"perda no inglês: {before:.2f} -> {after:.2f}, com todos os pesos soltos")

# %% [markdown]
# Agora subtraia: peso depois menos peso antes. A **decomposição em valores singulares** (SVD) diz o tamanho de cada direção, da maior para a menor.

# %% id="singular-values"
name = "blocks.3.feed_forward.up.weight"
old, new = gpt.state_dict()[name], full.state_dict()[name]
of_update, of_weight = torch.linalg.svdvals(new - old), torch.linalg.svdvals(old)


def needed(values, share):
    energy = (values**2).cumsum(0) / (values**2).sum()
    return int((energy < share).sum()) + 1


# %%
fig, ax = figure(height=2.9)
ax.plot((of_weight / of_weight[0]).cpu(), "--", label="a matriz do gpt-pt", color=ORANGE)
ax.plot((of_update / of_update[0]).cpu(), label="o que o ajuste somou", color=BLUE)
ax.set(
    title="O ajuste cabe em poucas direções", xlabel="direção", ylabel="tamanho (a maior vale 1)"
)
ax.legend()
show(
    fig,
    alt=f"Valores singulares em ordem: os da matriz descem devagar, os do ajuste caem depressa. Metade da energia do ajuste está em {needed(of_update, 0.5)} direções; da matriz, em {needed(of_weight, 0.5)}.",
)

# %%
for share in (0.5, 0.9):
    ours, theirs = needed(of_update, share), needed(of_weight, share)
    print(f"{share:.0%} da energia: ajuste {ours} direções, matriz {theirs}, de {len(of_weight)}")
    assert ours < theirs / 2
print("posto exato do ajuste:", int(torch.linalg.matrix_rank(new - old)))

# %% [markdown]
# É baixo, mas não é minúsculo: contado até a última direção, o posto é quase o máximo. A cauda existe, e é pequena. Guarde isso para a parte 7.

# %% [markdown] id="lora-linear"
# ## 4. LoRALinear, à mão
#
# Em vez de somar uma matriz qualquer, somamos o produto de duas finas: `W x + (alpha / r) · B (A x)`.
#
# | matriz | forma | no começo | treina |
# | --- | --- | --- | --- |
# | `W` | (saída, entrada) | a do modelo | não |
# | `A` | (r, entrada) | aleatória | sim |
# | `B` | (saída, r) | **zero** | sim |
#
# Com B em zero, o modelo começa **exatamente** igual. E se A também fosse zero, o gradiente das duas seria zero: nada aprenderia. O código é o do pacote:

# %% id="lora-code"
import math

from afina.gpt.lora import LoRASettings, check_rank


class LoRALinear(nn.Module):
    def __init__(
        self, base: nn.Linear, settings: LoRASettings, generator: torch.Generator | None = None
    ):
        super().__init__()
        check_rank(base, settings.rank)
        self.base = base.requires_grad_(False)
        self.settings = settings
        self.scale = settings.alpha / settings.rank
        self.drop = nn.Dropout(settings.dropout)
        a = torch.empty(settings.rank, base.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.lora_a = nn.Parameter(a.to(base.weight))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, settings.rank).to(base.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = F.linear(self.drop(x), self.lora_a)
        return self.base(x) + self.scale * F.linear(low, self.lora_b)

    def update(self) -> torch.Tensor:
        return self.scale * self.lora_b @ self.lora_a


# %%
layer = nn.Linear(6, 4)
wrapped = LoRALinear(layer, LoRASettings(rank=2, alpha=4))
x = torch.randn(3, 6)
assert torch.equal(wrapped(x), layer(x))
print({name: tuple(p.shape) for name, p in wrapped.named_parameters() if p.requires_grad})

# %% [markdown] id="alpha"
# **Por que dividir por `r`?** Cada coluna a mais de B soma mais um termo. Sem a divisão, trocar o posto mudaria também o tamanho do ajuste, e cada posto pediria outra taxa de aprendizado. O código de um livro muito lido passou um ano com esse erro. Meça, com B do mesmo tamanho em cada posto:

# %%
wide = nn.Linear(128, 128)
for rank in (1, 4, 16, 64):
    one = LoRALinear(wide, LoRASettings(rank, alpha=16))
    nn.init.ones_(one.lora_b)
    nn.init.ones_(one.lora_a)
    print(f"posto {rank:>2}: com alpha / r {one.update().max():.0f}, só alpha {16 * rank}")
    assert one.update().max() == 16

# %% [markdown] id="add"
# ### Vestir o modelo inteiro
#
# `add_lora` congela tudo e troca cada camada linear cujo nome termina em um dos alvos. O `qkv` do nosso GPT é uma camada só, com consulta, chave e valor juntos.

# %%
from afina.gpt.lora import add_lora, base_fingerprint, lora_layers

model = add_lora(fresh(), LoRASettings(rank=8, alpha=16))
print(f"{len(lora_layers(model))} camadas vestidas, entre elas:")
print(*list(lora_layers(model))[:4], sep="\n")

# %%
learning, every = count_weights(model)
share = f"{100 * learning / every:.1f} %".replace(".", ",")
print(f"aprendem {learning:,} de {every:,}".replace(",", ".") + f" ({share})")
print(f"{training_megabytes(gpt):.1f} MB -> {training_megabytes(model):.1f} MB".replace(".", ","))
assert learning < every / 10

# %% [markdown] id="equal-before"
# **Primeira prova**: antes de treinar, o modelo vestido é o modelo nu, bit a bit.

# %%
ids = torch.tensor([tokenizer.encode("Ana tem uma caneca azul de louça.")], device=rt.device)
with torch.no_grad():
    assert torch.equal(model(ids), gpt(ids))
assert base_fingerprint(model) == base_fingerprint(gpt)
print("mesmas notas, mesma impressão digital dos pesos")

# %% [markdown] id="errors"
# Um pedido impossível é recusado antes de mexer no modelo:

# %%
from afina.errors import CourseError

for settings in (LoRASettings(targets=("atencao",)), LoRASettings(rank=200)):
    try:
        add_lora(fresh(), settings)
    except CourseError as error:
        print(error, "\n")

# %% [markdown] id="peft"
# ## 5. É o mesmo LoRA do peft?
#
# **Segunda prova.** A `peft` é a biblioteca que todos usam. Em uma camada de brinquedo, com os mesmos A e B, a mesma semente para o dropout e três passos de AdamW: a saída, e depois os pesos treinados, têm de ser os mesmos, em vários postos e alphas.

# %% id="peft-toy"
import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about kernels we do not use
from peft import LoraConfig, get_peft_model


def both(rank, alpha, dropout=0.2):
    torch.manual_seed(rank)
    ours = LoRALinear(nn.Linear(20, 12), LoRASettings(rank, alpha, dropout))
    nn.init.normal_(ours.lora_b)
    toy = nn.Sequential(nn.Linear(20, 12))
    toy[0].load_state_dict(ours.base.state_dict())
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=["0"])
    theirs = get_peft_model(toy, config)
    its = theirs.base_model.model[0]
    with torch.no_grad():
        its.lora_A["default"].weight.copy_(ours.lora_a)
        its.lora_B["default"].weight.copy_(ours.lora_b)
    return ours, theirs, its


# %%
def three_steps(module, x, goal):
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2)
    for step in range(3):
        torch.manual_seed(step)  # the same dropout
        said = module.train()(x)
        F.mse_loss(said, goal).backward()
        optimizer.step()
        optimizer.zero_grad()
    return said.detach()


# %%
x, goal = torch.randn(8, 20), torch.randn(8, 12)
for rank, alpha in ((1, 1), (2, 8), (4, 16), (8, 4), (12, 32)):
    ours, theirs, its = both(rank, alpha)
    assert torch.allclose(three_steps(ours, x, goal), three_steps(theirs, x, goal), atol=1e-5)
    assert torch.allclose(ours.lora_b, its.lora_B["default"].weight, atol=1e-5)
    gap = (ours.eval()(x) - theirs.eval()(x)).abs().max()
    assert gap < 1e-5
    print(f"r={rank:<2} alpha={alpha:<2} maior diferença {gap:.0e}")

# %% [markdown] id="train"
# ## 6. Treinar, juntar, gravar
#
# O laço é o da aula 09, sem uma linha nova: ele só entrega ao otimizador os pesos que aprendem. O LoRA pede uma taxa maior, porque B parte do zero.

# %%
from dataclasses import replace

print_before = base_fingerprint(model)
lora_recipe = replace(recipe, learning_rate=6e-3)
diary = list(train(model, english, english_held_out, lora_recipe))
print(f"perda no inglês: {before:.2f} -> {diary[-1]['validation_loss']:.2f}")

# %% [markdown] id="untouched"
# **Terceira prova**: a base não mudou um bit, e B já não é zero. Uma perda que desce não basta como evidência de que foi o LoRA que aprendeu.

# %%
assert base_fingerprint(model) == print_before
assert all(layer.lora_b.abs().max() > 0 for layer in lora_layers(model).values())
assert diary[-1]["validation_loss"] < before - 2
print("base intacta; nenhum B em zero")

# %% [markdown] id="merge"
# **Quarta prova**: juntar. `W + (alpha / r) · B A` é uma matriz comum, e o modelo volta a ser um GPT sem nenhum cálculo a mais. `merge`, como no pacote, e a saída junta contra a separada:

# %% id="merge-code"
from afina.gpt import lora as package
from afina.gpt.lora import replace_module


def merge(model: nn.Module) -> nn.Module:
    for name, layer in lora_layers(model).items():
        with torch.no_grad():
            layer.base.weight += layer.update()
        replace_module(model, name, layer.base)
    return model


# %%
import copy

merged = merge(copy.deepcopy(model)).eval()
with torch.no_grad():
    apart, together = model.eval()(ids), merged(ids)
assert torch.allclose(apart, together, atol=1e-3, rtol=1e-4)
assert merged.state_dict().keys() == gpt.state_dict().keys()
print(
    f"maior diferença {(apart - together).abs().max():.0e}, em notas de até {apart.abs().max():.0f}"
)

# %% [markdown]
# A diferença é o arredondamento de somar em outra ordem. Em precisão dupla ela some:

# %%
exact = copy.deepcopy(model).double().eval()
with torch.no_grad():
    apart = exact(ids)
    assert torch.allclose(apart, merge(exact)(ids), atol=1e-10)
print("iguais até a décima casa")

# %% [markdown] id="file"
# ### Um arquivo pequeno
#
# Só A e B vão para o disco, com os ajustes e a impressão digital da base. Um LoRA somado à base errada daria ruído, sem avisar: por isso o arquivo sabe de quem é.

# %%
place = rt.build / "aula10" / "ingles.safetensors"
package.save_lora(model, place)
again = package.load_lora(fresh(), place).eval()
with torch.no_grad():
    assert torch.equal(again(ids), model(ids))
whole = (rt.models / "gpt-pt" / "model.safetensors").stat().st_size
print(f"{place.stat().st_size / 1e3:.0f} kB, contra {whole / 1e3:.0f} kB do modelo")

# %%
other_rank = add_lora(fresh(), LoRASettings(rank=4))
for wrong in (full, other_rank):
    try:
        package.load_lora(wrong, place)
    except CourseError as error:
        print(error, "\n")

# %% [markdown] id="sweep"
# ## 7. Quanto posto basta?
#
# Duas tarefas: o inglês, longe do que o modelo sabe, e mensagens de celular em português, perto. Para cada posto, a perda em textos separados contra os pesos treinados. O último ponto solta tudo.

# %%
from afina.gpt.classify import read_messages

texts, _ = read_messages("validation")
near = [whole_documents(tokenizer, part, 64) for part in (texts[:200], texts[200:])]
tasks = {"inglês": (english, english_held_out), "mensagens": near}


# %%
def held_out_loss(rank, rows, held_out):
    model = fresh()
    if rank:
        add_lora(model, LoRASettings(rank, alpha=2 * rank))
    its_recipe = lora_recipe if rank else recipe
    diary = list(train(model, rows, held_out, its_recipe))
    return count_weights(model)[0], diary[-1]["validation_loss"]


# %%
points = {
    name: [(0, evaluate(gpt, rows[1])), *(held_out_loss(rank, *rows) for rank in (1, 4, 32))]
    for name, rows in tasks.items()
}
points["inglês"].append((count_weights(full)[0], after))  # part 3 has trained this one
points["mensagens"].append(held_out_loss(0, *near))
for name, found in points.items():
    print(f"{name:<10}", "  ".join(f"{n:>7}: {loss:.2f}" for n, loss in found))

# %%
fig, ax = figure(height=3)
for (name, found), color, mark in zip(points.items(), (RED, BLUE), ("o-", "s--"), strict=True):
    ax.semilogx(*zip(*found[1:-1], strict=True), mark, color=color, label=f"{name}: posto 1, 4, 32")
    ax.semilogx(*found[-1], "D", color=color, markersize=9)
    ax.annotate("todos", found[-1], (-10, 6), textcoords="offset points", ha="right")
ax.set(
    title="Perto, o posto ajuda; longe, ele não basta",
    xlabel="pesos treinados",
    ylabel="perda em textos separados",
)
ax.set(ylim=(0, None))
ax.legend()
show(
    fig,
    alt=f"Perda em textos separados por pesos treinados, nas duas tarefas: { ({n: [round(p[1], 2) for p in f] for n, f in points.items()}) }, na ordem sem treino, posto 1, 4, 32 e todos.",
)

# %%
near_losses = [loss for _, loss in points["mensagens"]]
far_losses = [loss for _, loss in points["inglês"]]
assert near_losses == sorted(near_losses, reverse=True)
assert far_losses[0] - 4 > max(far_losses[1:4]) and min(far_losses[1:4]) > far_losses[4] + 1
for name, found in points.items():
    share = (found[0][1] - found[3][1]) / (found[0][1] - found[4][1])
    print(f"{name}: o posto 32 recupera {share:.0%} do ganho de soltar tudo")

# %% [markdown] id="limits"
# Leia com honestidade. Na tarefa perto, cada posto a mais diminui a perda, e o posto 32, com um quarto dos pesos, recupera quase todo o ganho. Na longe, o LoRA ajuda muito, mas de 4 para 32 quase nada muda: o que falta não é posto. Uma suspeita: outra língua precisa de outra tabela de tokens, e o LoRA a deixou congelada. Solte só a tabela, com o posto 4. São 295 mil pesos, quase os mesmos 262 mil do posto 32:

# %%
with_table = add_lora(fresh(), LoRASettings(4, alpha=8))
with_table.tokens.requires_grad_(True)
diary = list(train(with_table, english, english_held_out, recipe))
table_loss = diary[-1]["validation_loss"]
print(f"{count_weights(with_table)[0]:,} pesos".replace(",", "."))
print(
    f"posto 32: {far_losses[3]:.2f}; posto 4 e tabela: {table_loss:.2f}; todos: {far_losses[4]:.2f}"
)
assert table_loss < min(far_losses[1:4]) - 0.5

# %% [markdown]
# A suspeita se confirma: **quais** pesos aprendem vale mais do que quantos. O LoRA muda o que o modelo faz com o que já representa; quando falta o que representar, solte também essa parte, ou treine tudo.

# %% [markdown] id="alternatives"
# ## 8. As alternativas, em poucas linhas
#
# **Adapter** (Houlsby e outros, 2019): uma camada estreita **depois** da parte congelada, com um atalho. Não dá para juntar: há uma curva no meio, e ela custa tempo para sempre.


# %% id="adapter"
class Adapter(nn.Module):
    def __init__(self, base: nn.Module, width: int, narrow: int):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(width, narrow), nn.Linear(narrow, width)
        nn.init.zeros_(self.up.weight)  # starts as nothing, like LoRA's B
        nn.init.zeros_(self.up.bias)

    def forward(self, x):
        y = self.base(x)
        return y + self.up(F.gelu(self.down(y)))


# %%
adapted = fresh().requires_grad_(False)
width = adapted.config.d_model
for block in adapted.blocks:
    block.feed_forward = Adapter(block.feed_forward, width, narrow=16).to(rt.device)
with torch.no_grad():
    assert torch.equal(adapted(ids), gpt(ids))

# %% [markdown] id="prompt-tuning"
# **Prompt tuning** (Lester e outros, 2021): treine só alguns vetores postos antes do texto, como se fossem palavras que não existem. Gastam contexto.


# %%
class PromptTuning(nn.Module):
    def __init__(self, gpt, tokens: int):
        super().__init__()
        self.gpt = gpt.requires_grad_(False)
        self.prompt = nn.Parameter(gpt.tokens.weight[:tokens].detach().clone())

    def forward(self, ids):
        x = torch.cat((self.prompt.expand(len(ids), -1, -1), self.gpt.tokens(ids)), dim=1)
        x = x + self.gpt.positions.weight[: x.size(1)]
        for block in self.gpt.blocks:
            x = block(x)
        return F.linear(self.gpt.norm(x), self.gpt.tokens.weight)[:, len(self.prompt) :]


prompted = PromptTuning(fresh(), tokens=10).to(rt.device)
assert prompted(ids).shape == gpt(ids).shape

# %% [markdown] id="freezing"
# **Congelar**: nada de novo no modelo; só o último bloco aprende.

# %%
frozen = fresh().requires_grad_(False)
frozen.blocks[-1].requires_grad_(True)
methods = {
    "tudo": gpt,
    "último bloco": frozen,
    "LoRA, r = 8": add_lora(fresh(), LoRASettings(8)),
    "adapter, 16": adapted,
    "prompt, 10": prompted,
}

# %%
import pandas as pd

table = pd.DataFrame(
    {
        name: {"aprendem": count_weights(m)[0], "MB para treinar": training_megabytes(m)}
        for name, m in methods.items()
    }
).T
assert table["aprendem"].is_monotonic_decreasing
table.style.format({"aprendem": "{:,.0f}", "MB para treinar": "{:.1f}"}, thousands=".", decimal=",")

# %% [markdown]
# | método | junta no fim? | o que cobra depois |
# | --- | --- | --- |
# | tudo, último bloco | já é um modelo comum | um modelo inteiro por tarefa |
# | LoRA | sim | nada |
# | adapter | não | camadas a mais em cada token |
# | prompt tuning | não | contexto |

# %% [markdown] id="qlora"
# ## 9. QLoRA: a base em 4 bits
#
# Se a base não aprende, para que guardá-la com tanta precisão? O **QLoRA** (Dettmers e outros, 2023) a guarda em 4 bits e treina o LoRA por cima. Com 4 bits há 16 valores. Quais? Os pesos se parecem com uma curva normal: então os 16 ficam mais juntos perto do zero, onde há mais pesos. É o **NF4**.


# %% id="nf4"
def nf4_levels():
    offset = 0.9677083  # the last quantile that bitsandbytes uses: infinity is not a level
    positive = torch.special.ndtri(torch.linspace(offset, 0.5, 9, dtype=torch.float64)[:-1])
    negative = -torch.special.ndtri(torch.linspace(offset, 0.5, 8, dtype=torch.float64)[:-1])
    levels = torch.cat((negative, torch.zeros(1), positive)).sort().values
    return (levels / levels.max()).float()


levels = nf4_levels()
print([round(level, 3) for level in levels.tolist()])

# %%
weight = gpt.state_dict()["blocks.0.feed_forward.up.weight"].cpu()
blocks = weight.reshape(-1, 64)
scaled = blocks / blocks.abs().amax(1, keepdim=True)
fig, ax = figure(height=2.6)
ax.hist(scaled.flatten().numpy(), bins=100, color=BLUE, alpha=0.5)
for level in levels:
    ax.axvline(level, color=RED, linewidth=1)
ax.set(title="Os 16 valores do NF4, sobre pesos do gpt-pt", xlabel="peso ÷ maior do bloco de 64")
ax.set(ylabel="pesos")
show(
    fig,
    alt="Histograma dos pesos divididos pelo maior de cada bloco, em forma de sino, com os 16 níveis do NF4 em linhas: mais juntos perto do zero e mais separados nas pontas.",
)

# %% [markdown]
# Quantizar é trocar cada peso pelo nível mais perto, com uma escala para cada 64. Contra 16 níveis igualmente espaçados, e contra a `bitsandbytes`, que todos usam:


# %% id="quantize"
def quantize(weight, levels, block=64):
    parts = weight.reshape(-1, block)
    scale = parts.abs().amax(1, keepdim=True)
    nearest = ((parts / scale)[..., None] - levels).abs().argmin(-1)
    return (levels[nearest] * scale).reshape(weight.shape)


nf4 = quantize(weight, levels)
uniform = quantize(weight, torch.linspace(-1, 1, 16))

# %%
import bitsandbytes.functional as bnb

packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")
theirs = bnb.dequantize_4bit(packed, state)
assert torch.allclose(nf4, theirs, atol=1e-6)
print("à mão, o mesmo da bitsandbytes")

# %%
error = {
    name: ((one - weight).norm() / weight.norm()).item()
    for name, one in {"NF4": nf4, "espaçados": uniform}.items()
}
bits = 4 + 32 / 64  # four a weight and one fp32 scale for every 64
print(
    {name: f"{value:.1%}" for name, value in error.items()}, f"com {bits} bits por peso, contra 32"
)
assert error["NF4"] < error["espaçados"]

# %% [markdown]
# E no modelo inteiro? Todas as camadas lineares em NF4, e a perda em prosa que ele não leu:

# %%
from afina.gpt.loader import read_documents

held_out = read_documents(rt.data / "prose_validation.txt.gz")[:200]
prose = whole_documents(tokenizer, held_out, gpt.config.context)
small = fresh()
with torch.no_grad():
    for part in small.modules():
        if isinstance(part, nn.Linear):
            part.weight.copy_(quantize(part.weight.cpu(), levels))
losses = evaluate(gpt, prose), evaluate(small, prose)
print(f"perda em prosa: {losses[0]:.3f} em 32 bits, {losses[1]:.3f} em 4")
assert losses[0] < losses[1] < losses[0] + 0.2

# %% [markdown]
# Em um modelo de 7 bilhões de pesos, são 28 GB em 32 bits e uns 4 em NF4: é o que faz o ajuste caber em uma placa comum. Na aula 14 você treina um LoRA sobre uma base assim.

# %% [markdown]
# ## Sua vez
#
# **1.** Quantos pesos treina um LoRA de posto 8 em uma matriz de 4.096 por 4.096?

# %%
weights_of_rank_8 = ...

# %%
from afina.teach.check import check

check(
    weights_of_rank_8,
    lambda n: n == 8 * (4096 + 4096) or "são duas finas: (8, entrada) e (saída, 8)",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `weights_of_rank_8 = 8 * (4096 + 4096)`, 65.536: menos de 0,4 % da matriz.
#
# </details>
#
# **2.** Vista um `fresh()` só nas camadas de atenção, com posto 4, e conte os pesos que aprendem.

# %%
attention_only = ...

# %%
attention = LoRASettings(rank=4, targets=("attention.qkv", "attention.out"))
right = count_weights(add_lora(fresh(), attention))[0]
check(
    attention_only,
    lambda n: (
        n == right or "são dois alvos, attention.qkv e attention.out; conte com count_weights"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `settings = LoRASettings(rank=4, targets=("attention.qkv", "attention.out"))` e
# `attention_only = count_weights(add_lora(fresh(), settings))[0]`
#
# </details>
#
# **3.** Com `quantize` e blocos de 256 em vez de 64, o erro do NF4 em `weight` sobe ou desce? Guarde o erro relativo.

# %%
error_256 = ...

# %%
right = ((quantize(weight, levels, 256) - weight).norm() / weight.norm()).item()
check(error_256, lambda e: abs(e - right) < 1e-4 or "é a norma da diferença sobre a norma do peso")

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `error_256 = ((quantize(weight, levels, 256) - weight).norm() / weight.norm()).item()`. Sobe: um peso grande estica a escala de mais vizinhos.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - O que um ajuste soma às matrizes cabe em poucas direções; as matrizes, não.
# - LoRA: `W x + (alpha / r) · B (A x)`, com B em zero. Começa igual, e a base nunca muda.
# - Junto, é um modelo comum; separado, é um arquivo pequeno que só serve à sua base.
# - O posto se escolhe medindo. Se a tarefa está longe do que o modelo sabe, posto nenhum resolve.
# - Base congelada aceita 4 bits: é o QLoRA.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("10")

# %% [markdown]
# {{quiz 10}}

# %% [markdown]
# ## Próximo passo
#
# Com o LoRA na mão, o `gpt-pt` deixa de escrever e passa a escolher: spam ou não. É a [aula 11](11_classification_finetuning.ipynb).
