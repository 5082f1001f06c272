# %% [markdown] id="cover"
# # 02 · Preparar os dados
#
# Um modelo aprende o que os dados mostram, sujeira inclusive. Aqui um arquivo bruto vira um *dataset* (conjunto de dados) em que se pode confiar.
#
# **Ao final você vai saber**
#
# - levar um JSON a uma tabela e desconfiar dela com gráficos
# - limpar um catálogo de produtos, regra por regra, e contar o que cada uma descarta
# - dividir em treino, validação e teste sem vazamento
# - rodar o motor do curso em um arquivo de qualquer tamanho
# - medir o que a quantidade de dados muda, em vez de repetir o que se diz
#
# **Antes desta aula**: [00 · Comece aqui](00_start_here.ipynb) e, de preferência, [01 · Conceitos centrais](01_core_concepts.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown]
# ## 1. Dez clubes: do JSON à tabela
#
# Começamos pequeno. `clubes.json` tem dez clubes de Portugal. A primeira versão dele foi pedida a um chatbot, e é um bom uso: ele monta a
# forma em segundos. O conteúdo é outra história.

# %%
import json

clubs_text = (rt.data / "clubes.json").read_text(encoding="utf-8")
clubs = json.loads(clubs_text)
print(len(clubs), "clubes; o primeiro:")
clubs[0]

# %% [markdown]
# Uma lista de dicionários com as mesmas chaves é uma tabela. O pandas faz a passagem:

# %%
import pandas as pd

clubs = pd.DataFrame(clubs)
clubs

# %% [markdown]
# Antes de qualquer modelo, três perguntas a toda tabela nova: que tipo tem cada coluna, o que falta, e o que se repete?

# %%
# NBVAL_CHECK_OUTPUT
print(clubs.dtypes.astype(str).to_string(), "\n")
print("valores que faltam:", int(clubs.isna().sum().sum()))
print("nomes repetidos:   ", int(clubs["nome"].duplicated().sum()))

# %% [markdown]
# E um gráfico, porque o olho acha em um segundo o que a tabela esconde:

# %%
from afina.teach.figures import BLUE, ORANGE, figure, show

by_size = clubs.sort_values("capacidade")
fig, ax = figure(height=3.8)
ax.barh(by_size["nome"], by_size["capacidade"], color=BLUE)
ax.grid(visible=False, axis="y")
ax.set(title="Três estádios grandes, sete médios ou pequenos", xlabel="lugares")
show(
    fig,
    alt="Barras com os lugares de cada estádio. Benfica, Porto e Sporting passam de 50 mil; "
    "os outros sete ficam abaixo de 31 mil.",
)

# %% [markdown]
# Um segundo olhar: fundação contra títulos da liga.

# %%
fig, ax = figure(height=3)
ax.scatter(clubs["fundacao"], clubs["titulos_liga"], s=60, color=ORANGE)
for club in clubs[clubs["titulos_liga"] > 0].itertuples():
    ax.annotate(club.nome, (club.fundacao, club.titulos_liga), (7, 4), textcoords="offset points")
ax.set(
    title="Cinco clubes têm todos os títulos", xlabel="ano de fundação", ylabel="títulos da liga"
)
ax.set(xlim=(1890, 1955), ylim=(-2, 42))
show(
    fig,
    alt="Dispersão do ano de fundação contra os títulos da liga. Benfica, Porto e Sporting, fundados "
    "até 1906, têm quase todos; Boavista e Belenenses têm um cada; os outros cinco, nenhum.",
)

# %% [markdown]
# Conferimos cada número desta tabela em fontes públicas, e vários dos que o chatbot deu estavam velhos ou errados: a lista está em
# [data/README](../data/README.md). **A IA prepara a forma; quem confere o fato é você.**
#
# Dez linhas servem para aprender a olhar. Para aprender um modelo, são poucas: no fim da aula você mede quanto.

# %% [markdown]
# ## 2. Um catálogo de verdade é sujo
#
# O curso usa um catálogo no formato exato do AmazonTitles-1.3MM: um objeto JSON por linha, 2,2 milhões de linhas no original. O nosso é
# sintético, com a mesma sujeira. Aqui vão 20 mil linhas dele.

# %%
import gzip

path = rt.data / "amazon_sample.json.gz"
lines = gzip.open(path).read().splitlines()
print(f"{len(lines)} linhas\n")
print(lines[3].decode())

