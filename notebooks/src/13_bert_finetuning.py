# %% [markdown] id="cover"
# # 13 · Afinar um BERT
#
# Um modelo que já leu muito texto aprende a sua tarefa com poucos rótulos. Aqui você treina um BERT do zero, afina outro já pré-treinado e mede
# a diferença em frases e palavras que o treino não tem.
#
# **Ao final você vai saber**
#
# - treinar um tokenizador WordPiece e pré-treinar com palavras mascaradas
# - afinar um classificador com `Trainer` e compará-lo com referências honestas
# - escolher taxa de aprendizado, camadas congeladas e hora de parar
# - ler curvas, erros e mapas de atenção
# - escrever o laço de treino à mão e dividi-lo entre dois processos
#
# **Antes desta aula**: [02 · Preparar os dados](02_dataset_prep.ipynb), pelas divisões e pelo TF-IDF.
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="bert-idea"
# ## 1. O que é um BERT
#
# BERT (*Bidirectional Encoder Representations from Transformers*, Google, 2018) lê a frase inteira de uma vez: cada palavra olha para as que vêm
# **antes e depois** dela. Um GPT só olha para trás, porque precisa escrever a próxima. Por isso o BERT serve para *entender* texto (classificar,
# buscar, achar nomes) e não para escrever.
#
# Ele aprende em dois tempos. No **pré-treino**, lê muito texto sem rótulo e adivinha palavras escondidas. No **ajuste fino** (*fine-tuning*),
# recebe exemplos rotulados de uma tarefa. O primeiro é caro e se faz uma vez; o segundo é barato e se faz para cada tarefa.
#
# No perfil `gpu`, o modelo pré-treinado desta aula é o BERTimbau, um BERT do português brasileiro. No perfil `cpu`, é o `bert-pt`, que
# o curso pré-treinou com as mesmas classes. As células são as mesmas.

# %%
import math
import re

import torch

from afina.tune.bert import read_reviews

torch.set_num_threads(1)  # matrices this small gain nothing from a second thread
pretrained = rt.pick(cpu=rt.models / "bert-pt", gpu="neuralmind/bert-base-portuguese-cased")
train, validation = read_reviews("train"), read_reviews("validation")
unlabelled, _ = read_reviews("unlabelled")
print(f"{len(train[0])} resenhas com rótulo para treinar, {len(unlabelled)} sem rótulo")

# %% [markdown] id="wordpiece"
# ## 2. WordPiece: as palavras em pedaços
#
# Um modelo tem um vocabulário fixo. Palavra que não está nele não pode virar "desconhecida": perderíamos o texto. O **WordPiece** parte das
# letras e vai juntando os pedaços que mais aparecem lado a lado, até encher o vocabulário. Palavra comum
# fica inteira; palavra rara sai em pedaços. `##` marca o pedaço que continua a palavra.

# %%
from afina.tune.bert import train_tokenizer

texts = [*train[0], *unlabelled[:-500]]
small, large = train_tokenizer(texts, vocabulary=300), train_tokenizer(texts, vocabulary=2000)
for tokenizer in (small, large):
    print(f"{len(tokenizer):>5} pedaços:", tokenizer.tokenize("O zíper é deslumbrante."))

# %% [markdown]
# Menos vocabulário, frases mais longas. E uma palavra que nenhum dos dois viu? Sai em pedaços, e nada se perde. O tokenizador também põe os *tokens*
# especiais: `[CLS]` abre a frase e `[SEP]` a fecha. O estado final do `[CLS]` é o que o classificador vai ler.

# %%
# NBVAL_CHECK_OUTPUT
pieces = large.tokenize("desinteressante")
print(pieces)
print(large.convert_ids_to_tokens(large("O som é bom.")["input_ids"]))
assert "".join(piece.removeprefix("##") for piece in pieces) == "desinteressante"

# %% [markdown] id="mlm"
# ## 3. Pré-treino: adivinhar a palavra escondida
#
# A tarefa chama-se *masked language modeling* (MLM, modelagem com máscara): esconda alguns tokens e peça ao modelo que os diga. O texto é a própria resposta, e ninguém
# precisa rotular nada. `DataCollatorForLanguageModeling` sorteia os escondidos a cada lote.

# %%
from transformers import DataCollatorForLanguageModeling

hide = DataCollatorForLanguageModeling(large, mlm_probability=0.3)
torch.manual_seed(1)
batch = hide([large("A tela é ótima, mas a bateria é fraca.")])
print("entrada :", large.convert_ids_to_tokens(batch["input_ids"][0]))
print("resposta:", [large.decode([i]) if i >= 0 else "·" for i in batch["labels"][0].tolist()])

# %% [markdown]
# O rótulo `-100`, aqui um ponto, quer dizer "não conta na perda". Dos sorteados, 80 % viram `[MASK]`, 10 % viram uma palavra qualquer e 10 %
# ficam como estão: assim o modelo não pode confiar nem no que vê. Em muitos lotes, a conta fecha:

