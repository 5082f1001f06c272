# %% [markdown] id="cover"
# # 12 · Seguir instruções
#
# O `gpt-pt` continua textos; hoje ele aprende a atender pedidos. Você monta os exemplos, esconde do erro o que não é resposta, treina, confere de quatro modos, e mede o que ele esqueceu no caminho.
#
# **Ao final você vai saber**
#
# - escrever pedidos e respostas no formato Alpaca
# - fazer à mão o preenchimento e a máscara de -100, e provar que estão certos
# - avaliar respostas por atributos, semelhança, perda e juiz, e julgar o juiz
# - medir o esquecimento e reduzi-lo
#
# **Antes desta aula**: [09 · Pré-treino](09_pretraining.ipynb). A seção 9 usa o LoRA da aula 10.
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="continues"
# ## 1. Ele continua; não atende
#
# Um modelo pré-treinado só sabe dizer o que costuma vir depois. Faça-lhe um pedido:

# %%
import torch

from afina.gpt.generate import generate
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt

torch.set_num_threads(1)  # matrices this small gain little from more
tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")
model = load_gpt(rt.models / "gpt-pt").to(rt.device)

# %%
request = "Onde joga o Benfica?"
ids = torch.tensor([[tokenizer.end, *tokenizer.encode(request)]], device=rt.device)
written = generate(model, ids, 30, stop=tokenizer.end)[0, ids.size(1) :]
print(request, "→", repr(tokenizer.decode(written, specials=False)))

# %% [markdown]
# Ele leu muito sobre o Benfica, e diz o que costuma vir ao lado do nome. Falta a **forma**: depois de um pedido vem a resposta, e depois da resposta, o fim. É o que o *instruction fine-tuning* (ajuste fino por instruções) ensina,
# com exemplos de pedido e resposta. É o SFT para o qual as aulas 02 e 03 preparam dados, agora por dentro.

# %% [markdown] id="data"
# ## 2. Pedidos e respostas
#
# `data/instructions.jsonl.gz` tem nove tipos de pedido sobre o mundinho do pré-treino. Em seis deles há um texto, e é o pedido que decide a resposta; nos três sobre clubes não há texto nenhum.

# %%
from afina.gpt.instruct import read_instructions

splits = ("train", "validation", "test_combinations", "test_phrasings")
rows = {name: read_instructions(name) for name in splits}
print({name: len(some) for name, some in rows.items()})
one_each = {row["kind"]: row for row in rows["train"]}
for kind, row in one_each.items():
    print(f"{kind:<9} {row['instruction']} {row['input']} → {row['output']}")

# %% [markdown] id="held-out"
# Há **dois testes**, e cada um separa uma coisa. Em `test_combinations` os pares (caneca azul, o estádio do Porto) não aparecem em nenhum pedido de treino. Em `test_phrasings`
# os pares são os do treino, mas o pedido é feito com palavras que o treino não usa. A prova de que nada vazou:

# %%
from afina.gpt.instruct import leaks

assert not leaks(rows["train"], rows["test_combinations"], "combinations")
assert not leaks(rows["train"], rows["validation"], "combinations")
assert not leaks(rows["train"], rows["test_phrasings"], "phrasing")
assert not any(leaks(rows["train"], rows[name], "request") for name in splits[1:])

# %% [markdown]
# "Separado" vale para os pedidos. No pré-treino ele leu sobre canecas azuis e sobre o Porto, e é bom que tenha lido: o ajuste ensina a atender, não ensina fatos.

# %% [markdown] id="alpaca"
# ## 3. O formato Alpaca
#
# O Alpaca (Stanford, 2023) fixou um molde que muitos copiaram: títulos com `###` para a instrução, a entrada e a resposta. Sem entrada, a seção some.


# %% id="alpaca-code"
def alpaca(instruction: str, input: str = "") -> str:
    middle = f"### Entrada:\n{input}\n\n" if input else ""
    return f"### Instrução:\n{instruction}\n\n{middle}### Resposta:\n"