# %% [markdown]
# Cinco campos: o código do produto (`uid`), o título, a descrição (`content`), e duas listas que dizem com que outros produtos ele se parece
# (`target_ind`, `target_rel`). Para ensinar um modelo a descrever produtos, bastam título e descrição.
#
# Nem toda linha é um JSON. Em vez de parar na primeira quebrada, ou de pulá-la calado, lemos todas e contamos:

# %%
rows, broken = [], []
for number, line in enumerate(lines, 1):
    try:
        row = json.loads(line)
        rows.append((row["uid"], row["title"], row["content"]))
    except (ValueError, TypeError, KeyError):
        broken.append(number)

raw = pd.DataFrame(rows, columns=["uid", "title", "content"])
print(f"{len(raw)} lidas, {len(broken)} quebradas ou em branco; as primeiras: linhas {broken[:5]}")

# %% [markdown]
# Olhe algumas descrições. O que você tiraria?

# %%
for text in raw["content"][
    raw["content"].str.contains("<") & raw["content"].str.contains("&")
].head(3):
    print(text[:200], "\n")

# %% [markdown]
# ### As quatro regras
#
# As regras do curso são quatro funções pequenas, de texto para texto. Elas moram em `afina/data/clean.py` e o motor, mais adiante, usa as
# mesmas. Uma a uma:
#
# | regra | faz | por quê |
# | --- | --- | --- |
# | `unescape_entities` | `&amp;` vira `&`, `&eacute;` vira `é` | o modelo leria o código como se fosse palavra |
# | `strip_tags` | `<br>` e companhia saem | são instruções para o navegador, não texto |
# | `keep_wanted` | ficam letras de qualquer escrita, números, espaços, vírgulas e pontos | menos sinais, vocabulário menor |
# | `fold_space` | espaços repetidos viram um | dois textos iguais passam a ser iguais |

# %%
from afina.data.clean import RULES

text = "<p>Caf&eacute;&nbsp;&amp;  Cia.\u200b <b>Тёплый</b> \u2615 10\u201d</p>"
print("          antes:", repr(text))
for rule in RULES:
    text = rule(text)
    print(f"{rule.__name__:>18}: {text!r}")

# %% [markdown]
# No catálogo inteiro, quantas descrições cada regra muda?

# %%
step = raw["content"]
for rule in RULES:
    after = step.map(rule)
    print(f"{rule.__name__:<18} mudou {(after != step).mean():6.1%} das descrições")
    step = after

# %% [markdown] id="order"
# Repare na ordem: as entidades vêm antes das tags, porque `&lt;b&gt;` só vira tag depois de decodificado; os espaços ficam por último, porque
# as outras regras abrem buracos. `clean` faz as quatro, nessa ordem:

# %%
from afina.data.clean import clean

assert step.equals(raw["content"].map(clean))
products = raw.assign(title=raw["title"].map(clean), content=raw["content"].map(clean))
products.head(3)

# %% [markdown]
# ### O que se descarta, e quanto
#
# Um produto sem título não tem pergunta; sem descrição, não tem resposta. E uma linha repetida pesa em dobro no treino, ou pior: cai no
# treino e no teste, e o teste deixa de ser teste.

# %%
stages = {"lidas": len(products)}
products = products[products["title"] != ""]
stages["com título"] = len(products)
products = products[products["content"] != ""]
stages["com descrição"] = len(products)
products = products.drop_duplicates(["title", "content"])
stages["sem repetição"] = len(products)
stages

# %%
fig, ax = figure(height=2.6)
bars = ax.barh(list(stages)[::-1], list(stages.values())[::-1], color=BLUE)
ax.bar_label(bars, [f"{n / stages['lidas']:.0%}" for n in list(stages.values())[::-1]], padding=4)
ax.grid(visible=False, axis="y")
ax.set(title="De cada quatro linhas, uma não tem descrição", xlabel="linhas", xlim=(0, 23_000))
show(
    fig,
    alt=f"Barras com as linhas que restam depois de cada descarte: {stages}. "
    "A maior perda é a das linhas sem descrição.",
)

# %% [markdown]
# ## 3. Palavras: tokenizar, tirar as vazias, pesar
#
# Modelos clássicos de texto contam palavras. Vale conhecê-los: são a referência (*baseline*) que um modelo grande tem de bater. E o
# primeiro passo deles é o mesmo: dividir o texto em *tokens*.

