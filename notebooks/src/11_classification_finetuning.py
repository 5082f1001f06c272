# %% [markdown] id="cover"
# # 11 · Ajuste fino para classificar
#
# O GPT para de escrever e passa a escolher: esta mensagem é spam? Você troca a cabeça dele, treina de quatro jeitos, compara com uma referência que não perde fácil e aprende a desconfiar das probabilidades.
#
# **Ao final você vai saber**
#
# - pôr uma cabeça de classificação no último token, com preenchimento à direita
# - comparar só a cabeça, último bloco, tudo e LoRA, com custo e qualidade lado a lado
# - medir o que uma referência simples faz, e aceitar quando ela ganha
# - calibrar probabilidades e escolher o limiar na validação
# - ler os erros, e achar onde o pré-treino ajuda de verdade
#
# **Antes desta aula**: [10 · LoRA](10_lora.ipynb) e, pelo TF-IDF, [02 · Preparar os dados](02_dataset_prep.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="data"
# ## 1. Spam, de propósito difícil
#
# As mensagens são inventadas pelo curso, e três coisas as tornam difíceis. São **desbalanceadas**: 13 % de spam, como na vida. Os dois lados usam as **mesmas palavras** (prêmio, pix, link). E validação e teste têm **frases-modelo próprias**: nenhuma delas aparece no treino.

# %%
import torch

from afina.gpt.classify import read_messages

torch.set_num_threads(rt.pick(cpu=1, gpu=4))
train, validation, test = (read_messages(split) for split in ("train", "validation", "test"))
for name, (texts, labels) in {"treino": train, "validação": validation, "teste": test}.items():
    print(f"{name:<10} {len(texts):>5} mensagens, {sum(labels) / len(labels):.0%} de spam")

# %%
for kind in (1, 0):
    some = [text for text, label in zip(*train, strict=True) if label == kind][:3]
    print("spam:  " if kind else "normal:", *some, sep="\n   ")

# %% [markdown] id="leak"
# Antes de tudo, o vazamento: nenhum texto avaliado pode estar no treino. Um modelo decora 2.800 mensagens sem esforço, e um teste vazado o faria parecer perfeito.

# %%
assert not set(train[0]) & set(test[0]) and not set(train[0]) & set(validation[0])
assert not set(validation[0]) & set(test[0])
print("nenhum texto em comum")

# %% [markdown] id="accuracy-trap"
# ## 2. A armadilha da acurácia, e a referência
#
# Um "modelo" que diz sempre "normal" tem **acurácia** (a parte das respostas certas) de 87 %, e não serve para nada. Por isso olhamos também o **F1** do spam: a média harmônica de *precisão* (do que chamei de spam, quanto era) e *revocação* (do que era, quanto achei). E a **precisão média** (*average precision*), que não depende de limiar.

# %%
import numpy as np

from afina.gpt.classify import measure

never = measure(test[1], np.zeros(len(test[1])))
print({name: round(value, 3) for name, value in never.items()})
assert never["f1"] == 0

# %% [markdown] id="baseline"
# A referência (*baseline*) é o TF-IDF de palavras e pares, com regressão logística. Uma fração de segundo.

# %%
import time

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def tfidf_of(examples):
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=2000)
    )
    return model.fit(*examples)


# %%
start = time.perf_counter()
tfidf = tfidf_of(train)
seconds = time.perf_counter() - start
tfidf_test = tfidf.predict_proba(test[0])[:, 1]
rows = {"TF-IDF": {**measure(test[1], tfidf_test), "segundos": seconds}}
rows["TF-IDF"]["pesos"] = tfidf[-1].coef_.size
print({name: round(value, 3) for name, value in rows["TF-IDF"].items()})

# %% [markdown] id="head"
# ## 3. A cabeça nova, no último token
#
# O GPT termina em 2.048 notas, uma por token. Trocamos essa saída por uma camada de duas notas: normal e spam. De que posição ler? A atenção é causal: só o **último token** leu a mensagem inteira. O código é o do pacote:

# %% id="classifier-code"
from torch import nn

from afina.gpt.model import GPT
from afina.runtime import SEED


class Classifier(nn.Module):
    def __init__(self, gpt: GPT, classes: int = 2, seed: int = SEED):
        super().__init__()
        self.gpt = gpt
        self.head = nn.Linear(gpt.config.d_model, classes)
        nn.init.normal_(self.head.weight, std=0.02, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        hidden = self.gpt.hidden(ids)
        rows = torch.arange(len(ids), device=ids.device)
        return self.head(hidden[rows, lengths - 1])


# %% [markdown]
# Um lote tem mensagens de comprimentos diferentes, preenchidas à **direita**. "Último" quer dizer o último token **de verdade**: por isso o modelo recebe os comprimentos.

# %%
from afina.gpt.classify import encode_texts, make_batch
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt

tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")


def fresh(classes=2):
    return Classifier(load_gpt(rt.models / "gpt-pt"), classes).to(rt.device)


# %%
short = encode_texts(["Oi!", "Cheguei, estou na porta."], tokenizer, context=128)
ids, lengths = make_batch(short, tokenizer.end)
print(ids.tolist(), "comprimentos", lengths.tolist(), sep="\n")

# %% [markdown] id="padding-proof"
# A prova de que o preenchimento não conta: a mesma mensagem, sozinha e ao lado de uma mais comprida, dá as mesmas notas. O que está à direita é futuro, e a máscara causal o esconde.

# %%
model = fresh().eval()
with torch.no_grad():
    together = model(ids.to(rt.device), lengths.to(rt.device))
    alone = model(ids[:1, : lengths[0]].to(rt.device), lengths[:1].to(rt.device))
assert torch.allclose(together[:1], alone, atol=1e-5)
print("com e sem preenchimento: as mesmas notas")

# %% [markdown]
# E se lêssemos da última **posição**, sem olhar o comprimento? A nota dependeria dos vizinhos de lote:

# %%
with torch.no_grad():
    wrong = model(ids.to(rt.device), torch.full_like(lengths, ids.size(1)).to(rt.device))
print(f"diferença na primeira mensagem: {(wrong[0] - alone[0]).abs().max():.2f}")
assert not torch.allclose(wrong[:1], alone, atol=1e-3)

# %% [markdown] id="four-ways"
# ## 4. Quatro jeitos de treinar
#
# | jeito | o que aprende |
# | --- | --- |
# | `head` | só a camada nova |
# | `last block` | ela, o último bloco e a norma final |
# | `all` | tudo |
# | `LoRA` | ela e as matrizes finas da aula 10 |
#
# `choose_what_learns` congela o resto. Cada jeito pede a sua taxa: quanto menos pesos, maior ela pode ser. `fine_tune` é o laço da aula 09, com a perda da cabeça nova, e junta no mesmo lote mensagens de comprimento parecido.

# %%
from afina.gpt.classify import choose_what_learns, expected_calibration_error, fine_tune, predict
from afina.gpt.lora import LoRASettings
from afina.gpt.train import Recipe

rates = {"head": 3e-2, "last block": 1e-3, "all": 5e-4, "LoRA": 2e-3}
models = {}

# %%
for mode, rate in rates.items():
    model = fresh()
    learning, _ = choose_what_learns(model, mode)
    recipe = Recipe(120, batch_size=32, learning_rate=rate, warmup=10)
    start = time.perf_counter()
    fine_tune(model, tokenizer, train, None, recipe)
    seconds = time.perf_counter() - start
    chances = predict(model, tokenizer, test[0])[:, 1]
    rows[mode] = {**measure(test[1], chances), "segundos": seconds, "pesos": learning}
    models[mode] = model

# %%
names_in_portuguese = {"accuracy": "acurácia", "f1": "F1", "average_precision": "precisão média"}
modes = {"head": "só a cabeça", "last block": "último bloco", "all": "tudo"}
table = pd.DataFrame(rows).T.rename(columns=names_in_portuguese, index=modes)
shares = dict.fromkeys(("acurácia", "F1", "precisão média"), "{:.3f}")
formats = {**shares, "segundos": "{:.2f}", "pesos": "{:,.0f}"}
table.style.format(formats, decimal=",", thousands=".")

# %%
from afina.teach.figures import BLUE, GREEN, ORANGE, RED, SLATE, figure, show

fig, ax = figure(height=3)
table[["F1", "precisão média"]].plot.bar(ax=ax, rot=0, color=[BLUE, ORANGE])
ax.set(title="Frases que o treino não tem", ylim=(0, 1.05), ylabel="no teste")
ax.grid(visible=False, axis="x")
show(
    fig,
    alt=f"Barras de F1 e precisão média no teste: {table[['F1', 'precisão média']].round(2).to_dict('index')}.",
)

# %% [markdown] id="five-seeds"
# Uma corrida pode ser sorte, e aqui é mesmo: são só seis frases-modelo de spam no teste, e cada uma inteira passa ou não passa. `benchmarks/classify.py` repete os quatro jeitos com cinco sementes. A média, e a faixa da precisão média:

# %%
import json

measured = json.loads((rt.root / "benchmarks/results/classify.json").read_text(encoding="utf-8"))
spam = pd.DataFrame(measured["spam"]).groupby("model", sort=False)
seeds = spam[["accuracy", "f1", "average_precision"]].mean()
seeds["menor"], seeds["maior"] = spam["average_precision"].min(), spam["average_precision"].max()
names = {**modes, "two blocks frozen": "dois blocos congelados"}
seeds.rename(columns=names_in_portuguese, index=names).style.format("{:.3f}", decimal=",")

# %%
precision = seeds["average_precision"]
assert precision["TF-IDF"] > seeds["maior"].drop("TF-IDF").max()
assert precision["head"] < min(precision["last block"], precision["LoRA"]) < precision["all"]
assert (seeds["accuracy"].drop("TF-IDF") < never["accuracy"]).all()
assert rows["TF-IDF"]["f1"] > max(rows[mode]["f1"] for mode in rates)
print("TF-IDF: na frente da melhor semente de todos os outros")

# %% [markdown]
# E em que ele erra? Compare com o que ele viu:

# %%
on_train = measure(train[1], predict(models["all"], tokenizer, train[0])[:, 1])["f1"]
print(f"tudo solto, F1 no treino {on_train:.3f}, no teste {rows['all']['f1']:.3f}")
assert on_train > 0.99 and on_train > rows["all"]["f1"] + 0.1

# %% [markdown] id="honest"
# Sem rodeios: **o TF-IDF ganhou**, em uma fração do tempo, e não foi por pouco. As frases novas ainda usam palavras que o treino tem ("confirme", "resgate", "senha"), e contá-las basta. O GPT decora as 56 frases-modelo do treino (F1 de 1,000!) e, diante de uma nova, vê spam demais: na média, acerta **menos** do que quem diz sempre "normal".
#
# Entre os quatro, na média das sementes: só a cabeça é o pior, pois o último vetor do `gpt-pt` foi feito para dizer a próxima palavra, e não o assunto; tudo solto é o melhor; o LoRA, com 6 % dos pesos, e o último bloco ficam no meio. As faixas se sobrepõem: com uma semente só, você poderia concluir o contrário.

# %% [markdown] id="pretraining-helps"
# ## 5. Então para que serve o pré-treino?
#
# Para o que os rótulos não mostram. As resenhas da aula 13 têm o teste certo: `test_adjectives` usa **adjetivos que nenhum exemplo rotulado tem** ("deslumbrante", "medonho"). O `gpt-pt` os leu em texto sem rótulo. Três classes, o mesmo treino para dois modelos: um que leu antes e um de pesos aleatórios.

# %%
from afina.gpt.model import GPT
from afina.tune.bert import SENTIMENTS, read_reviews


def as_numbers(split):
    texts, labels = read_reviews(split)
    return texts, [SENTIMENTS.index(label) for label in labels]


reviews, new_adjectives = as_numbers("train"), as_numbers("test_adjectives")


# %%
def right(chances):
    return float((chances.argmax(1) == np.array(new_adjectives[1])).mean())


scores = {"TF-IDF": right(tfidf_of(reviews).predict_proba(new_adjectives[0]))}
review_recipe = Recipe(120, batch_size=32, learning_rate=1e-3, warmup=10)
torch.manual_seed(rt.seed)
random_start = Classifier(GPT(load_gpt(rt.models / "gpt-pt").config), 3).to(rt.device)

# %%
for name, model in {"pesos aleatórios": random_start, "gpt-pt": fresh(3)}.items():
    fine_tune(model, tokenizer, reviews, None, review_recipe)
    scores[name] = right(predict(model, tokenizer, new_adjectives[0]))
print({name: f"{score:.3f}" for name, score in scores.items()}, "acaso: 0,333")
assert scores["gpt-pt"] > max(scores["TF-IDF"], scores["pesos aleatórios"]) + 0.05

# %%
fig, ax = figure(height=2.4)
ax.barh(list(scores), list(scores.values()), color=[ORANGE, RED, BLUE])
ax.axvline(1 / 3, color=SLATE, linestyle=":", linewidth=1.4)
ax.text(0.34, 2.42, "acaso", color=SLATE, va="bottom")
ax.set(title="Adjetivos que nenhum rótulo mostrou", xlabel="acerto", xlim=(0, 1))
ax.grid(visible=False, axis="y")
show(
    fig,
    alt=f"Barras do acerto em adjetivos novos: { ({n: round(s, 2) for n, s in scores.items()}) }; o acaso dá 0,33.",
)

# %%
adjectives = pd.DataFrame(measured["adjectives"]).groupby("model")["accuracy"].agg(["min", "max"])
assert adjectives.loc["gpt-pt", "min"] > adjectives.loc["random", "max"] + 0.05
assert adjectives.loc["random", "max"] > adjectives.loc["TF-IDF", "max"]
print("em cinco sementes, a pior do gpt-pt ganha da melhor dos outros:")
told = {"min": "pior", "max": "melhor", "random": "pesos aleatórios"}
print(adjectives.rename(columns=told, index=told).rename_axis(index="").round(3))

# %% [markdown]
# A regra que fica: comece pela referência. O modelo grande se paga quando a resposta está no que ele **leu**, e não no que você rotulou.

# %% [markdown] id="few-labels"
# ### E com poucos rótulos de spam?
#
# É a situação comum, e aquela em que se espera que o pré-treino salve. O benchmark mediu 50, 200 e 1.000 rótulos, com cinco sorteios de cada: TF-IDF, `gpt-pt` e o mesmo GPT de pesos aleatórios.

# %%
labels = pd.DataFrame(measured["labels"]).groupby(["labels", "model"])["average_precision"]
by_labels = labels.mean().unstack()
fig, ax = figure(height=2.9)
for name, color, mark, aside in (
    ("TF-IDF", ORANGE, "o", 1),
    ("gpt-pt", BLUE, "s", 0.96),
    ("random", RED, "^", 1.04),
):
    its = by_labels[name]
    low, high = labels.min().unstack()[name], labels.max().unstack()[name]
    reach = [its - low, high - its]
    ax.errorbar(its.index * aside, its, yerr=reach, marker=mark, capsize=4, color=color)
ax.set_xscale("log")
ax.set_xticks([50, 200, 1000], ["50", "200", "1.000"], minor=False)
ax.set(title="Pouco rótulo: aqui o pré-treino não salva", xlabel="rótulos")
ax.set(ylabel="precisão média", ylim=(0, 1))
ax.legend(["TF-IDF", "gpt-pt", "pesos aleatórios"])
show(
    fig,
    alt=f"Precisão média por número de rótulos, média de cinco sorteios: {by_labels.round(2).to_dict('index')}.",
)

# %%
assert (by_labels["TF-IDF"] > by_labels[["gpt-pt", "random"]].max(axis=1)).all()
assert (by_labels["gpt-pt"] < by_labels["random"] + 0.05).all()

# %% [markdown]
# Não salvou: no spam, o `gpt-pt` não passa nem do GPT de pesos aleatórios. Ele leu as mensagens de treino **sem rótulo**, mas saber continuá-las não é saber qual é golpe. O pré-treino ajuda quando o que leu é o que a tarefa pergunta, como nos adjetivos; não é um bônus automático. E o TF-IDF com 50 rótulos, que ordena melhor, não acha quase nada no corte de 0,5: é a parte 8.

# %% [markdown] id="freeze-first"
# ## 6. Congelar as primeiras camadas
#
# O material de origem desta aula congela as primeiras camadas e treina as últimas: as primeiras guardariam o geral. Meçamos com as tabelas e os dois primeiros dos quatro blocos congelados. Com três, é o modo `last block`, que já temos.

# %%
from afina.gpt.classify import freeze_first

model = fresh()
learning, _ = freeze_first(model, 2)
start = time.perf_counter()
fine_tune(model, tokenizer, train, None, Recipe(120, 32, rates["last block"], 10))
seconds = time.perf_counter() - start
scores_of_it = measure(test[1], predict(model, tokenizer, test[0])[:, 1])
two_blocks = {**scores_of_it, "segundos": seconds, "pesos": learning}

# %%
frozen = {
    "nada": rows["all"],
    "tabelas e 2 blocos": two_blocks,
    "tabelas e 3 blocos": rows["last block"],
}

# %%
by_layers = pd.DataFrame(frozen).T.rename_axis("congelado").rename(columns=names_in_portuguese)
assert by_layers["pesos"].is_monotonic_decreasing
assert max(precision["two blocks frozen"], precision["last block"]) < precision["all"]
by_layers.style.format(formats, decimal=",", thousands=".")

# %% [markdown]
# Congelar economiza tempo, porque o caminho de volta do gradiente encurta. A qualidade, na média das cinco sementes (a tabela da parte 4), não vem de graça: o melhor é nada congelado. Em um modelo de quatro blocos, o que é preciso mudar também está embaixo.

# %% [markdown] id="calibration"
# ## 7. Quando ele diz 90 %, acerta 90 %?
#
# Um modelo está **calibrado** (*calibrated*) quando, de tudo o que ele chama de "90 % spam", 90 % é spam. Agrupe as previsões por faixa e compare o que foi dito com o que era. A média das distâncias é o **erro esperado de calibração** (*ECE*).

# %% id="reliability"
from afina.gpt.classify import reliability

tuned = models["all"]
gpt_validation, gpt_test = (predict(tuned, tokenizer, rows[0])[:, 1] for rows in (validation, test))
fig, ax = figure(height=3.2)
ax.plot([0, 1], [0, 1], color=SLATE, linestyle=":", linewidth=1.4, label="calibrado")
for name, chances, color, mark in (
    ("gpt-pt, tudo", gpt_test, BLUE, "o-"),
    ("TF-IDF", tfidf_test, ORANGE, "s--"),
):
    bands = reliability(test[1], chances, bins=5)
    ax.plot([b["said"] for b in bands], [b["true"] for b in bands], mark, label=name, color=color)
ax.set(title="O que foi dito, e o que era", xlabel="chance dita", ylabel="spam de verdade")
ax.legend()
ece = {
    "gpt-pt": expected_calibration_error(test[1], gpt_test),
    "TF-IDF": expected_calibration_error(test[1], tfidf_test),
}
show(
    fig,
    alt=f"Curva de confiabilidade no teste, com a diagonal do modelo calibrado. Erro esperado de calibração: { ({n: round(e, 3) for n, e in ece.items()}) }.",
)

# %%
sure = (gpt_test < 0.05) | (gpt_test > 0.95)
mistakes = (gpt_test > 0.5) != np.array(test[1])
print(f"ECE no teste: gpt-pt {ece['gpt-pt']:.3f}, TF-IDF {ece['TF-IDF']:.3f}")
print(
    f"o gpt-pt tem 95 % de certeza em {sure.mean():.0%} das mensagens, e erra {mistakes[sure].mean():.1%} delas"
)

# %% [markdown]
# Uma rede treinada por muitas épocas fica **confiante demais**. Um remédio de um número só, a *temperatura* (Guo e outros, 2017): divida as notas por `T`, escolhido na validação.


# %% id="temperature"
def cooled(chances, temperature):
    odds = np.log(np.clip(chances, 1e-9, 1 - 1e-9) / np.clip(1 - chances, 1e-9, 1))
    return 1 / (1 + np.exp(-odds / temperature))


def loss(chances, truth):
    return -np.log(np.where(truth, chances, 1 - chances)).mean()


truth = np.array(validation[1])
temperatures = np.arange(1, 8.1, 0.25)
losses = [loss(cooled(gpt_validation, t), truth) for t in temperatures]
temperature = temperatures[int(np.argmin(losses))]

# %%
test_truth = np.array(test[1])
before, after = (
    loss(cooled(gpt_test, 1), test_truth),
    loss(cooled(gpt_test, temperature), test_truth),
)
its_ece = expected_calibration_error(test[1], cooled(gpt_test, temperature))
print(
    f"T = {temperature:.2f}; perda no teste: {before:.3f} -> {after:.3f}; ECE {ece['gpt-pt']:.3f} -> {its_ece:.3f}"
)
assert temperature > 1

# %% [markdown]
# A temperatura não muda a ordem, e portanto nem o F1 a 0,5: só a confiança. Olhe os dois números do teste. A perda, que pune a certeza errada, melhora; o ECE pode piorar, porque na validação ele erra mais, e ela pediu um esfriamento maior do que o teste precisava. Calibrar é sempre calibrar **para** alguns dados.

# %%
wrong_on_validation = ((gpt_validation > 0.5) != truth).mean()
print(f"erros: {wrong_on_validation:.1%} na validação, {mistakes.mean():.1%} no teste")
assert after < before and wrong_on_validation > mistakes.mean()
assert ((cooled(gpt_test, temperature) > 0.5) == (gpt_test > 0.5)).all()

# %% [markdown] id="threshold"
# ## 8. O limiar
#
# Quem disse que o corte é 0,5? Se perder uma mensagem da sua mãe custa mais que ver um spam, o corte sobe. Escolha-o na **validação**, e só então olhe o teste: escolher no teste é vazar.

# %%
from sklearn.metrics import precision_recall_curve

from afina.gpt.classify import best_threshold

threshold = best_threshold(validation[1], gpt_validation)
on_validation = [measure(validation[1], gpt_validation, t)["f1"] for t in (0.5, threshold)]
on_test = [measure(test[1], gpt_test, t)["f1"] for t in (0.5, threshold)]
print(f"corte {threshold:.3f}: F1 na validação {on_validation[0]:.3f} -> {on_validation[1]:.3f}")
print(f"                 e no teste {on_test[0]:.3f} -> {on_test[1]:.3f}")
assert on_validation[1] >= on_validation[0]

# %%
fig, ax = figure(height=2.9)
for name, truth_of, chances, color, line in (
    ("validação", validation[1], gpt_validation, GREEN, "--"),
    ("teste", test[1], gpt_test, BLUE, "-"),
):
    precision, recall, _ = precision_recall_curve(truth_of, chances)
    ax.plot(recall, precision, line, label=name, color=color)
ax.set(title="Cada corte é um ponto da curva", xlabel="revocação", ylabel="precisão")
ax.legend()
show(
    fig,
    alt=f"Curvas de precisão por revocação na validação e no teste. Precisão média: {measure(validation[1], gpt_validation)['average_precision']:.2f} e {measure(test[1], gpt_test)['average_precision']:.2f}.",
)

# %% [markdown]
# Na validação, o limiar melhora por construção. No teste, compare os números acima: a validação tem só **quatro** frases-modelo de spam, e um corte afinado para elas pode não servir a outras. Uma validação pequena é uma régua torta; o remédio é mais variedade nela, e não mais cópias.

# %% [markdown] id="mistakes"
# ## 9. Ler os erros
#
# Um número não diz o que mudar. Leia os erros, dos mais confiantes para os menos:

# %%
doubt = np.abs(gpt_test - test_truth)
worst = np.argsort(-doubt)[:6]
for i in worst:
    print(f"{gpt_test[i]:.2f} {'spam' if test[1][i] else 'normal':<7} {test[0][i]}")

# %%
missed = [test[0][i] for i in range(len(test_truth)) if test_truth[i] and gpt_test[i] < 0.5]
false_alarm = [
    test[0][i] for i in range(len(test_truth)) if not test_truth[i] and gpt_test[i] >= 0.5
]
print(f"{len(missed)} spams passaram; {len(false_alarm)} mensagens normais foram barradas")
assert missed and false_alarm

# %%
families = ("sorteio", "número novo", "senha", "dados do cartão", "benefício", "por dia")
print({words: sum(words in text for text in missed + false_alarm) for words in families})

# %% [markdown]
# Os erros vêm em famílias: são poucas frases-modelo, repetidas com nomes e valores trocados. Uma linha a mais de treino para cada família vale mais do que mil cópias das que ele já acerta.

# %% [markdown]
# ## Sua vez
#
# **1.** Um filtro disse "spam" a 40 mensagens, e 30 eram. Passaram 20 spams. Qual é o F1?

# %%
your_f1 = ...

# %%
from afina.teach.check import check

check(
    your_f1,
    lambda f1: abs(f1 - 60 / 90) < 1e-3 or "precisão 30/40, revocação 30/50; a média é harmônica",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `your_f1 = 2 * 0.75 * 0.6 / (0.75 + 0.6)`, dois terços.
#
# </details>
#
# **2.** Quantos pesos aprendem no modo LoRA com posto 2? Use `choose_what_learns` e `LoRASettings`.

# %%
rank_2_weights = ...

# %%
expected = choose_what_learns(fresh(), "LoRA", LoRASettings(rank=2))[0]
check(rank_2_weights, lambda n: n == expected or "a cabeça também aprende; o primeiro número basta")

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `rank_2_weights = choose_what_learns(fresh(), "LoRA", LoRASettings(rank=2))[0]`
#
# </details>
#
# **3.** Que corte, no **teste**, daria precisão de pelo menos 0,95 ao TF-IDF com a maior revocação? (Só para olhar: em um projeto, isso se escolhe na validação.)

# %%
your_cut = ...

# %%
precision, recall, cuts = precision_recall_curve(test[1], tfidf_test)
lowest = cuts[precision[:-1] >= 0.95].min()
check(
    your_cut, lambda cut: abs(cut - lowest) < 1e-3 or "é o menor corte com precisão de 0,95 ou mais"
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `precision, recall, cuts = precision_recall_curve(test[1], tfidf_test)` e `your_cut = cuts[precision[:-1] >= 0.95].min()`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Em um modelo causal, só o último token de verdade leu tudo: a cabeça fica nele.
# - Com classes desbalanceadas, acurácia engana. Olhe F1 e precisão média.
# - Comece pela referência simples. Aqui ela ganhou no spam; o pré-treino ganhou onde os rótulos não chegam.
# - Probabilidade não é certeza: meça a calibração. Limiar e temperatura se escolhem na validação.
# - Leia os erros: eles vêm em famílias.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("11")

# %% [markdown]
# {{quiz 11}}

# %% [markdown]
# ## Próximo passo
#
# Escolher entre duas respostas é pouco. Na aula 12 do [mapa do curso](../README.md), o `gpt-pt` aprende a seguir instruções, e responde por escrito.