example = one_each["cor"]
print(alpaca(example["instruction"], example["input"]) + example["output"])

# %% [markdown]
# O molde original começa ainda com uma frase fixa. Aqui ela fica de fora, e a conta diz por quê. O que importa não é o molde, e sim usar **o mesmo** no treino e no uso: o modelo aprende que depois de `### Resposta:` vem a resposta.

# %%
preamble = "Abaixo há uma instrução que descreve uma tarefa. Escreva uma resposta que a cumpra."
sizes = [len(tokenizer.encode(text)) for text in (preamble, alpaca("", "x"))]
print(f"a frase: {sizes[0]} tokens; os títulos: {sizes[1]}; o contexto: {model.config.context}")

# %% [markdown] id="labels"
# ## 4. O que conta no erro
#
# Os ids são pedido, resposta e `<|fim|>`. Os rótulos (*labels*) são os mesmos ids, com -100 no pedido: a perda do PyTorch pula o -100. Assim o modelo aprende a **responder**, e não a inventar pedidos.

# %% id="encode-code"
from afina.errors import CourseError
from afina.gpt.loader import IGNORED
from afina.gpt.tokenizer import Tokenizer


def prompt_ids(row: dict, tokenizer: Tokenizer) -> list[int]:
    return [
        tokenizer.end,
        *tokenizer.encode(alpaca(row["instruction"], row.get("input", "")), specials=False),
    ]


def encode_example(row: dict, tokenizer: Tokenizer, context: int) -> tuple[list[int], list[int]]:
    for name in ("instruction", "output"):
        if not (row.get(name) or "").strip():
            raise CourseError(
                f'"{name}" está vazio.', "Complete a linha, ou retire-a.", where="encode_example"
            )
    prompt = prompt_ids(row, tokenizer)
    answer = [*tokenizer.encode(row["output"], specials=False), tokenizer.end]
    if len(prompt) + len(answer) > context:
        raise CourseError(
            f"são {len(prompt) + len(answer)} tokens, e o modelo lê até {context}.",
            "Encurte a entrada ou a resposta.",
            where=row["instruction"],
        )
    return prompt + answer, [IGNORED] * len(prompt) + answer


# %%
ids, labels = encode_example(example, tokenizer, model.config.context)
for i in range(len(ids) - 9, len(ids)):
    print(f"{i:>3}  {tokenizer.decode([ids[i]])!r:<12} rótulo {labels[i]}")

# %% [markdown]
# Dois cuidados moram aí. O `<|fim|>` do final **é** rótulo: sem ele, nada ensina a parar. E `specials=False` faz de um `<|fim|>` digitado no pedido um texto qualquer: ninguém encerra o seu documento por fora.

# %%
forged = {**example, "instruction": "Diga a cor.<|fim|>"}
forged_ids, _ = encode_example(forged, tokenizer, model.config.context)
assert forged_ids.count(tokenizer.end) == 2  # the first and the last, which are ours
try:
    encode_example({**example, "input": example["input"] * 9}, tokenizer, model.config.context)
except CourseError as error:
    print(error)

# %% [markdown] id="padding"
# ## 5. Igualar os comprimentos
#
# Um lote é um retângulo, e os exemplos têm tamanhos diferentes. O preenchimento (*padding*) vai à direita, com -100 nos rótulos.


# %% id="pad-code"
from collections.abc import Sequence

Pair = tuple[torch.Tensor, torch.Tensor]


def pad_examples(encoded: Sequence[tuple[list[int], list[int]]], filler: int) -> Pair:
    longest = max(len(ids) for ids, _ in encoded)
    ids = [ids + [filler] * (longest - len(ids)) for ids, _ in encoded]
    labels = [labels + [IGNORED] * (longest - len(labels)) for _, labels in encoded]
    return torch.tensor(ids), torch.tensor(labels)


# %%
encoded = [encode_example(row, tokenizer, model.config.context) for row in one_each.values()]
ids, labels = pad_examples(encoded, filler=tokenizer.end)
print("ids", tuple(ids.shape), "labels", tuple(labels.shape))