# %%
import re

sentence = "Este tênis não é bonito, mas é confortável."
words = re.findall(r"\w+", sentence.lower())
print(words)

# %% [markdown]
# As palavras mais comuns dizem pouco sobre o assunto. São as *stop words* (palavras vazias). Veja quais são nas resenhas do curso:

# %%
from collections import Counter

reviews = pd.read_json(rt.data / "reviews.jsonl.gz", lines=True)
train_reviews = reviews[reviews["split"] == "train"]
counts = Counter(
    word for text in train_reviews["text"] for word in re.findall(r"\w+", text.lower())
)
print(counts.most_common(12))

# %% [markdown]
# Tirá-las economiza espaço. Mas releia a frase do tênis sem elas:

# %%
stop_words = {word for word, _ in counts.most_common(12)} | {"não", "mas", "este"}
print(" ".join(word for word in words if word not in stop_words))

# %% [markdown] id="stop-words"
# Sumiram o "não" e o "mas", e com eles o sentido. É por isso que **modelos de linguagem não removem stop words**: para eles a gramática é
# informação. A remoção fica para contagens e buscas.
#
# O peso clássico é o **TF-IDF**: conta quantas vezes o termo aparece no texto (TF) e diminui o peso dos que aparecem em muitos textos (IDF).
# Com `n` textos, dos quais `df` têm o termo:
#
# `peso = tf × (ln((1 + n) / (1 + df)) + 1)`, e cada texto é então dividido por seu comprimento.
#
# Primeiro à mão, em três textos:

# %%
import numpy as np

texts = ["mesa azul", "mesa de pinho", "abajur azul de mesa"]
vocabulary = sorted({word for text in texts for word in text.split()})
tf = np.array([[text.split().count(word) for word in vocabulary] for text in texts])
idf = np.log((1 + len(texts)) / (1 + (tf > 0).sum(axis=0))) + 1
by_hand = tf * idf
by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
pd.DataFrame(by_hand.round(2), index=texts, columns=vocabulary)

# %% [markdown]
# "mesa" está em todos os textos e pesa pouco; "pinho" só em um, e pesa mais. Agora a biblioteca, e a prova de que é a mesma conta:

# %%
from sklearn.feature_extraction.text import TfidfVectorizer

by_library = TfidfVectorizer().fit_transform(texts).toarray()
assert np.allclose(by_hand, by_library)
print("à mão = scikit-learn")

# %% [markdown]
# ## 4. Dividir sem vazar
#
# Treino para aprender, validação para escolher, teste para saber a verdade, uma vez só. O jeito comum é sortear as linhas. Sorteie o catálogo
# antes de tirar as repetidas, como muita gente faz, e procure no teste as linhas que também estão no treino:

# %%
from sklearn.model_selection import train_test_split

described = raw.assign(title=raw["title"].map(clean), content=raw["content"].map(clean)).query(
    "title != '' and content != ''"
)
drawn_train, drawn_test = train_test_split(described, test_size=0.05, random_state=rt.seed)
known = set(zip(drawn_train["title"], drawn_train["content"], strict=True))
leaked = sum(pair in known for pair in zip(drawn_test["title"], drawn_test["content"], strict=True))
print(f"sorteio: {leaked} das {len(drawn_test)} linhas do teste já estavam no treino")
assert leaked > 0

# %% [markdown] id="hash-split"
# É um *leak* (vazamento): nessas linhas o modelo "acerta" porque já viu a resposta. E tirar as cópias exatas não resolve tudo: o mesmo produto
# pode voltar com outra descrição.
#
# O curso divide pelo **hash do título**: uma conta que leva cada título a um ponto fixo entre 0 e 1. Abaixo de 0,90, treino; até 0,95,
# validação; o resto, teste. O mesmo título cai sempre no mesmo lado, em qualquer máquina. Nas mesmas linhas, com repetidas e tudo:

# %%
from afina.data.split import assign_splits


def titles_by_split(frame):
    """{split: its titles}, the split decided by the title's hash."""
    return frame["title"].groupby(assign_splits(frame["title"])).agg(set)


sides = titles_by_split(described)
print(
    "títulos dos dois lados:",
    len(sides["train"] & sides["test"]) + len(sides["train"] & sides["validation"]),
)
products["split"] = assign_splits(products["title"])
print(products["split"].value_counts(normalize=True).round(3).to_dict())