# %%
rows = [large(text) for text in texts[:2000]]
batch = hide(rows)
original = large.pad(rows, return_tensors="pt")["input_ids"]
chosen = batch["labels"] != -100
masked = batch["input_ids"][chosen] == large.mask_token_id
same = batch["input_ids"][chosen] == original[chosen]
share = chosen.sum() / (original > 4).sum()
print(f"sorteados {share:.1%}")
print(f"viraram [MASK] {masked.float().mean():.1%}, iguais {same.float().mean():.1%}")
assert abs(masked.float().mean() - 0.8) < 0.02 and abs(same.float().mean() - 0.1) < 0.02

# %% [markdown]
# Um pré-treino curto, na sua frente: 3.000 resenhas, três épocas (uma *época* é uma passada por todas). `pretrain` usa `BertForMaskedLM` e `Trainer`, do Transformers, com o
# modelo mínimo do curso: 2 camadas de 128 colunas.

# %%
from transformers import BertForMaskedLM

from afina.tune.bert import masked_accuracy, new_config, pretrain

rt.seed_everything()
newborn = BertForMaskedLM(new_config(large))
young = pretrain(texts[-3000:], large, epochs=3)
losses = [row["loss"] for row in young.history if "loss" in row]
print(f"{newborn.num_parameters():,} pesos".replace(",", "."), f"em {young.seconds:.0f} s")
print(f"perda: {losses[0]:.2f} no começo, {losses[-1]:.2f} no fim")

# %% [markdown]
# A perda cai, mas é a do treino. Quantas palavras escondidas ele acerta em 500 resenhas que não viu? Ao lado, o modelo com pesos
# aleatórios e o já pré-treinado, que fez o mesmo por mais tempo:

# %% id="masked-accuracy"
from transformers import BertTokenizerFast

held_out = unlabelled[-500:]
tokenizer = BertTokenizerFast.from_pretrained(pretrained)
right = {
    "pesos aleatórios": masked_accuracy(newborn, large, held_out),
    "pré-treino curto": masked_accuracy(young.model, large, held_out),
    "pré-treinado": masked_accuracy(
        BertForMaskedLM.from_pretrained(pretrained), tokenizer, held_out
    ),
}
print({name: f"{share:.3f}" for name, share in right.items()})
assert right["pesos aleatórios"] < 0.05 < 0.3 < right["pré-treino curto"]

# %% [markdown]
# O que o pré-treinado sabe sem que ninguém lhe tenha contado o que é "bom" ou "ruim"? Peça-lhe a palavra que falta. Só o fim da frase muda:

# %%
from transformers import pipeline

fill = pipeline("fill-mask", model=str(pretrained), tokenizer=tokenizer)
for ending in ("Nota dez.", "Vou devolver.", "Dá para o gasto."):
    guesses = fill(f"O som é [MASK] e, além disso, a tela é [MASK]. {ending}", top_k=4)
    print(f"{ending:<18}", [guess["token_str"] for guess in guesses[0]])

# %% [markdown]
# Ele separou os elogios das queixas só de ler. É isso que o ajuste fino vai aproveitar. A receita está no
# [cartão do modelo](../models/bert-pt/README.md): primeiro resenhas fáceis, depois todas. Nenhum rótulo, e nenhum texto de validação ou teste.

# %% [markdown] id="nsp"
# ## 4. E a frase seguinte?
#
# O BERT original tinha uma segunda tarefa, *next sentence prediction* (NSP, prever a frase seguinte): dadas duas frases, a segunda vinha mesmo
# depois da primeira no texto, ou foi sorteada? As duas entram juntas, e `token_type_ids` diz qual é qual:

# %%
pair = large("O som é péssimo.", "Vou devolver.")
print(large.convert_ids_to_tokens(pair["input_ids"]))
print(pair["token_type_ids"])

# %% [markdown]
# A resposta é uma cabeça de duas saídas sobre o `[CLS]`; com pesos aleatórios, a perda dela é a de quem joga uma moeda. Confira em quatro pares, dois verdadeiros (0) e dois trocados (1):

# %%
from transformers import BertForNextSentencePrediction

firsts = ["O som é péssimo.", "A capa é linda.", "O som é péssimo.", "A capa é linda."]
seconds = ["Vou devolver.", "Nota dez.", "Nota dez.", "Vou devolver."]
batch = large(firsts, seconds, padding=True, return_tensors="pt")
rt.seed_everything()
nsp = BertForNextSentencePrediction(new_config(large))
loss = nsp(**batch, labels=torch.tensor([0, 0, 1, 1])).loss.item()
print(f"perda {loss:.2f}; a da moeda é ln 2 = {math.log(2):.2f}")
assert abs(loss - math.log(2)) < 0.1

# %% [markdown]
# Vale a pena? Em 2019, o RoBERTa tirou o NSP e não piorou; o ALBERT o trocou pela ordem das frases. O nosso `bert-pt` não o usa. Por isso o `[CLS]` dele
# chega ao ajuste fino sem treino nenhum; guarde isso para a parte 8.

# %% [markdown]
# ## 5. A tarefa, e a referência a bater
#
# Cada resenha tem duas opiniões diferentes, e vale a que o contraste deixa em pé: "A tela é ruim, **mas** o som é ótimo" é positiva. E "não é
# nada ruim" é um elogio. Três classes: positivo, negativo, neutro.

# %%
import pandas as pd