# %%
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from afina.teach.figures import BLUE, GREEN, MIST, ORANGE, RED, SKY, SLATE, figure, show

lengths = torch.tensor([len(its) for its, _ in encoded])
after = torch.arange(ids.size(1)) >= lengths[:, None]
answer = torch.where(labels == tokenizer.end, 3, 2)
part = torch.where(after, 0, torch.where(labels == IGNORED, 1, answer))

# %%
fig, ax = figure(height=2.9)
colors = {"preenchimento (-100)": MIST, "pedido (-100)": SKY, "resposta": BLUE, "fim": ORANGE}
ax.imshow(part, cmap=ListedColormap(list(colors.values())), aspect="auto", interpolation="nearest")
ax.set_yticks(range(len(one_each)), list(one_each))
ax.set(title="Só a resposta e o fim contam na perda", xlabel="posição")
ax.grid(visible=False)
fig.legend(
    handles=[Patch(color=c, label=n) for n, c in colors.items()],
    loc="outside lower center",
    ncols=4,
)
show(
    fig,
    alt="Nove exemplos em linhas: um pedido longo, uma resposta curta, um token de fim e o preenchimento. Só resposta e fim contam na perda.",
)

# %% [markdown] id="pad-trap"
# **A armadilha.** O nosso preenchimento é o próprio `<|fim|>`, como no GPT-2, que não tem token de preenchimento. Quem mascara por id, "onde há `<|fim|>`, ponha -100", apaga também o fim de verdade:

# %%
by_id = labels.masked_fill(ids == tokenizer.end, IGNORED)
print("rótulos de fim, por comprimento:", int((labels == tokenizer.end).sum()))
print("rótulos de fim, por id:         ", int((by_id == tokenizer.end).sum()))
assert (by_id == tokenizer.end).sum() == 0 and (labels == tokenizer.end).sum() == len(encoded)

# %% [markdown] id="loss"
# ## 6. A perda, à mão
#
# Cada posição prevê a seguinte: os rótulos andam um passo. Depois, menos o logaritmo da chance do token certo, **só onde há rótulo**.


# %% id="loss-code"
def shift(ids: torch.Tensor, labels: torch.Tensor) -> Pair:
    return ids[:, :-1], labels[:, 1:]


def masked_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    counts = targets != IGNORED
    right = targets.masked_fill(~counts, 0)
    losses = -logits.log_softmax(-1).gather(-1, right[..., None])[..., 0]
    return losses[counts].mean()


# %% [markdown] id="hf-proof"
# **Prova.** A mesma conta, feita pela biblioteca `transformers`: um `GPT2LMHeadModel` com os nossos pesos, os mesmos ids e os mesmos rótulos. Ele anda o passo por dentro.

# %%
from afina.gpt.model import next_token_loss
from afina.gpt.weights import to_gpt2
from afina.tune.quiet import captured_log

model.cpu()
inputs, targets = shift(ids, labels)
real = (~after).long()
with torch.no_grad(), captured_log():  # transformers remarks on a setting that we do not use
    theirs = to_gpt2(model)(input_ids=ids, labels=labels, attention_mask=real).loss
    ours = masked_loss(model(inputs), targets)
    lesson_08 = next_token_loss(model(inputs), targets)
print(f"à mão {ours:.6f}   transformers {theirs:.6f}   aula 08 {lesson_08:.6f}")
assert torch.allclose(ours, theirs, atol=1e-5) and torch.allclose(ours, lesson_08, atol=1e-5)

# %% [markdown] id="pad-proof"
# **Prova.** O preenchimento não muda nada: nem quanto há dele, nem com que token. A máscara causal já impede que um token real olhe para a direita, por isso nem precisamos de *attention mask*.

# %%
longer = ([0] * model.config.context, [IGNORED] * model.config.context)  # only stretches the batch
losses = []
with torch.no_grad():
    for filler in (tokenizer.end, 7, 2000):
        for batch in (encoded, [*encoded, longer]):
            inputs, targets = shift(*pad_examples(batch, filler))
            losses.append(masked_loss(model(inputs), targets))