# %% [markdown]
# E a segunda promessa, medida: junte mil produtos novos e veja se algum velho muda de lado.

# %%
new_titles = [f"Produto novo {number}" for number in range(1000)]
grown = assign_splits([*products["title"], *new_titles])
print("mudaram de lado:", sum(a != b for a, b in zip(grown, products["split"], strict=False)))

# %% [markdown]
# ## 5. O motor: as mesmas regras, em qualquer tamanho
#
# O pandas carrega tudo na memória. Com 20 mil linhas vai bem; com cem vezes mais, pede cem vezes mais. O **motor** do curso, `afina prep`, aplica as
# mesmas funções em blocos, em dois processos, e escreve *shards* (fragmentos) de até 100 mil linhas. Linhas que só diferem em uma ou outra palavra ainda
# podem cair nos dois lados; no terminal, `--near-duplicates 0.8` tira também as [quase iguais](../docs/escala.md). Aqui pedimos fragmentos pequenos, para ver vários:

# %%
# NBVAL_IGNORE_OUTPUT
from afina.data.prep import prep

out = rt.build / "02_catalogo"
report = prep(path, out, shard_rows=5_000, force=True)
print(report)

# %% [markdown]
# Leia o relatório de cima para baixo: nada some sem ser contado. Os números têm de ser os do pandas, e as linhas também:

# %%
engine_rows = pd.concat(
    pd.read_json(shard, lines=True, dtype=False) for shard in sorted(out.glob("*.jsonl"))
)
ours = set(products[["uid", "title", "content"]].itertuples(index=False, name=None))
theirs = set(engine_rows[["uid", "title", "content"]].itertuples(index=False, name=None))
assert report.kept == len(products) == len(engine_rows) and ours == theirs
print(f"pandas e motor: as mesmas {report.kept} linhas")

# %% [markdown]
# O **manifesto** conta o que foi feito, com a soma de cada fragmento. Meses depois, ele responde de onde veio aquele arquivo:

# %%
manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
print(manifest["settings"])
pd.DataFrame(manifest["shards"])[["file", "rows", "bytes"]].head()

# %% [markdown]
# No arquivo real, o comando é um só, no terminal. Se a luz cair no meio, não sobra fragmento pela metade; rode de novo.
#
# ```bash
# afina prep data/real/trn.json.gz --out build/catalogo
# ```

# %% [markdown]
# ## 6. O que a quantidade de dados muda?
#
# Diz-se muita coisa: mais dados, mais *accuracy* (acurácia, a parte de acertos); poucos dados, *overfitting* (sobreajuste: decorar); dados demais,
# *underfitting* (subajuste: nem decorar); mais tempo, mais custo, outra regularização, outros hiperparâmetros. São sete afirmações. Vamos medir as
# sete, com um modelo que treina em segundos: TF-IDF mais um classificador linear.
#
# Duas tarefas. Na **fácil**, o título diz a categoria do produto. Na **difícil**, a resenha diz o sentimento, e o "mas" vira tudo do avesso.

# %%
from afina.data.synthetic import parse_title

categories = pd.DataFrame({"text": products["title"].unique()})
categories["label"] = [
    getattr(parse_title(title), "category", None) for title in categories["text"]
]
categories = categories.dropna().reset_index(drop=True)
easy_train, easy_test = categories[:10_000], categories[10_000:]
print(
    f"{len(easy_train)} para treinar, {len(easy_test)} para medir, {categories['label'].nunique()} categorias"
)
categories.head(3)

# %%
hard_train, hard_test = train_reviews, reviews[reviews["split"] == "validation"]
hard_train[["text", "label"]].head(3)

# %% [markdown]
# Uma função treina com as `n` primeiras linhas e devolve três números: acerto no treino, acerto nos dados separados e segundos.

# %%
import time

from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC


def fit_and_score(train, test, n, strength=1.0, words=2):
    """(train accuracy, held-out accuracy, seconds) of n rows; small `strength`, strong regularization."""
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, words)), LinearSVC(C=strength, random_state=0)
    )
    start = time.perf_counter()
    model.fit(train["text"][:n], train["label"][:n])
    seconds = time.perf_counter() - start
    seen = model.score(train["text"][:n], train["label"][:n])
    return seen, model.score(test["text"], test["label"]), seconds


# %% [markdown]
# ### 6.1 Acurácia: mais dados, mais acerto?