pd.DataFrame({"texto": train[0][:4], "rótulo": train[1][:4]}).style.hide().set_properties(
    **{"text-align": "left"}
)

# %% [markdown] id="two-tests"
# Medimos em dois testes difíceis de propósito. `test_templates` usa frases-modelo que o treino rotulado não tem ("ainda que", "todavia").
# `test_adjectives` usa adjetivos que só aparecem no texto **sem rótulo** ("deslumbrante", "medonho"). Quem só viu os rótulos não tem como conhecê-los.
#
# A referência (*baseline*) é a da aula 02: TF-IDF de palavras e pares, e regressão logística.

# %%
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

tests = {name: read_reviews(name) for name in ("test_templates", "test_adjectives")}
tfidf = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=2000))
tfidf = tfidf.fit(*train)
scores = {"TF-IDF": {name: tfidf.score(*rows) for name, rows in tests.items()}}
print({name: f"{score:.3f}" for name, score in scores["TF-IDF"].items()}, "e o acaso dá 0,333")

# %% [markdown] id="lost-head"
# ## 6. A cabeça que se joga fora
#
# O pré-treinado termina em uma *cabeça* (*head*) que diz palavras. Para classificar, ela sai e entra outra, de três saídas e **pesos
# aleatórios**. O Transformers avisa. Muita gente se assusta; leia com calma:

# %%
from transformers import BertForSequenceClassification

from afina.tune.quiet import captured_log

with captured_log() as said:
    BertForSequenceClassification.from_pretrained(pretrained, num_labels=3)
print(re.sub(r"\x1b\[[0-9;]*m| from: .*", "", said.getvalue()).strip())
assert "classifier.weight" in said.getvalue() and "MISSING" in said.getvalue()

# %% [markdown]
# `UNEXPECTED` é a cabeça velha, jogada fora. `MISSING` são as partes novas, que nascem agora: daí o "consider training". O aviso está certo: sem ajuste
# fino, este classificador chuta. (Se aparecerem em `MISSING` as camadas do encoder, aí sim há erro: você carregou o modelo errado.)
#
# `classifier` faz a mesma chamada, com os nomes das classes:

# %%
from afina.tune.bert import accuracy, classifier

untuned = classifier(pretrained)
print(untuned.config.id2label)
print(f"antes do ajuste: {accuracy(untuned, tokenizer, tests['test_templates']):.3f}")

# %% [markdown] id="three-way"
# ## 7. Três modelos, lado a lado
#
# Primeiro o BERT que **nunca leu nada**: a mesma arquitetura, pesos aleatórios, oito épocas nas 6.000 resenhas rotuladas. `fine_tune` monta um `Trainer` e mede a
# validação a cada uma.

# %%
from transformers import BertConfig

from afina.tune.bert import fine_tune

learning_rate = rt.pick(cpu=1e-3, gpu=3e-5)  # a larger model asks for smaller steps


def on_tests(model):
    return {name: accuracy(model, tokenizer, rows) for name, rows in tests.items()}


# %%
random_start = classifier(BertConfig.from_pretrained(pretrained))
scratch = fine_tune(
    random_start, tokenizer, train, validation, epochs=8, learning_rate=learning_rate
)
scores["BERT aleatório"] = on_tests(scratch.model)
print(f"{scratch.seconds:.0f} s")

# %% [markdown]
# Agora o pré-treinado, com três épocas:

# %%
tuned = fine_tune(
    classifier(pretrained), tokenizer, train, validation, epochs=3, learning_rate=learning_rate
)
scores["BERT pré-treinado"] = on_tests(tuned.model)
print(f"{tuned.seconds:.0f} s")

# %%
titles = {"test_templates": "frases novas", "test_adjectives": "adjetivos novos"}
table = pd.DataFrame(scores).T.rename(columns=titles)
assert table["adjetivos novos"].is_monotonic_increasing
assert (table.loc["BERT pré-treinado"] > table.drop("BERT pré-treinado").max() + 0.05).all()
table.round(3)

# %%
from afina.teach.figures import BLUE, INK, ORANGE, SLATE, figure, show

fig, ax = figure(height=3.2)
table.plot.bar(ax=ax, rot=0, color=[BLUE, ORANGE])
ax.axhline(1 / 3, color=SLATE, linestyle=":", linewidth=1.2)
ax.text(2.45, 0.345, "acaso", ha="right", color=SLATE)
ax.set(title="Quem leu antes conhece o que o rótulo não mostrou", ylabel="acerto", ylim=(0, 1.08))
ax.grid(visible=False, axis="x")
ax.legend(loc="upper left")
show(
    fig,
    alt=f"Barras com o acerto dos três modelos nos dois testes: {table.round(2).to_dict('index')}.",
)

# %% [markdown]
# O aleatório aprende o "mas" pelos rótulos, e em frases novas passa o TF-IDF, às vezes por pouco. Em adjetivos que nunca viu só lhe resta a estrutura da frase. O pré-treinado já os conhecia.
#
# Uma execução pode ser sorte. `benchmarks/bert.py` repete tudo com três sementes (`seed`), e guarda o que mediu:

# %% id="three-seeds"
import json