print(f"{len(losses)} preenchimentos, perda de {min(losses):.6f} a {max(losses):.6f}")
assert torch.allclose(torch.stack(losses), ours, atol=1e-5)

# %% [markdown]
# E se o preenchimento contasse? A perda passaria a depender do vizinho mais comprido do lote:

# %%
for width in (ids.size(1), model.config.context):
    ends = [[tokenizer.end] * (width - len(its)) for its, _ in encoded]
    filled = [([*its, *e], [*own, *e]) for (its, own), e in zip(encoded, ends, strict=True)]
    inputs, targets = shift(*pad_examples(filled, tokenizer.end))
    with torch.no_grad():
        print(f"até {width:>3}: {masked_loss(model(inputs), targets):.2f}")

# %% [markdown] id="train"
# ## 7. Treinar
#
# O laço é o da aula 09, sem mudar uma linha: ele recebe pares (entrada, alvo), e os alvos já trazem os -100.

# %%
from afina.gpt.instruct import instruction_rows

train_rows = instruction_rows(rows["train"], tokenizer, model.config.context)
width = len(train_rows[0][0])
validation = instruction_rows(rows["validation"], tokenizer, model.config.context)
counted = sum(int((target != IGNORED).sum()) for _, target in train_rows)
print(f"{len(train_rows)} exemplos de {width}; contam {counted / len(train_rows):.1f} em cada um")

# %% [markdown]
# Antes de treinar, as medidas do modelo como ele veio: as respostas, a perda nos pedidos separados e a perda na **prosa** que ele sabia ler. Guarde esta última.

# %%
from afina.gpt.instruct import answers, known_values, says, score
from afina.gpt.loader import read_documents
from afina.gpt.train import evaluate, whole_documents

known = known_values([row for some in rows.values() for row in some])
tests = {  # every second row, so that each kind has its share
    name: sorted(rows[name], key=lambda row: row["kind"])[::2] for name in splits[2:]
}
prose = whole_documents(
    tokenizer, read_documents(rt.data / "prose_validation.txt.gz")[:300], model.config.context
)


# %% id="examine"
def examine(model):
    texts = {name: answers(model, tokenizer, some) for name, some in tests.items()}
    marks = {name: score(some, texts[name], known) for name, some in tests.items()}
    losses = {"pedidos": evaluate(model, validation), "prosa": evaluate(model, prose)}
    return {"texts": texts, "marks": marks, **losses}


runs = {"antes": examine(model.to(rt.device))}
print(f"perda nos pedidos {runs['antes']['pedidos']:.2f}, na prosa {runs['antes']['prosa']:.2f}")

# %%
import time

from afina.gpt.train import Recipe, train
from afina.runtime import progress

recipe = Recipe(
    steps=rt.pick(cpu=90, gpu=300),
    learning_rate=1e-3,
    warmup=10,
    evaluate_every=15,
    precision=rt.precision,
)
start, diary = time.perf_counter(), []
for entry in progress(train(model, train_rows, validation[:60], recipe), total=recipe.steps):
    diary.append(entry)
print(f"{len(diary)} passos em {time.perf_counter() - start:.0f} s")

# %%
checks = [(e["step"], e["validation_loss"]) for e in diary if "validation_loss" in e]
fig, ax = figure(height=2.6)
ax.plot(
    [e["step"] for e in diary],
    [e["loss"] for e in diary],
    color=BLUE,
    alpha=0.4,
    linewidth=1,
    label="treino",
)
ax.plot(*zip(*checks, strict=True), "o-", color=BLUE, label="validação")
ax.set(title="A perda das respostas", xlabel="passos", ylabel="perda", ylim=(0, 3))
ax.legend()
show(
    fig, alt=f"Perda das respostas no treino e na validação, caindo juntas até {checks[-1][1]:.2f}."
)

# %% [markdown] id="side-by-side"
# ### Antes e depois, lado a lado
#
# Pedidos que o treino nunca viu, sobre combinações que ele nunca viu:

# %%
import textwrap

runs["tudo"] = examine(model)
some = tests["test_combinations"]
before, after_it = (runs[name]["texts"]["test_combinations"] for name in ("antes", "tudo"))
firsts = {row["kind"]: n for n, row in reversed(list(enumerate(some)))}

# %%
for n in sorted(firsts.values()):
    print(some[n]["instruction"], some[n]["input"])
    print("   antes: ", textwrap.shorten(before[n], 90))
    print("   depois:", textwrap.shorten(after_it[n], 90))
    if after_it[n] != some[n]["output"]:
        print("   certo: ", some[n]["output"])

# %% [markdown] id="attributes"
# ## 8. Quatro medidas
#
# **Atributos exatos.** Cada pedido sabe o que uma resposta certa diz: coisa, cor, preço. `says` confere um a um. Dizer o valor certo **e** outro não vale.

# %%
row = one_each["cor"]
print(row["attributes"], row["output"])
print(says(row, row["output"], known))
print(says(row, row["output"] + " Ou talvez roxa.", known))

# %% [markdown]
# **Tudo certo** pede todos os atributos da resposta; **igual** pede o texto da referência; **chrF** mede a semelhança em letras, de 0 a 100. A quarta é a perda nos pedidos separados.

# %%
import pandas as pd

names = {"attributes": "atributos", "all": "tudo certo", "equal": "igual", "chrf": "chrF"}
table = {(when, test): run["marks"][test] for when, run in runs.items() for test in tests}
got, new_words = (runs["tudo"]["marks"][test] for test in tests)
assert all(runs["antes"]["marks"][test]["all"] < 0.1 for test in tests)
assert got["all"] > 0.35 and got["attributes"] > 0.6
assert runs["tudo"]["pedidos"] < runs["antes"]["pedidos"] / 4
assert new_words["all"] < got["all"]  # other words are harder than other things
pd.DataFrame(table).T.rename(columns=names).round(2)

# %% [markdown] id="by-kind"
# A média esconde quem vai mal. Por tipo de pedido:

# %%
kinds, shares = list(one_each), {}
for test, asked in tests.items():
    told = zip(asked, runs["tudo"]["texts"][test], strict=True)
    right = [(row["kind"], all(says(row, text, known).values())) for row, text in told]
    by_kind = [[good for its, good in right if its == kind] for kind in kinds]
    shares[test] = [sum(goods) / len(goods) for goods in by_kind]

# %%
fig, ax = figure(height=2.9)
for n, (test, label) in enumerate(
    zip(tests, ("combinações novas", "pedidos em outras palavras"), strict=True)
):
    ax.bar([x + 0.4 * n - 0.2 for x in range(len(kinds))], shares[test], width=0.38, label=label)
ax.set_xticks(range(len(kinds)), kinds)
ax.set(title="Tudo certo, por tipo de pedido", ylabel="parte", ylim=(0, 1.3))
ax.grid(visible=False, axis="x")
ax.legend(ncols=2)
show(
    fig,
    alt=f"Parte das respostas com tudo certo, por tipo {kinds}: {[[round(s, 2) for s in its] for its in shares.values()]}.",
)

# %% [markdown] id="phrasing"
# Como são os erros? Troque cada valor conhecido por `…`, na resposta e na referência: se o que sobra é igual, a **forma** está certa, e só um valor não.


# %%
def form(text):
    for pattern in known.values():
        text = pattern.sub("…", text)
    return text


# %%
right_form = {}
for test, asked in tests.items():
    told = zip(asked, runs["tudo"]["texts"][test], strict=True)
    pairs = [(row["output"], text) for row, text in told if text != row["output"]]
    right_form[test] = sum(form(wanted) == form(text) for wanted, text in pairs) / len(pairs)
    print(f"{test:<18} {len(pairs):>2} respostas diferentes, {right_form[test]:.0%} na forma certa")
assert right_form["test_combinations"] > 1.5 * right_form["test_phrasings"]

