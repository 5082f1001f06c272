# %% [markdown] id="cover"
# # 05 · Amostrar os dados
#
# Entre o corpus e o treino há uma linha de montagem: cortar, deslocar, embaralhar, empacotar. Cada passo é curto, e cada um, malfeito, estraga
# o modelo sem dar erro. Aqui você constrói todos e mede o que cada um vale.
#
# **Ao final você vai saber**
#
# - transformar documentos em janelas de entrada e alvo
# - escolher o passo (*stride*) e dizer o que ele muda
# - usar `Dataset` e `DataLoader` do PyTorch
# - mostrar por que se embaralha, com números
# - medir o desperdício do preenchimento e o que o empacotamento economiza
#
# **Antes desta aula**: [04 · Tokenização](04_tokenization.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="ribbon"
# ## 1. Dos documentos a uma fita
#
# Um modelo de linguagem aprende a dizer **o próximo token**. Os documentos têm tamanhos diferentes; para o pré-treino, o mais simples é emendá-los numa **fita** só de
# ids. Mas o modelo precisa saber onde um acaba e outro começa: cada documento é fechado pelo token `<|fim|>`, da aula 04. Sem ele, o modelo
# aprenderia que o fim de uma história causa o começo da outra.

# %%
import torch

from afina.gpt.loader import read_documents
from afina.gpt.tokenizer import train_bpe

torch.set_num_threads(1)  # what we train here is too small for two
prose = read_documents(rt.data / "prose_train.txt.gz")
held_out = read_documents(rt.data / "prose_validation.txt.gz")
tokenizer = train_bpe(prose, 1024)


# %%
def ribbon(documents: list[list[int]], end: int) -> list[int]:
    return [i for document in documents for i in (*document, end)]


ids = [tokenizer.encode(document) for document in prose]
tape = ribbon(ids, tokenizer.end)
print(f"{len(prose)} documentos, {len(tape)} tokens;", tape.count(tokenizer.end), "fins")
print(tokenizer.decode(tape[:76]))

# %% [markdown] id="target"
# ## 2. Entrada e alvo
#
# Um modelo lê até um número fixo de tokens, o **contexto**. Cortamos na fita uma **janela** do tamanho do contexto. E a resposta certa? É a própria fita, **um
# token adiante**:

# %%
context = 8
inputs, targets = torch.tensor(tape[:context]), torch.tensor(tape[1 : context + 1])
print("entrada", inputs.tolist())
print("alvo   ", targets.tolist())
assert torch.equal(inputs[1:], targets[:-1])

# %% [markdown]
# Uma janela não é uma pergunta: são **oito**. Em cada posição, o modelo vê o que veio até ali e responde o que vem depois. Todas são respondidas de uma vez,
# porque a máscara causal (aula 07) esconde o futuro.

# %%
for i in range(context):
    seen, answer = tokenizer.decode(inputs[: i + 1]), tokenizer.decode(targets[i : i + 1])
    print(f"{seen!r:<38} → {answer!r}")

# %% [markdown]
# **O erro clássico**: esquecer de deslocar. Se o alvo é a própria entrada, basta copiar; a perda vai a zero e o modelo não aprende nada. Desconfie de uma
# perda boa demais.

# %% [markdown] id="windows"
# ## 3. Janelas que deslizam
#
# A próxima janela começa quantos tokens adiante? Esse é o **passo** (*stride*), que nada tem com os passos do treino. Com passo igual ao contexto, as janelas se encostam e cada token é alvo
# uma vez. Com passo menor, elas se sobrepõem: mais janelas do mesmo texto.
#
# No PyTorch, um conjunto de exemplos é um `Dataset`: sabe seu tamanho (`__len__`) e dá o item de número `i` (`__getitem__`). O nosso
# guarda a fita e corta na hora; nada é copiado.

# %%
from torch.utils.data import DataLoader, Dataset

from afina.errors import CourseError


class Windows(Dataset):
    def __init__(self, ids, context: int, stride: int | None = None):
        self.ids = torch.as_tensor(ids, dtype=torch.long)
        self.context, self.stride = context, context if stride is None else stride
        if self.context < 1 or self.stride < 1:
            raise CourseError(
                f"context={context} e stride={stride} não servem.",
                "Os dois começam em 1.",
                where="Windows",
            )
        if len(self.ids) < context + 1:
            raise CourseError(
                f"o corpus tem {len(self.ids)} tokens, e uma janela de {context} pede {context + 1}.",
                "Junte mais texto ou diminua o contexto.",
                where="Windows",
            )

    def __len__(self) -> int:
        return (len(self.ids) - self.context - 1) // self.stride + 1

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        start = i * self.stride
        chunk = self.ids[start : start + self.context + 1]
        return chunk[:-1], chunk[1:]