measured = json.loads((rt.root / "benchmarks/results/bert.json").read_text(encoding="utf-8"))
seeds = pd.DataFrame(measured["ordering"]).rename(columns=titles)
for name in titles.values():
    best = seeds.groupby("model")[name].max()
    worst = seeds.groupby("model")[name].min()
    assert best["tfidf"] < worst["random"] and best["random"] < worst["pretrained"]
told = {"pretrained": "pré-treinado", "random": "aleatório", "tfidf": "TF-IDF"}
table = seeds.pivot(index="seed", columns="model", values=list(titles.values()))
table.rename(columns=told).rename_axis(index="semente", columns=["teste", "modelo"]).round(3)

# %% [markdown]
# Nos dois testes, a pior semente de cada modelo ganha da melhor do anterior. (O TF-IDF não tem semente: dá sempre o mesmo.)
#
# ### Com poucos rótulos
#
# É o caso comum: rotular é caro. Dê ao pré-treinado só mil das 6.000 resenhas, e deixe-o parar quando a validação não melhorar em uma época. É a
# **parada antecipada** (*early stopping*); no fim, voltam os melhores pesos, não os últimos.

# %% id="early-stopping"
thousand = train[0][:1000], train[1][:1000]
how = {"epochs": 20, "learning_rate": learning_rate, "patience": 1}
frugal = fine_tune(classifier(pretrained), tokenizer, thousand, validation, **how)
checks = [row["eval_accuracy"] for row in frugal.history if "eval_accuracy" in row]
print([f"{check:.3f}" for check in checks], f"parou na época {len(checks)} de 20")
assert len(checks) < 20 and accuracy(frugal.model, tokenizer, validation) == max(checks)

# %%
few_labels = on_tests(frugal.model)
print({name: f"{score:.3f}" for name, score in few_labels.items()})
assert all(few_labels[name] > scores["BERT aleatório"][name] for name in tests)

# %% [markdown] id="learning-curves"
# Com um sexto dos rótulos, ele ainda ganha do aleatório que viu todos.
#
# ### As curvas
#
# `Trainer` anota tudo em `log_history`. Duas curvas contam a história: a perda no treino e o acerto na validação.

# %%
validated = {
    name: [row["eval_accuracy"] for row in run.history if "eval_accuracy" in row]
    for name, run in (("aleatório", scratch), ("pré-treinado", tuned))
}
assert validated["pré-treinado"][0] > max(validated["aleatório"][:3])
fig, (left, right) = figure(height=3, columns=2)
for name, run, line in (("aleatório", scratch, "--"), ("pré-treinado", tuned, "-")):
    log = pd.DataFrame(run.history)
    train_log, checks = log.dropna(subset="loss"), log.dropna(subset="eval_accuracy")
    left.plot(train_log["epoch"], train_log["loss"], line, label=name)
    right.plot(checks["epoch"], checks["eval_accuracy"], f"o{line}", label=name)
left.legend()
left.set(title="Perda no treino", xlabel="época", ylabel="perda", ylim=(0, None))
right.set(title="Acerto na validação", xlabel="época", ylabel="acerto", ylim=(0, 1.05))
right.legend(loc="lower right")
show(
    fig,
    alt="Perda e acerto por época. O modelo aleatório sobe devagar, em várias épocas; "
    "o pré-treinado, na primeira, já está acima do que o outro alcança em três.",
)

# %% [markdown] id="errors"
# O aleatório tem de aprender tudo ao mesmo tempo, e só dos rótulos: que palavras se parecem, o que "não" faz, qual das duas opiniões manda.
#
# ### Onde ele erra
#
# A *matriz de confusão* cruza a resposta certa (linhas) com a dada (colunas):

# %%
import numpy as np
from sklearn.metrics import confusion_matrix

from afina.tune.bert import predict

names = list(tuned.model.config.id2label.values())
texts_test, truth = tests["test_templates"]
matrices = {}
for name, model in (("aleatório", scratch.model), ("pré-treinado", tuned.model)):
    guesses = [names[i] for i in predict(model, tokenizer, texts_test).argmax(-1)]
    matrices[name] = confusion_matrix(truth, guesses, labels=names)

# %%
fig, axes = figure(height=3.3, columns=2, sharey=True)
for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
    ax.imshow(matrix, cmap="Blues", vmax=200)
    for (i, j), count in np.ndenumerate(matrix):
        ax.text(j, i, count, ha="center", va="center", color="white" if count > 100 else INK)
    ax.set(title=name.capitalize(), xlabel="resposta dada", xticks=range(3), yticks=range(3))
    ax.set_xticklabels(names)
    ax.set_yticklabels(names)
    ax.grid(visible=False)
axes[0].set(ylabel="resposta certa")
show(
    fig,
    alt=f"Matrizes de confusão em frases novas, linhas e colunas na ordem {names}. "
    + "; ".join(f"{name}: {matrix.tolist()}" for name, matrix in matrices.items()),
)

# %% [markdown]
# E as resenhas? Leia as que o melhor modelo errou com mais certeza. Ler erros ensina mais do que olhar médias.