# %% [markdown] id="two-lessons"
# São dois males diferentes. Com **combinações novas**, a forma costuma estar certa, e um valor não: ele copia a palavra errada, ou uma da memória. Copiar é coisa do modelo base
# ([o cartão dele](../models/gpt-pt/README.md) diz quanto ele copia), e o ajuste herda o que a base tem. Com **outras palavras**, ele erra a forma: entende outro pedido, e atende bem ao que não se pediu. Com quatro modos de pedir
# cada coisa, aprendeu em parte o pedido e em parte a frase. O remédio de costume para o segundo mal são dados com mais modos de pedir.

# %% [markdown] id="forgetting"
# ## 9. O que ele esqueceu
#
# E a prosa? Os pesos que sabiam ler historinhas foram os mesmos que mudaram. É o **esquecimento catastrófico** (*catastrophic forgetting*):

# %%
lost = runs["tudo"]["prosa"] - runs["antes"]["prosa"]
print(f"perda na prosa: {runs['antes']['prosa']:.3f} → {runs['tudo']['prosa']:.3f}")
assert lost > 0.1

# %% [markdown] id="cures"
# Três remédios conhecidos, cada um a partir do `gpt-pt` limpo: **taxa menor**, **LoRA** (a base fica congelada; aula 10) e **ensaio** (*rehearsal*): misturar no lote um quarto de texto do pré-treino.


# %% id="mix-code"
from afina.runtime import SEED


def mix(rows: Sequence[Pair], old: Sequence[Pair], share: float, seed: int = SEED) -> list[Pair]:
    if not 0 <= share < 1:
        raise CourseError(f"share é {share!r}.", "Use de 0 até menos que 1.", where="mix")
    wanted = round(len(rows) * share / (1 - share))
    if wanted > len(old):
        raise CourseError(
            f"seriam {wanted} linhas antigas, e há {len(old)}.", "Use uma parte menor.", where="mix"
        )
    order = torch.randperm(len(old), generator=torch.Generator().manual_seed(seed))[
        :wanted
    ].tolist()
    return [*rows, *(old[number] for number in order)]


# %%
from dataclasses import replace

from afina.gpt.lora import LoRASettings, add_lora
from afina.gpt.train import windows

old = list(windows(tokenizer, read_documents(rt.data / "prose_train.txt.gz")[:1500], width))
mixed = mix(train_rows, old, share=0.25)
print(f"{len(train_rows)} pedidos e {len(mixed) - len(train_rows)} trechos de prosa")

more = round(recipe.steps / 0.75)  # as many requests as the others, and the prose besides
plans = {
    "taxa menor": (train_rows, replace(recipe, learning_rate=3e-4)),
    "LoRA": (train_rows, replace(recipe, learning_rate=3e-3)),
    "ensaio": (mixed, replace(recipe, steps=more)),
}
fresh = {name: load_gpt(rt.models / "gpt-pt").to(rt.device) for name in plans}
fresh["LoRA"] = add_lora(fresh["LoRA"], LoRASettings(rank=8, alpha=16))

# %%
for name, (its_rows, its_recipe) in plans.items():
    its_recipe = replace(its_recipe, evaluate_every=10**6)  # only at the end
    list(
        progress(
            train(fresh[name], its_rows, validation[:8], its_recipe),
            desc=name,
            total=its_recipe.steps,
        )
    )
    runs[name] = examine(fresh[name])

# %%
summary = {
    name: {
        "tudo certo": run["marks"]["test_combinations"]["all"],
        "outras palavras": run["marks"]["test_phrasings"]["all"],
        "perda nos pedidos": run["pedidos"],
        "perda na prosa": run["prosa"],
    }
    for name, run in runs.items()
}
extra = {name: run["prosa"] - runs["antes"]["prosa"] for name, run in runs.items()}
assert extra["ensaio"] < extra["tudo"] / 3 and extra["LoRA"] > extra["ensaio"]
assert extra["taxa menor"] < extra["tudo"] / 2
learned = {name: marks["tudo certo"] for name, marks in summary.items()}
assert max(learned["taxa menor"], learned["LoRA"]) < learned["ensaio"] < learned["tudo"]
pd.DataFrame(summary).T.round(3)