# %% [markdown]
# Em números inteiros, para ver a conta. A fita é 0, 1, 2, …, 20:

# %%
for stride in (4, 2):
    windows = Windows(range(21), context=4, stride=stride)
    print(f"passo {stride}: {len(windows)} janelas;", *[x.tolist() for x, _ in windows][:4], "…")
assert [y.tolist() for _, y in Windows(range(21), 4)][:2] == [[1, 2, 3, 4], [5, 6, 7, 8]]

# %%
from afina.teach.figures import PALETTE, figure, show

fig, ax = figure(height=2.6)
fig.set_label("flat")
rows = [(stride, i) for stride in (8, 4) for i in range(len(Windows(range(33), 8, stride)))]
for height, (stride, i) in enumerate(reversed(rows)):
    color = PALETTE[0] if stride == 8 else PALETTE[1]
    ax.broken_barh([(i * stride, 8)], (height, 0.7), color=color)
ax.set(title="As mesmas 33 posições, com passo 8 e passo 4", xlabel="posição na fita")
ax.set(yticks=[3.3, 9.3], yticklabels=["passo 4", "passo 8"], xticks=range(0, 33, 4))
show(
    fig,
    alt="Janelas de oito tokens sobre uma fita de 33. Com passo 8, quatro janelas lado a lado; com passo 4, sete, "
    "cada uma cobrindo a metade final da anterior.",
)

# %% [markdown] id="stride"
# Passo menor dá mais janelas. Dá mais informação? Contamos quantas vezes cada token é alvo:

# %%
print("passo  janelas  vezes que um token é alvo")
for stride in (64, 32, 16, 1):
    windows = Windows(tape, 64, stride)
    print(f"{stride:>5}  {len(windows):>7}  {len(windows) * 64 / len(tape):.1f}")

# %% [markdown]
# O texto é o mesmo. Com passo 1, cada token é respondido 64 vezes numa só passada: é como treinar 64 épocas, com a diferença de que o token aparece em cada
# lugar da janela, ora com pouco, ora com muito passado à vista. Com pouco texto, um passo menor varia os exemplos; para um corpus grande, use **passo = contexto**
# e, se quiser, mais épocas. E um cuidado: **divida antes de cortar**. Se a divisão entre treino e validação vier depois, janelas sobrepostas põem o mesmo texto nos
# dois lados:

# %%
overlapping = [tuple(x.tolist()) for x, _ in Windows(tape[:20_000], 64, 32)]
train_part, test_part = overlapping[0::2], overlapping[1::2]  # a careless split of windows
halves = {row[:32] for row in train_part} | {row[32:] for row in train_part}
leaked = sum(row[:32] in halves for row in test_part) / len(test_part)
print(f"{leaked:.0%} das janelas de teste têm a sua primeira metade no treino")
assert leaked == 1

# %% [markdown] id="dataloader"
# ## 4. Lotes
#
# O `DataLoader` junta itens em um **lote** (*batch*), embaralha e repete a cada passada. O gerador com semente faz as mesmas ordens em toda execução, e uma ordem
# **nova** em cada passada.

# %%
from afina.runtime import SEED


def batches(rows, batch_size: int, shuffle: bool = True, seed: int = SEED) -> DataLoader:
    return DataLoader(
        rows, batch_size, shuffle=shuffle, generator=torch.Generator().manual_seed(seed)
    )


loader = batches(Windows(tape, 64), batch_size=32)
x, y = next(iter(loader))
print("um lote: entrada", tuple(x.shape), "alvo", tuple(y.shape), "·", len(loader), "lotes")
assert torch.equal(x[:, 1:], y[:, :-1])

# %%
firsts = [next(iter(loader))[0][0, :4].tolist() for _ in range(2)]
again = next(iter(batches(Windows(tape, 64), batch_size=32)))[0]
print("começo da 2ª e da 3ª passadas:", firsts)
assert torch.equal(again, x) and firsts[0] != firsts[1]

# %% [markdown]
# O último lote é menor quando a conta não fecha; `drop_last=True` o descartaria. `num_workers` põe outros processos a preparar os lotes, o que só vale a pena quando
# preparar é caro; cortar uma fita na memória não é.

# %% [markdown] id="shuffle"
# ## 5. Por que embaralhar
#
# O treino anda um lote por vez, e cada lote puxa o modelo para o que ele contém. Se os vizinhos se parecem, o puxão é sempre para o mesmo lado. Com passo 1 e sem
# embaralhar, o caso extremo, quantos tokens **diferentes** há nos alvos de um lote?