# %%
probabilities = predict(tuned.model, tokenizer, texts_test)
answers = pd.DataFrame({"text": texts_test, "truth": truth, "p": probabilities.max(-1)})
answers["guess"] = [names[i] for i in probabilities.argmax(-1)]
wrong = answers[answers["truth"] != answers["guess"]].sort_values("p", ascending=False)
print(f"{len(wrong)} erros em {len(answers)}")
for row in wrong.head(4).itertuples():
    print(f"\n{row.text}\n  certo: {row.truth}; disse {row.guess} com {row.p:.2f}")

# %%
markers = ["todavia", "Ainda que", ", ainda que", "também achei", "A despeito"]
mistakes = {}
for marker in markers:
    rows = answers[answers["text"].str.contains(marker, regex=False)]
    mistakes[marker] = (rows["truth"] != rows["guess"]).sum()
    print(f"{marker:<14} {len(rows):>4} resenhas, {mistakes[marker]} erradas")
assert sum(sorted(mistakes.values())[-2:]) >= 0.8 * len(wrong)
assert max(mistakes, key=mistakes.get) == "também achei"
assert all(len(re.findall(r"não \w+ nada ", text)) == text.count(" nada ") for text in train[0])

# %% [markdown]
# Os erros não se espalham: moram quase todos em uma ou duas frases-modelo, com "Achei …, mas também achei …" na frente. Os rótulos nunca mostram "nada notável" sem o
# "não" antes, e o modelo lê um elogio. É um buraco nos dados, e se tapa com dados. Repare também na certeza: errado e convicto. Probabilidade de
# saída não é garantia; antes de confiar nela, meça.

# %% [markdown] id="freezing"
# ## 8. Congelar camadas
#
# *Congelar* é proibir uma parte de aprender: menos contas, menos memória, e o que o pré-treino sabe fica intacto. Quanto dá para congelar? Três épocas
# em 2.000 resenhas, com quatro graus de gelo:

# %%
from afina.tune.bert import freeze