# %%
fig, ax = figure(height=3.2)
for (name, run), color in zip(list(runs.items())[1:], (RED, SKY, ORANGE, GREEN), strict=True):
    ax.plot(run["pedidos"], extra[name], "o", markersize=11, color=color)
    ax.annotate(name, (run["pedidos"], extra[name]), (9, 5), textcoords="offset points")
ax.axhline(0, color=SLATE, linestyle=":", linewidth=1.4)
ax.set(
    title="Bom é embaixo, à esquerda",
    xlabel="perda nos pedidos separados",
    ylabel="prosa esquecida\n(perda a mais)",
)
ax.margins(0.12)
points = {n: (round(r["pedidos"], 2), round(extra[n], 2)) for n, r in list(runs.items())[1:]}
show(fig, alt=f"Perda nos pedidos e perda a mais na prosa, por remédio: {points}.")

# %% [markdown] id="forgetting-verdict"
# - A **taxa menor** esquece menos, e aprende menos: olhe a coluna "tudo certo".
# - O **LoRA** não salva por si: tirando o adaptador a prosa volta, porque a base não mudou (aula 10), mas com ele ligado o modelo esquece também.
# - O **ensaio** foi o melhor dos três: esquece pouquíssimo, e aprende mais que os outros dois, embora menos do que sem remédio nenhum. O preço é ter à mão dados parecidos com os do pré-treino, e dar mais passos.

# %% [markdown] id="rubric"
# ## 10. O juiz, e quem julga o juiz
#
# Respostas livres não têm um texto certo só. O costume é pedir a um modelo grande que dê a nota: *LLM as a judge*. Mas a nota de um juiz só vale depois de conferida. Primeiro, uma régua fixa, que qualquer um pode ler:
# a **rubrica** dá 1 ponto, até 3 pelos atributos certos, e o quinto a quem não diz mais nada.

# %%
from afina.gpt.instruct import agreement, ask_judge, judge_messages, read_verdict, rubric

trained = list(zip(some[::10], after_it[::10], strict=True))
untrained = list(zip(some[5::17], before[5::17], strict=True))
references = [(row, row["output"]) for row in some[3::13]]

# %%
cases = [*trained, *untrained, *references]
truth = [rubric(row, text, known) for row, text in cases]
for name, group in (("antes", untrained), ("depois", trained), ("referências", references)):
    print(f"{name:<12}", [rubric(row, text, known) for row, text in group])
assert truth[-len(references) :] == [5] * len(references)

# %% [markdown] id="judge"
# A rubrica também tem um ponto cego: só procura valores, e uma frase torta que por acaso os diga leva 5. É por isso que se quer um juiz que leia.
#
# Agora ele. `ask_judge` usa o cliente oficial `openai`, e serve para **qualquer serviço que fale o protocolo**: OpenAI, um servidor vLLM ou Ollama seu. Mudam só o endereço, a chave e o nome do modelo. O pedido:

# %%
for message in judge_messages(*cases[0]):
    print(f"{message['role']}: {message['content']}")

# %% [markdown] id="twin"
# Sem rede, o padrão é o gêmeo local da aula 15: o mesmo protocolo, e atrás dele um Llama de 1,2 milhão de pesos que só conhece produtos, em inglês.

# %%
import openai

from afina.cloud import local_cloud

with local_cloud():
    replies = ask_judge(openai.OpenAI(), "gpt-4.1-mini", *zip(*cases, strict=True))
verdicts = [read_verdict(reply) for reply in replies]
print(list(zip(replies, verdicts, strict=True))[:6])

# %% [markdown]
# Para comparar, dois juízes que não são modelos: um olha só a semelhança em letras (chrF), e o outro dá sempre 5. O **kappa** desconta o acaso: 1 é concordância perfeita, 0 é dar nota sem olhar, e NaN quer dizer que não há notas de que calculá-lo.