# %%
sizes = [50, 100, 300, 1000, 3000, 10_000]
easy = {n: fit_and_score(easy_train, easy_test, n) for n in sizes}
hard = {n: fit_and_score(hard_train, hard_test, n) for n in [50, 100, 300, 1000, 3000, 6000]}
for name, curve in (("fácil", easy), ("difícil", hard)):
    print(f"{name:<8}", {n: f"{test:.2f}" for n, (_, test, _) in curve.items()})
assert easy[10_000][1] > easy[50][1] + 0.3 and hard[6000][1] > hard[50][1] + 0.15

# %%
fig, ax = figure(height=3.4)
for name, curve in (
    ("fácil: categoria pelo título", easy),
    ("difícil: sentimento da resenha", hard),
):
    marker = "o-" if curve is easy else "s--"
    ax.plot(list(curve), [test for _, test, _ in curve.values()], marker, label=name)
ax.set(
    xscale="log",
    title="Mais dados ajudam, mas cada tarefa tem seu ritmo",
    xlabel="exemplos de treino",
    ylabel="acerto, dados separados",
)
ax.set(ylim=(0, 1.05))
ax.legend()
show(
    fig,
    alt="Duas curvas de aprendizado. A da tarefa fácil sobe depressa até perto de 1 com mil exemplos "
    "e para. A da difícil parte do acaso, um terço, e ainda sobe com seis mil.",
)

# %% [markdown] id="curve"
# **Sim, e não igual para todos.** A tarefa fácil se esgota em mil exemplos: os nove mil seguintes não compram nada. A difícil mal começou.
# Antes de pedir mais dados, desenhe esta curva: ela diz se vale a pena.
#
# ### 6.2 Sobreajuste: poucos dados, o modelo decora?
#
# Para ver bem, sujamos 40 % dos rótulos de treino da tarefa fácil, como faria um anotador cansado. O teste fica limpo.

# %%
rng = np.random.default_rng(rt.seed)
noisy_train = easy_train.copy()
wrong = rng.random(len(noisy_train)) < 0.4
noisy_train.loc[wrong, "label"] = rng.choice(categories["label"].unique(), wrong.sum())

memorized = {n: fit_and_score(noisy_train, easy_test, n, strength=10, words=1) for n in sizes[1:]}
for n, (train, test, _) in memorized.items():
    print(
        f"{n:>6} exemplos: treino {train:.2f}, separados {test:.2f}, distância {train - test:+.2f}"
    )
assert memorized[300][0] - memorized[300][1] > 0.2 > memorized[10_000][0] - memorized[10_000][1]

# %% [markdown] id="overfitting"
# **Sim.** Com 300 exemplos ele acerta todos os do treino, inclusive os rótulos errados: decorou, e fora acerta a metade. A distância entre as
# duas colunas é o sobreajuste. Com dez mil já não consegue decorar: erra no treino os rótulos que estão errados, e por isso
# mesmo acerta mais fora do que dentro.
#
# ### 6.3 Subajuste: dados demais atrapalham?
#
# Agora a tarefa difícil com um modelo simples demais, que vê palavras soltas e muito regularizadas:

# %%
simple = {n: fit_and_score(hard_train, hard_test, n, strength=0.1, words=1) for n in hard}
for n, (train, test, _) in simple.items():
    print(f"{n:>6} exemplos: treino {train:.2f}, separados {test:.2f}")
assert simple[6000][0] < simple[50][0] and simple[6000][1] > simple[50][1]

# %% [markdown]
# **Não.** O acerto no treino cai, porque já não dá para decorar, mas o acerto fora *sobe*. O que você vê é um modelo pobre demais para a
# tarefa: é o subajuste, e o remédio é um modelo melhor, não menos dados. Os pares de palavras da 6.1 já ajudam. Com 6000
# exemplos, fora do treino:

# %%
print(f"palavras soltas {simple[6000][1]:.2f}, com pares de palavras {hard[6000][1]:.2f}")
assert hard[6000][1] > simple[6000][1]

# %% [markdown]
# As duas doenças, lado a lado. À esquerda o treino está perfeito e o resto não; à direita nem o treino vai bem:

# %%
fig, axes = figure(height=3.2, columns=2, sharey=True)
for ax, title, curve in zip(
    axes, ("Decorou (sobreajuste)", "Não alcança (subajuste)"), (memorized, simple), strict=True
):
    ax.plot(list(curve), [train for train, _, _ in curve.values()], "s--", label="treino")
    ax.plot(list(curve), [test for _, test, _ in curve.values()], "o-", label="separados")
    ax.set(xscale="log", title=title, xlabel="exemplos de treino", ylim=(0, 1.05))
axes[0].set(ylabel="acerto")
axes[0].legend(loc="lower left")
show(
    fig,
    alt="Dois gráficos de acerto por quantidade de dados. No sobreajuste o treino fica em 1 e os dados "
    "separados bem abaixo, até dez mil exemplos. No subajuste o treino desce e os separados sobem "
    "pouco: as duas curvas se aproximam perto de 0,5.",
)

# %% [markdown]
# ### 6.4 e 6.5 Tempo e custo: quanto mais caro?
#
# Medimos segundos de treino e o tamanho da matriz TF-IDF em memória.


# %%
# NBVAL_IGNORE_OUTPUT
def matrix_megabytes(n):
    matrix = TfidfVectorizer(ngram_range=(1, 2)).fit_transform(easy_train["text"][:n])
    return (matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes) / 1e6


seconds = [min(fit_and_score(easy_train, easy_test, n)[2] for _ in range(3)) for n in sizes[2:]]
megabytes = [matrix_megabytes(n) for n in sizes[2:]]
growth = np.polyfit(np.log(sizes[2:]), np.log(megabytes), 1)[0]
for n, s, mb in zip(sizes[2:], seconds, megabytes, strict=True):
    print(f"{n:>6} exemplos: {s:.3f} s, {mb:.2f} MB")
print(f"memória cresce com n elevado a {growth:.2f}")

# %%
assert seconds[-1] > 3 * seconds[0] and 0.9 < growth < 1.1
fig, (left, right) = figure(height=2.8, columns=2)
left.plot(sizes[2:], seconds, "o-")
left.set(title="Tempo de treino", xlabel="exemplos", ylabel="segundos", ylim=(0, None))
right.plot(sizes[2:], megabytes, "o-", color=ORANGE)
right.set(title="Memória da matriz", xlabel="exemplos", ylabel="MB", ylim=(0, None))
show(
    fig,
    alt="Dois gráficos: o tempo de treino e a memória da matriz crescem com o número de exemplos, "
    "a memória em linha reta.",
)

# %% [markdown]
# **Sim, os dois.** A memória cresce em linha reta com os exemplos, e o tempo acompanha. Em um modelo de linguagem é igual: o dobro de tokens,
# o dobro da conta. Volte à 6.1: na tarefa fácil, os últimos nove mil exemplos só compraram espera.
#
# ### 6.6 Regularização: com poucos dados, freio mais forte?
#
# A regularização é um freio contra decorar. Nos rótulos sujos, variamos o freio (`C` pequeno = freio forte) e a quantidade.

# %%
strengths = [0.01, 0.1, 1, 10]
noisy_sizes = [300, 1000, 3000, 10_000]
grid = pd.DataFrame(
    {
        n: [fit_and_score(noisy_train, easy_test, n, strength=c, words=1)[1] for c in strengths]
        for n in noisy_sizes
    },
    index=pd.Index(strengths, name="C"),
)
grid.round(2)

# %%
fig, ax = figure(height=3.2)
for c, marker in zip(strengths, ("o-", "s--", "^:", "D-."), strict=True):
    ax.plot(noisy_sizes, grid.loc[c], marker, label=f"C = {c}".replace(".", ","))
ax.set(
    xscale="log",
    title="O freio certo vale mais quando há poucos dados",
    xlabel="exemplos de treino, 40 % errados",
)
ax.set(ylabel="acerto, dados separados", ylim=(0, 1.05))
ax.legend()
show(
    fig,
    alt="Acerto em dados separados para quatro forças de regularização. Com mil exemplos, o freio "
    "fraco perde mais de vinte pontos para o forte; com dez mil, as curvas se aproximam de 1.",
)

# %% [markdown]
# **Sim.** Com mil exemplos, tirar o freio (`C = 10`) custa mais de vinte pontos. Com dez mil, custa menos da metade disso: os dados em
# quantidade já são um freio. Freio demais também atrapalha: veja `C = 0,01` com 300 exemplos.