third = train[0][:2000], train[1][:2000]
depth = untuned.config.num_hidden_layers
ice = {"nada": None, "embeddings": 0, "+ metade": depth // 2, "tudo, menos a cabeça": depth}

# %%
frozen = {}
for name, layers in ice.items():
    model = classifier(pretrained)
    learning = model.num_parameters() if layers is None else freeze(model, layers)[0]
    run = fine_tune(model, tokenizer, third, epochs=3, learning_rate=learning_rate)
    frozen[name] = {
        "pesos que aprendem": learning,
        "segundos": run.seconds,
        **{titles[n]: score for n, score in on_tests(model).items()},
    }

# %%
table = pd.DataFrame(frozen).T.astype({"pesos que aprendem": int})
assert table["pesos que aprendem"].is_monotonic_decreasing
assert table.loc["embeddings", "adjetivos novos"] > table.loc["nada", "adjetivos novos"] - 0.05
assert table.loc["tudo, menos a cabeça", "frases novas"] < table.loc["nada", "frases novas"] - 0.2
table.round(3)

# %% [markdown]
# Os *embeddings* podem ficar parados quase de graça, e são metade dos pesos. Congelar tudo menos a cabeça não funciona aqui: ela lê o `[CLS]`, e no pré-treino, sem NSP, ninguém ensinou o
# `[CLS]` a resumir a frase. Congelado não quer dizer "quase igual": os pesos são os mesmos, bit a bit.

# %%
model = classifier(pretrained)
before = model.bert.embeddings.word_embeddings.weight.clone()
freeze(model, 0)
fine_tune(model, tokenizer, (train[0][:320], train[1][:320]), epochs=1, learning_rate=learning_rate)
assert torch.equal(before, model.bert.embeddings.word_embeddings.weight.cpu())
print("embeddings idênticos depois do treino")

# %% [markdown] id="learning-rate"
# ## 9. A taxa de aprendizado
#
# É o botão que mais importa. Corridas curtas bastam para achar a ordem de grandeza: mil resenhas, três épocas, quatro taxas. Um BERT grande pede taxas bem
# menores, de 2e-5 a 5e-5 no artigo original: não copie a taxa de um modelo para outro.

# %%
rates = rt.pick(cpu=[1e-5, 1e-4, 1e-3, 3e-2], gpu=[1e-7, 3e-6, 3e-5, 1e-3])
sweep = {}
for rate in rates:
    run = fine_tune(
        classifier(pretrained), tokenizer, thousand, validation, epochs=3, learning_rate=rate
    )
    sweep[rate] = [row["eval_accuracy"] for row in run.history if "eval_accuracy" in row]
    print(f"{rate:g}", [f"{check:.2f}" for check in sweep[rate]])
best_rate = max(sweep, key=lambda rate: sweep[rate][-1])
assert best_rate not in (rates[0], rates[-1])

# %%
fig, ax = figure(height=2.9)
for (rate, checks), mark in zip(sweep.items(), "v^os", strict=True):
    label = f"{rate:.7f}".rstrip("0").replace(".", ",")
    ax.plot(range(1, 4), checks, f"{mark}-", label=label)
ax.set(
    title="Pequena não sai do lugar, grande se perde", xlabel="época", ylabel="acerto na validação"
)
ax.set(ylim=(0, 1.05), xticks=range(1, 4))
ax.legend(title="taxa", loc="center left", bbox_to_anchor=(1, 0.5))
show(
    fig,
    alt=f"Acerto por época para quatro taxas. A melhor é {best_rate:g}; a menor e a maior ficam perto do acaso.",
)

# %% [markdown] id="padding"
# ## 10. Preenchimento dinâmico e grupos por comprimento
#
# Um lote é um retângulo, e frases têm tamanhos diferentes: completa-se com `[PAD]` (*padding*, preenchimento). A *attention mask* manda ignorá-los, mas
# o processador os calcula do mesmo jeito. Três formas de encher, e quanto de cada lote é `[PAD]`:

# %%
from transformers.trainer_pt_utils import LengthGroupedSampler

lengths = [len(ids) for ids in tokenizer(list(train[0]))["input_ids"]]


def computed_tokens(order, fixed=None):
    """Tokens in all batches of 32, padding included."""
    batches = [[lengths[i] for i in order[k : k + 32]] for k in range(0, len(order), 32)]
    return sum(len(batch) * (fixed or max(batch)) for batch in batches)


# %%
torch.manual_seed(rt.seed)
drawn, grouped = (
    torch.randperm(len(lengths)).tolist(),
    list(LengthGroupedSampler(32, lengths=lengths)),
)
ways = {
    "até 64 tokens": computed_tokens(drawn, fixed=64),
    "dinâmico": computed_tokens(drawn),
    "dinâmico, em grupos": computed_tokens(grouped),
}
for name, tokens in ways.items():
    print(f"{name:<20} {tokens:>7} tokens, {1 - sum(lengths) / tokens:.0%} de preenchimento")
assert ways["dinâmico, em grupos"] < ways["dinâmico"] < ways["até 64 tokens"]

# %% [markdown]
# **Dinâmico**: cada lote vai até o seu texto mais longo, e não até o máximo do modelo. **Em grupos**: textos de comprimento parecido caem no mesmo lote. Contas
# menores deveriam ser tempo menor. Medimos aqui, e em rodadas mais longas em `benchmarks/bert.py`:

# %%
import time

speed = {"até 64 tokens": [], "dinâmico, em grupos": []}
for _ in range(2):  # interleaved; CPU seconds, so that other programs weigh less
    for name, options in zip(
        speed, ({"pad_to": 64, "sampling": "random"}, {"sampling": "group_by_length"}), strict=True
    ):
        model = classifier(pretrained)
        start = time.process_time()
        fine_tune(model, tokenizer, thousand, epochs=1, learning_rate=learning_rate, **options)
        speed[name].append(len(thousand[0]) / (time.process_time() - start))

# %%
for name, seen in speed.items():
    print(f"{name:<20} {max(seen):.0f} exemplos por segundo de CPU")
assert max(speed["dinâmico, em grupos"]) > 1.2 * max(speed["até 64 tokens"])

ours, plain = (measured["mean_accuracy"][road]["test_templates"] for road in ("ours", "plain"))
print(f"benchmark: {measured['times_plain']} vezes mais rápido; acerto {ours:.3f} e {plain:.3f}")

# %% [markdown]
# O resultado não muda, a não ser pela ordem do sorteio, porque a máscara apaga o preenchimento. A prova, em um texto com e sem `[PAD]`:

# %%
tuned.model.eval().to("cpu")
short = tokenizer(["O som é bom, mas a tela é ruim."], return_tensors="pt")
padded = tokenizer(
    ["O som é bom, mas a tela é ruim."], padding="max_length", max_length=64, return_tensors="pt"
)
with torch.no_grad():
    assert torch.allclose(tuned.model(**short).logits, tuned.model(**padded).logits, atol=1e-4)
print("mesmos logits com e sem preenchimento")

# %% [markdown] id="save-pipeline"
# ## 11. Salvar, reabrir, usar
#
# `save_pretrained` grava os pesos (safetensors) e a configuração, com os nomes das classes dentro. O tokenizador vai junto: sem ele, os números
# não querem dizer nada.

# %%
folder = rt.build / "bert_resenhas"
tuned.model.save_pretrained(folder)
tokenizer.save_pretrained(folder)
again, some = classifier(folder), texts_test[:50]
assert (predict(again, tokenizer, some) == predict(tuned.model, tokenizer, some)).all()
print("reaberto, diz o mesmo:", sorted(path.name for path in folder.iterdir()))

# %% [markdown]
# Uma `pipeline` junta tokenizador, modelo e nomes em uma chamada:

# %%
judge = pipeline("text-classification", model=str(folder), tokenizer=tokenizer, device="cpu")
for text in (
    "A tela é medonha, mas a bateria é deslumbrante.",
    "A bateria é deslumbrante, mas a tela é medonha.",
    "Embora a tela seja linda, o som é só mediano.",
):
    verdict = judge(text)[0]
    print(f"{verdict['label']:<9} {verdict['score']:.2f}  {text}")

# %% [markdown] id="hf-pieces"
# ### As peças, uma a uma
#
# A `pipeline` não tem segredo: **tokenizador → modelo → softmax**. O texto vira ids, os ids viram *logits*, os logits viram probabilidades.
#
# | peça | o que é |
# | --- | --- |
# | arquitetura | a receita das contas (BERT). Não tem peso nenhum |
# | *checkpoint* (ponto salvo) | os pesos gravados de um modelo (`bert-pt`, `bert-base-cased`): uma arquitetura, milhares deles |
# | `AutoTokenizer`, `AutoModelFor…` | leem a configuração do checkpoint e escolhem sozinhos a classe certa |
# | `Dataset.map(…, batched=True)` | passa o tokenizador em muitas linhas por vez, sem pôr tudo na memória, e guarda o resultado |
# | `zero-shot-classification` | uma pipeline sem treino para a tarefa: você diz entre o que escolher, em `candidate_labels` |
#
# Um cuidado que a pipeline também esconde: o **viés**. O modelo repete os preconceitos dos textos que leu, dos rótulos que lhe deram e da métrica
# que escolhemos. Com as peças na mão:

# %%
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForSequenceClassification, AutoTokenizer

auto_tokenizer = AutoTokenizer.from_pretrained(folder)
auto_model = AutoModelForSequenceClassification.from_pretrained(folder)
print(type(auto_model).__name__)
with torch.no_grad():
    logits = auto_model(**auto_tokenizer(text, return_tensors="pt")).logits
probabilities = logits.softmax(-1)[0]
assert abs(probabilities.max().item() - judge(text)[0]["score"]) < 1e-4

# %%
disable_progress_bars()
rows = Dataset.from_dict({"text": texts_test[:100]})
rows = rows.map(lambda batch: auto_tokenizer(batch["text"]), batched=True)
print(rows.column_names)

# %% [markdown] id="long-text"
# E um texto maior do que o modelo lê? Cortar calado perderia justamente o que vem depois do "mas". `predict` recusa e diz o que fazer:

# %%
from afina.errors import CourseError

try:
    predict(tuned.model, tokenizer, ["A tela é boa. " * 200 + "Mas o som é ruim."])
except CourseError as error:
    print(error)

# %% [markdown] id="attention-maps"
# ## 12. Para onde ele olha
#
# Cada *cabeça de atenção* distribui um peso por todos os tokens. O que o `[CLS]`, de onde sai a resposta, olha? No mapa, mais escuro é mais peso. Para guardar os pesos, o modelo tem de ser aberto com
# `attn_implementation="eager"`: as versões rápidas não os calculam explicitamente.

# %%
eager = classifier(folder, attn_implementation="eager").eval()
sentence = "A tela é linda, mas o som não é nada bom."
batch = tokenizer(sentence, return_tensors="pt")
with torch.no_grad():
    out = eager(**batch, output_attentions=True)
print("camadas:", len(out.attentions), "formato:", tuple(out.attentions[0].shape))
assert torch.allclose(out.attentions[-1].sum(-1), torch.ones(1), atol=1e-4)

# %%
tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
looks = [out.attentions[layer][0, :, 0] for layer in (0, -1)]  # (heads, tokens), from [CLS]
fig, axes = figure(height=3.4, rows=2, sharex=True)
for ax, weights, name in zip(axes, looks, ("Primeira camada", "Última camada"), strict=True):
    ax.imshow(weights, cmap="Blues", aspect="auto", vmin=0)
    ax.set(title=f"{name}: o que o [CLS] olha", ylabel="cabeça", yticks=range(len(weights)))
    ax.grid(visible=False)
axes[-1].set_xticks(range(len(tokens)), tokens, rotation=45, ha="right")
favorite = tokens[int(looks[-1].mean(0).argmax())]
show(
    fig,
    alt=f"Mapas de atenção do [CLS] por cabeça e token, na primeira e na última camada, da frase {sentence!r}. "
    f"Na última, o token mais olhado, na média das cabeças, é {favorite}.",
)

# %% [markdown]
# Um mapa sugere, não prova: atenção alta não é causa. Para saber o que *importa*, mexa na entrada. Trocamos uma palavra por vez por `[MASK]` e
# medimos quanto a probabilidade de "negativo" muda:

# %%
words = sentence.rstrip(".").split()
variants = [sentence] + [
    " ".join([*words[:i], "[MASK]", *words[i + 1 :]]) + "." for i in range(len(words))
]
negative = predict(eager, tokenizer, variants)[:, names.index("negativo")]
for word, p in zip(words, negative[1:], strict=True):
    print(f"{word:<8} {negative[0]:.2f} → {p:.2f}")
assert negative[0] > 0.5 > negative[1:].min() and words[negative[1:].argmin()] in (
    "não",
    "nada",
    "bom",
)

# %% [markdown] id="by-hand"
# ## 13. O laço à mão
#
# `Trainer` não faz mágica. O laço inteiro cabe em uma célula: perda, gradiente, corte do gradiente, passo, agenda. O **Accelerate** (que o `Trainer` usa por baixo) cuida do dispositivo e, se houver, dos outros
# processos.

# %%
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, get_scheduler


def train_by_hand(model, rows, collate, learning_rate, batch_size=32, cpu=True):
    """One epoch in the order of `rows`, in as many processes as were launched; returns the loss of each step."""
    shared = DataLoaderConfiguration(split_batches=True)  # two processes take half of each batch
    accelerator = Accelerator(cpu=cpu, dataloader_config=shared)
    loader = DataLoader(rows, batch_size=batch_size, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = get_scheduler("linear", optimizer, 0, len(loader))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    losses = []
    model.train()
    for batch in loader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(accelerator.gather(loss.detach()).mean().item())
    return losses


# %% [markdown]
# A prova: a mesma semente, os mesmos 256 exemplos, a mesma ordem. As perdas têm de ser as do `Trainer`, passo a passo.

# %%
from afina.tune.bert import labelled_rows

some = train[0][:256], train[1][:256]
how = {"epochs": 1, "learning_rate": learning_rate, "sampling": "sequential", "warmup_steps": 0}
exact = {"logging_steps": 1, "bf16": False, "fp16": False}
reference = fine_tune(classifier(pretrained), tokenizer, some, **how, **exact)
by_trainer = [row["loss"] for row in reference.history if "loss" in row]

# %%
model = classifier(pretrained)
rows, collate = labelled_rows(some, tokenizer, model), DataCollatorWithPadding(tokenizer)
by_hand = train_by_hand(model, rows, collate, learning_rate, cpu=rt.device == "cpu")
for step, (ours, theirs) in enumerate(zip(by_hand, by_trainer, strict=True), 1):
    print(f"passo {step}: à mão {ours:.5f}, Trainer {theirs:.5f}")
assert torch.allclose(
    torch.tensor(by_hand), torch.tensor(by_trainer), atol=rt.pick(cpu=1e-4, gpu=1e-2)
)

# %% [markdown] id="two-processes"
# ### Dois processos
#
# Com duas GPUs, ou duas máquinas, cada processo faz metade de cada lote, e os gradientes são somados pela rede. Dá para ver aqui mesmo, com dois processos nesta CPU, que conversam só
# por dentro dela (*loopback*). `accelerate launch` os cria. Apesar do nome, é `--multi_gpu` que os lança pelo torchrun; o programa pede CPU. O lote continua de 32: dividir o trabalho não
# muda a conta, a menos do arredondamento.

# %%
import subprocess
import sys

from afina.tune.bert import write_steps

one, two = rt.build / "um_processo.json", rt.build / "dois_processos.json"
two.unlink(missing_ok=True)
launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
launch += " --dynamo_backend no --main_process_port 0 -m afina.cli bert-steps --out"
done = subprocess.run(
    [sys.executable, *launch.split(), str(two)], capture_output=True, text=True, timeout=240
)
assert done.returncode == 0, done.stderr[-2000:]
write_steps(one)
# %%
alone, together = (json.loads(path.read_text(encoding="utf-8")) for path in (one, two))
assert (alone["processes"], together["processes"]) == (1, 2)
for a, b in zip(alone["losses"], together["losses"], strict=True):
    print(f"um processo {a:.5f}, dois processos {b:.5f}")
assert torch.allclose(torch.tensor(alone["losses"]), torch.tensor(together["losses"]), atol=1e-4)

# %% [markdown]
# ## Sua vez
#
# **1.** Engane o modelo. Escreva uma resenha curta, que você considere claramente positiva, e que `judge` não chame de "positivo".

# %%
tricky_review = ...

# %%
from afina.teach.check import check

hint = "ele ainda acertou. Tente ironia, ou uma palavra que não há nas resenhas"
check(tricky_review, lambda text: judge(text)[0]["label"] != "positivo" or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# Depende do modelo, e é essa a graça: fora das frases em que treinou, ele não sabe português. Tente `"Superou tudo o que eu esperava, chorei de alegria."`
#
# </details>
#
# **2.** Quantos pesos aprendem se você congelar só os embeddings de `untuned`? Use `freeze`.

# %%
learning_weights = ...

# %%
check(
    learning_weights,
    lambda n: (
        n == freeze(classifier(pretrained), 0)[0] or "freeze devolve (os que aprendem, todos)"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `learning_weights = freeze(untuned, 0)[0]`
#
# </details>
#
# **3.** Quanto custaria preencher até o texto mais longo do treino, em vez de até 64? Responda em tokens, com `computed_tokens`.

# %%
tokens_to_longest = ...

# %%
check(
    tokens_to_longest,
    lambda n: (
        n == computed_tokens(drawn, fixed=max(lengths)) or "o máximo é max(lengths), e vai em fixed"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `tokens_to_longest = computed_tokens(drawn, fixed=max(lengths))`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - O pré-treino aprende a língua sem rótulos; o ajuste fino só lhe ensina a tarefa.
# - Compare sempre com uma referência simples e com o mesmo modelo de pesos aleatórios, em dados separados.
# - A cabeça nova nasce aleatória: o aviso é esperado.
# - Escolha a taxa de aprendizado com corridas curtas, e pare quando a validação parar.
# - Preencher só o necessário é velocidade de graça.

# %% [markdown]
# ## Quiz
#
# Cinco perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("13")

# %% [markdown]
# {{quiz 13}}

# %% [markdown]
# ## Próximo passo
#
# Um BERT classifica; um LLM responde. As próximas aulas do [mapa do curso](../README.md) afinam um modelo que escreve.
#
# Este ajuste como um comando: `afina train bert --config train/bert.yaml`. Ele usa o `Trainer`, que em vários processos multiplica a perda pelo número deles, a menos
# que se peça `average_tokens_across_devices=False`.