# %%
def distinct(stride, shuffle):
    """Mean number of distinct targets in each of the first 30 batches of 32 windows."""
    loader = batches(Windows(tape[:100_000], 16, stride), 32, shuffle)
    batch = [y for _, (_, y) in zip(range(30), loader, strict=False)]
    return sum(len(y.unique()) for y in batch) / len(batch)


for stride in (1, 16):
    print(f"passo {stride:>2}: em ordem {distinct(stride, False):.0f} tokens diferentes,", end=" ")
    print(f"embaralhado {distinct(stride, True):.0f}, de {32 * 16} alvos")
assert distinct(1, True) > 4 * distinct(1, False)

# %% [markdown]
# Lotes em ordem ensinam pouca coisa de cada vez. Quanto isso custa? Um corpus de verdade costuma vir **agrupado**: por fonte, por assunto, por data. Imitamos isso
# ordenando os documentos pelo começo. Um modelo bem pequeno (olha quatro tokens e diz o próximo) passa **uma vez** pelos mesmos dados, em ordem e
# embaralhado.

# %%
from torch import nn
from torch.nn import functional as F


class FourBack(nn.Module):
    """Scores of the next token from the vectors of the last four: (batch, tokens, vocabulary)."""

    def __init__(self, width=24):
        super().__init__()
        self.table = nn.Embedding(len(tokenizer), width)
        self.mix = nn.Linear(4 * width, 48)
        self.out = nn.Linear(48, len(tokenizer))

    def forward(self, ids):
        vectors = F.pad(self.table(ids), (0, 0, 3, 0))  # nothing before the first
        return self.out(torch.tanh(self.mix(vectors.unfold(1, 4, 1).flatten(2))))


# %%
grouped = sorted(prose[:4000])
grouped_tape = ribbon([tokenizer.encode(document) for document in grouped], tokenizer.end)
validation_tape = ribbon([tokenizer.encode(document) for document in held_out], tokenizer.end)
validation = next(iter(batches(Windows(validation_tape, 16), 2000)))


# %%
def one_pass(shuffle):
    """(training losses, loss on held-out text) of a newborn model after one pass."""
    rt.seed_everything()
    model, losses = FourBack(), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for x, y in batches(Windows(grouped_tape, 16), 32, shuffle):
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    with torch.no_grad():
        x, y = validation
        return losses, F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()


# %%
in_order, in_order_held_out = one_pass(shuffle=False)
shuffled, shuffled_held_out = one_pass(shuffle=True)
for name, losses, loss in (
    ("em ordem", in_order, in_order_held_out),
    ("embaralhado", shuffled, shuffled_held_out),
):
    print(f"{name:<12} perda no fim do treino {sum(losses[-40:]) / 40:.2f}, separada {loss:.2f}")
assert in_order_held_out > shuffled_held_out + 0.5 and sum(in_order[-40:]) < sum(shuffled[-40:])

# %%
fig, ax = figure(height=2.8)
fig.set_label("flat")
for name, losses, style in (("em ordem", in_order, "-"), ("embaralhado", shuffled, "--")):
    ax.plot(torch.tensor(losses).unfold(0, 10, 5).mean(1), style, label=name)
ax.set(title="Em ordem, a perda de treino engana", ylabel="perda de treino", ylim=(0, 7.2))
ax.set(xlabel="treino, uma passada", xticks=[])
ax.legend()
show(
    fig,
    alt="Perda de treino de dois modelos. A do embaralhado desce lisa; a do que lê em ordem despenca e salta a "
    "cada mudança de assunto, e termina mais baixa, embora no texto separado seja a pior.",
)

# %% [markdown]
# O mesmo texto, o mesmo modelo, os mesmos passos. Em ordem, a perda de treino termina **menor** e a do texto separado, muito **maior**: no fim, ele sabe sobretudo o último
# assunto. Cada salto da curva é um assunto novo. Embaralhar é de graça; não embaralhar custa isto.
#
# Uma exceção: dados de **validação** não precisam de ordem sorteada. E séries no tempo se dividem por data antes de embaralhar o treino.

# %% [markdown] id="padding"
# ## 6. Quando a linha é o documento
#
# No ajuste fino (aulas 11 a 13), cada exemplo é inteiro: uma mensagem, uma pergunta com a resposta. Um lote é uma matriz, e linhas de tamanhos
# diferentes precisam de **preenchimento** (*padding*). O alvo do que é preenchido vale `-100`, que a perda do PyTorch ignora:

# %%
IGNORED = -100