# %%
cost_of_no_brake = grid.max() - grid.loc[10]
print(cost_of_no_brake.round(2).to_dict())
assert cost_of_no_brake[1000] > 0.2 and cost_of_no_brake[10_000] < 0.5 * cost_of_no_brake[1000]

# %% [markdown]
# ### 6.7 Hiperparâmetros: com poucos dados, mais cuidado?
#
# `C` é um hiperparâmetro: um botão que o treino não aprende, e que se escolhe na validação. Qual é o preço de escolher mal?

# %%
price = grid.max() - grid.min()
for n in noisy_sizes:
    print(f"{n:>6} exemplos: do pior ao melhor C há {price[n]:.2f}; o melhor é {grid[n].idxmax()}")
assert price[10_000] < price[1000]

# %%
fig, ax = figure(height=2.6)
bars = ax.bar([str(n) for n in noisy_sizes], price)
ax.bar_label(bars, [f"{p:.2f}".replace(".", ",") for p in price], padding=3)
ax.grid(visible=False, axis="x")
ax.set(
    title="Quanto se perde com o pior botão", xlabel="exemplos de treino", ylabel="acerto perdido"
)
ax.set(ylim=(0, 0.42))
show(
    fig,
    alt=f"Barras com a distância entre o pior e o melhor C: {price.round(2).to_dict()}. "
    "Com dez mil exemplos ela é a menor.",
)

# %% [markdown]
# **Sim, aqui.** Com muitos dados quase qualquer botão serve; com poucos, a escolha pesa, e a validação, que também é pequena, ajuda menos. Esta
# medida vale para este modelo e esta sujeira. O hábito é que vale sempre: desenhe a curva antes de acreditar na frase.

# %% [markdown]
# ## Sua vez
#
# **1.** Uma regra nova: nos títulos, números de página como `p. 12` não interessam. Escreva `drop_pages(text)`, que troca cada `p. 12` (com ou sem
# espaço) por nada. Dica: `re.sub`.


# %%
def drop_pages(text):
    return ...


# %%
from afina.teach.check import check

cases = {
    "Guia p. 12 de bolso": "Guia  de bolso",
    "p.7": "",
    "top. 5": "top. 5",
    "sem página": "sem página",
}
wrong_case = next((case for case in cases if drop_pages(case) != cases[case]), None)
check(
    drop_pages("x"),
    lambda _: (
        wrong_case is None
        or f"{wrong_case!r} deveria dar {cases[wrong_case]!r}, e deu {drop_pages(wrong_case)!r}"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `return re.sub(r"\bp\. ?\d+", "", text)`. O `\b` protege "top. 5": ali o `p` não começa uma palavra.
#
# </details>
#
# **2.** Quantos produtos o motor teria aproveitado se *não* removesse repetidas? Use o `report`.

# %%
kept_with_duplicates = ...

# %%
check(
    kept_with_duplicates,
    lambda n: n == report.kept + report.dropped["duplicate"] or "some as repetidas: report.dropped",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `kept_with_duplicates = report.kept + report.dropped["duplicate"]`
#
# </details>
#
# **3.** A curva da tarefa difícil ainda subia com 6000 exemplos. Com que `n` o modelo de pares passou de 50 % de acerto? Responda com um dos
# tamanhos de `hard`.

# %%
first_above_half = ...

# %%
check(
    first_above_half,
    lambda n: (
        n == min(k for k in hard if hard[k][1] > 0.5)
        or f"com {n} exemplos o acerto foi {hard.get(n, (0, 0))[1]:.2f}"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `first_above_half = min(n for n in hard if hard[n][1] > 0.5)`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Olhe antes de limpar, e conte tudo o que descartar, por motivo.
# - As regras moram em um lugar só; o notebook e o motor usam as mesmas.
# - Divida pelo hash do título: nada vaza e nada muda de lugar.
# - Stop words se tiram de contagens, não de modelos de linguagem.
# - A curva de aprendizado diz se mais dados valem a pena.

# %% [markdown]
# ## Quiz
#
# Responda com o mouse ou com o teclado (Tab anda, Enter responde). Cada opção, certa ou errada, explica o seu porquê.

# %%
from afina.teach.quiz import quiz

quiz("02")

# %% [markdown]
# {{quiz 02}}

# %% [markdown]
# ## Próximo passo
#
# [03 · Montar o JSONL](03_jsonl_building.ipynb): as linhas limpas viram conversas, no formato que os serviços de *fine-tuning* pedem.