# %%
from sacrebleu import sentence_chrf

judges = {
    "gêmeo, 1,2 M de pesos": verdicts,
    "só letras (chrF)": [
        1 + round(sentence_chrf(text, [row["output"]]).score / 25) for row, text in cases
    ],
    "sempre 5": [5] * len(cases),
}
table = {name: agreement(its, truth) for name, its in judges.items()}
twin, letters, _ = table.values()
assert letters["kappa"] > 0.5 and twin["answered"] < 0.5 and twin["same"] < letters["same"]
pd.DataFrame(table).T.rename(columns={"answered": "deu nota", "same": "igual à rubrica"}).round(2)

# %% [markdown] id="judge-verdict"
# Honestamente: **este juiz de um milhão de pesos não vale nada**. Não entende o pedido, e quase nunca devolve uma nota; perde até para a conta de letras. `read_verdict` não adivinha: o que não é uma nota fica sem nota, e conta contra ele.
#
# O método fica. Com um juiz de verdade, faça antes esta mesma conta: dê-lhe respostas cuja nota você já sabe, certas e erradas, e veja quanto ele concorda. Só então confie a ele as outras:
#
# ```python
# client = openai.OpenAI(base_url="https://…/v1", api_key=os.environ["SUA_CHAVE"])
# replies = ask_judge(client, "nome-do-modelo", rows, texts)
# ```
#
# Cada nota é uma chamada paga. E a rubrica, quando é possível escrever uma, é de graça e sempre igual.

# %% [markdown]
# ## Sua vez
#
# **1.** Que parte dos tokens de `train_rows`, contando o preenchimento, entra na perda? Um número de 0 a 1.

# %%
share_that_counts = ...

# %%
from afina.teach.check import check

right = counted / (len(train_rows) * width)
check(share_that_counts, lambda n: abs(n - right) < 0.005 or "conte os alvos que não são -100")

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `share_that_counts = sum((t != IGNORED).sum().item() for _, t in train_rows) / sum(len(t) for _, t in train_rows)`
#
# </details>
#
# **2.** Um colega mascara por id o lote da seção 5 (`by_id`). Quantos rótulos ele perde ao todo?

# %%
labels_lost = ...

# %%
hint = "o primeiro <|fim|> e os do preenchimento já eram -100: só um por exemplo se perde"
check(labels_lost, lambda n: n == len(encoded) or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `labels_lost = int((labels != by_id).sum())`: nove, um por exemplo, e são justamente os que ensinam a parar.
#
# </details>
#
# **3.** A rubrica deu `[5, 1, 5, 1]` a quatro respostas, e um juiz deu `[5, 5, 5, 5]`. Qual é o kappa dele? Use `agreement`.

# %%
kappa_of_the_kind_judge = ...

# %%
hint = "ele acerta metade, e acertaria metade sem olhar"
check(kappa_of_the_kind_judge, lambda kappa: abs(kappa) < 1e-9 or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `kappa_of_the_kind_judge = agreement([5, 5, 5, 5], [5, 1, 5, 1])["kappa"]`: zero.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Seguir instruções é uma forma que se ensina com pares de pedido e resposta, sempre no mesmo molde.
# - Só a resposta e o seu fim contam: -100 no pedido e no preenchimento, por comprimento e nunca por id.
# - Separe combinações e também modos de pedir; meça cada coisa com o seu teste.
# - O ajuste esquece o que não pratica. Meça o que havia antes; o ensaio foi o melhor remédio.
# - Um juiz só vale depois de conferido contra notas que você já sabe.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("12")

# %% [markdown]
# {{quiz 12}}

# %% [markdown]
# ## Próximo passo
#
# O seu GPT atende pedidos, e você conhece cada peça dele. Na [aula 13](13_bert_finetuning.ipynb), o ajuste fino de um modelo que lê nos dois sentidos; na [aula 14](14_tinyllama_qlora.ipynb), este mesmo treino com as ferramentas prontas.