def pad(rows: list[list[int]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    filled = torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
    inputs, targets = filled[:, :-1], filled[:, 1:].clone()
    for target, row in zip(targets, rows, strict=True):
        target[len(row) - 1 :] = IGNORED
    return inputs, targets


inputs, targets = pad([[5, 6, 7, 8], [9, 10]], filler=0)
print(inputs.tolist(), targets.tolist())

# %% [markdown]
# A prova: a perda com preenchimento é a mesma das linhas sozinhas.

# %%
scores = torch.randn(2, 3, 11)
together = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
alone = F.cross_entropy(torch.cat([scores[0], scores[1, :1]]), torch.tensor([6, 7, 8, 10]))
assert torch.allclose(together, alone)
print(f"{together:.4f} = {alone:.4f}")

# %% [markdown]
# Certo no resultado, e caro na conta: o modelo calcula cada posição preenchida para depois jogá-la fora. Quanto? Linhas de verdade: prosa, resenhas e mensagens do
# curso, em um contexto de 128.

# %%
import pandas as pd

reviews = pd.read_json(rt.data / "reviews.jsonl.gz", lines=True)
messages = pd.read_json(rt.data / "messages.jsonl.gz", lines=True)
texts = prose[:2000] + list(reviews["text"][:2000]) + list(messages["text"][:2000])
tokenizer = train_bpe(texts, 2000)
documents = [[*tokenizer.encode(text), tokenizer.end] for text in texts]
rt.seed_everything()
documents = [documents[i] for i in torch.randperm(len(documents))]
lengths = [len(document) for document in documents]
print(f"de {min(lengths)} a {max(lengths)} tokens, média {sum(lengths) / len(lengths):.0f}")

# %% [markdown] id="packing"
# Quatro respostas:
#
# 1. preencher tudo até o contexto;
# 2. preencher só até a maior linha **do lote**;
# 3. o mesmo, com lotes de linhas de tamanho parecido;
# 4. **empacotar** (*packing*): vários documentos inteiros na mesma linha.
#
# Empacotar é fazer malas: o maior primeiro, cada um na linha em que **sobra menos**.

# %%
from collections import defaultdict


def pack(documents: list[list[int]], room: int) -> list[list[int]]:
    rows, by_space = [], defaultdict(list)
    for document in sorted(documents, key=len, reverse=True):
        if len(document) > room:
            raise CourseError(
                f"um documento tem {len(document)} tokens, e a linha só {room}.",
                "Corte-o em janelas, ou aumente o contexto.",
                where="pack",
            )
        space = next((space for space in range(len(document), room + 1) if by_space[space]), room)
        if by_space[space]:
            row = by_space[space].pop()
        else:
            row = []
            rows.append(row)
        row += document
        by_space[space - len(document)].append(row)
    return rows


print(pack([[1] * 5, [2] * 3, [3] * 4, [4] * 2], room=7))


# %%
def in_batches(rows, size=32):
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def computed(groups, longest=None):
    """Positions that a model computes for these batches of rows."""
    return sum(len(group) * (longest or max(map(len, group))) for group in groups)


# %%
room, useful = 128, sum(lengths)
packed = pack(documents, room)
positions = {
    "até o contexto": computed(in_batches(documents), room),
    "até a maior do lote": computed(in_batches(documents)),
    "lotes por tamanho": computed(in_batches(sorted(documents, key=len))),
    "empacotado": computed(in_batches(packed), room),
}
waste = {name: 1 - useful / total for name, total in positions.items()}
for name, total in positions.items():
    print(f"{name:<20} {total:>7} posições, {waste[name]:.1%} de preenchimento")

# %%
assert waste["até o contexto"] > 0.6 and waste["empacotado"] < 0.03
assert sum(map(len, packed)) == useful and len(packed) < len(documents) / 2
lots = in_batches(sorted(documents, key=len)[: 32 * 187])  # whole batches
weights = [sum(map(len, lot)) for lot in lots]
print(
    f"por tamanho, o lote mais pesado tem {max(weights) / min(weights):.0f} vezes os tokens do mais leve"
)

# %%
fig, ax = figure(height=2.3)
fig.set_label("flat")
names = list(waste)[::-1]
ax.barh(names, [100 * waste[name] for name in names], color=PALETTE[1], height=0.6)
ax.set(title="Quanto do cálculo é preenchimento", xlabel="% das posições", xlim=(0, 100))
for height, name in enumerate(names):
    ax.text(100 * waste[name] + 1, height, f"{waste[name]:.0%}", va="center")
show(
    fig,
    alt="Barras do preenchimento em quatro maneiras de formar lotes: até o contexto é a maior, depois até a maior "
    "linha do lote; por tamanho e empacotado quase não desperdiçam.",
)

# %% [markdown]
# E no relógio? Um bloco de transformer do PyTorch, só a ida, nos mesmos mil documentos, preenchidos e empacotados:

# %%
import time

block = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True).eval()


@torch.no_grad()
def seconds(rows):
    """Best of three passes over the rows, all filled up to the context."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for group in in_batches(rows):
            block(torch.zeros(len(group), room, 64))
        best = min(best, time.perf_counter() - start)
    return best


# %%
some = documents[:1000]
filled_time, packed_time = seconds(some), seconds(pack(some, room))
print(f"preenchido {filled_time:.2f} s, empacotado {packed_time:.2f} s:", end=" ")
print(f"{filled_time / packed_time:.1f} vezes menos")

# %% [markdown]
# A conta das posições e o relógio contam a mesma história. Três cuidados:
#
# - `pack` ordena por tamanho: **embaralhe as linhas** depois (parte 5).
# - Em uma linha empacotada, um documento enxerga o vizinho que veio antes. O `<|fim|>` é o sinal para ignorá-lo; quem precisa de separação total
#   mascara a atenção entre documentos.
# - O **lote por tamanho** desperdiça ainda menos e não mistura documentos, mas os lotes já não são sorteados à vontade, e uns pesam muito mais que outros.
#   Empacotadas, as linhas são todas iguais, e cada lote pesa o mesmo.
#
# A fita da parte 1 é o empacotamento radical: zero preenchimento, e documentos cortados ao meio. Para o pré-treino está ótimo; para responder perguntas, não.

# %% [markdown]
# Dados que não servem param aqui, com uma frase:

# %%
(rt.build / "vazio.txt").write_text("\n\n", encoding="utf-8")
mistakes = [
    lambda: read_documents(rt.build / "vazio.txt"),
    lambda: Windows(tape[:50], context=64),
    lambda: pack(documents, room=20),
]
for mistake in mistakes:
    try:
        mistake()
    except CourseError as error:
        print(f"{error}\n")

# %% [markdown]
# ## Sua vez
#
# **1.** Uma fita de 1.000 tokens, contexto 100, passo 50. Quantas janelas? Faça a conta antes de rodar.

# %%
how_many = ...

# %%
from afina.teach.check import check

hint = "a última janela precisa de 101 tokens: (1000 - 101) // 50 + 1"
check(how_many, lambda got: got == len(Windows(range(1000), 100, 50)) or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `how_many = (1000 - 100 - 1) // 50 + 1`, que dá 18.
#
# </details>
#
# **2.** Escreva `share_of_padding(rows)`: a parte das posições que é preenchimento quando todas as linhas vão até a maior delas.


# %%
def share_of_padding(rows): ...


# %%
answer = share_of_padding([[1, 2, 3, 4], [1]])
hint = "posições = número de linhas × a maior; úteis = soma dos tamanhos"
check(answer, lambda got: (abs(got - 3 / 8) < 1e-9 and share_of_padding([[1], [2]]) == 0) or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# ```python
# def share_of_padding(rows):
#     return 1 - sum(map(len, rows)) / (len(rows) * max(map(len, rows)))
# ```
#
# </details>
#
# **3.** Um colega mostra perda de treino 0,02 depois de cem passos, num GPT novo em folha. O que você confere primeiro? `"deslocamento"`, `"embaralhamento"` ou
# `"preenchimento"`.

# %%
suspect = ...

# %%
hint = "perda quase zero tão cedo: a resposta devia estar à vista do modelo"
check(suspect, lambda got: got == "deslocamento" or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `suspect = "deslocamento"`: se o alvo é a própria entrada, copiar basta.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - A fita junta os documentos, cada um fechado por `<|fim|>`; a janela é um pedaço dela, e o alvo é o mesmo pedaço um token adiante.
# - Passo igual ao contexto: cada token é alvo uma vez. Divida treino e validação **antes** de cortar.
# - Embaralhe o treino: em ordem, a perda de treino engana e a do texto separado piora muito.
# - Preenchimento com `-100` não muda a perda, só gasta. Lotes por tamanho ou empacotamento quase o eliminam.
# - Uma perda boa demais é um alarme.
#
# ## Quiz
#
# Seis perguntas sobre a aula.

# %%
from afina.teach.quiz import quiz

quiz("05")

# %% [markdown]
# {{quiz 05}}

# %% [markdown]
# ## Próximo passo
#
# [06 · Embeddings](06_embeddings.ipynb): os ids viram vetores, e os vetores ganham sentido.
