# %% [markdown] id="cover"
# # 01 · Conceitos centrais
#
# Seis ideias sustentam todo modelo de linguagem. Aqui cada uma vira um desenho, um experimento de segundos e um uso prático.
#
# **Ao final você vai saber**
#
# - explicar pré-treino, embeddings, transferência, atenção, transformer e ajuste fino, e mostrar cada um funcionando
# - calcular quanta memória um modelo pede, só com o número de parâmetros
# - decidir entre prompt, RAG e fine-tuning, e entre ajuste completo, LoRA e adapters
# - situar BERT, GPT, Llama e companhia em uma tabela só
# - comparar onde se ajusta um modelo na nuvem, com datas
#
# **Antes desta aula**: [00 · Comece aqui](00_start_here.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="pretraining"
# ## 1. Pré-treino: aprender lendo
#
# O ***pre-training*** (pré-treino) ensina a língua a um modelo sem que ninguém escreva respostas. Tira-se um pedaço de um texto, o modelo adivinha, e a
# resposta certa está no próprio texto. Repetido em bilhões de pedaços, o jogo obriga o modelo a aprender gramática, assunto e fatos. Como o texto é seu
# próprio gabarito, chama-se aprendizado **autossupervisionado**.
#
# **Na prática:** o teclado do celular que sugere a próxima palavra joga este jogo. Os LLMs também, com trilhões de palavras.

# %%
from afina.teach import figures
from afina.teach.figures import PALETTE, figure, show

show(figures.pretraining(), alt=figures.PRETRAINING_ALT)

# %% [markdown]
# O menor pré-treino possível é **contar**. Lemos o livrinho do curso e anotamos, para cada palavra, quais vêm depois dela. Pronto: é um modelo de
# linguagem, que continua qualquer começo com a palavra que mais viu em seguida.

# %%
import gzip
import re


def read(name):
    """The documents of one prose file, each a list of words and punctuation."""
    text = gzip.open(rt.data / name, "rt", encoding="utf-8").read()
    return [re.findall(r"\w+|[^\w\s]", document) for document in text.strip().split("\n\n")]


book, held_out = read("prose_train.txt.gz"), read("prose_validation.txt.gz")
print(len(book), "documentos; o segundo começa:", *book[1][:9])

# %%
from collections import Counter, defaultdict
from itertools import pairwise

after = defaultdict(Counter)  # after["joga"]["no"]: how often "no" follows "joga"
for words in book:
    for word, following in pairwise(words):
        after[word][following] += 1
print(*[f"{w} → {after[w].most_common(3)}" for w in ("joga", "Estádio", "custa")], sep="\n")

# %%
text = ["Onde"]
while len(text) < 7:
    text.append(after[text[-1]].most_common(1)[0][0])
print(" ".join(text))

# %% [markdown]
# Parece português, e o lugar não existe: o modelo só enxerga uma palavra para trás. Quanto vale enxergar mais? Medimos em textos **separados**, que não
# entraram na conta, em quatro jogos. O último é o do BERT: a palavra do **meio**, vendo um vizinho de cada lado.

# %%
contexts = {  # where to look, seen from the hidden word
    "sem contexto": [],
    "a palavra anterior": [-1],
    "as duas anteriores": [-2, -1],
    "um vizinho de cada lado": [-1, 1],
}


def hidden_words(documents, offsets):
    """(context, word) of every word that has two before it and one after."""
    for words in documents:
        for i in range(2, len(words) - 1):
            yield tuple(words[i + offset] for offset in offsets), words[i]


# %%
accuracy = {}
for name, offsets in contexts.items():
    seen = defaultdict(Counter)
    for context, word in hidden_words(book, offsets):
        seen[context][word] += 1
    best = {context: counts.most_common(1)[0][0] for context, counts in seen.items()}
    hits = [best.get(context) == word for context, word in hidden_words(held_out, offsets)]
    accuracy[name] = sum(hits) / len(hits)
    print(f"{name:<24} acerta {accuracy[name]:.0%}")
assert sorted(accuracy.values()) == list(accuracy.values())

# %% [markdown]
# O acerto sobe a cada pedaço de contexto, sem rótulo nenhum. Contar para por aí: com dez palavras, quase todo contexto é inédito. Uma rede neural vai
# além porque aprende **semelhanças** em vez de decorar. É a próxima parte.

# %% [markdown] id="embeddings"
# ## 2. Embeddings: palavras viram pontos
#
# Um ***embedding*** (vetor de significado) é uma lista de números para cada palavra, ou texto. Palavras usadas do mesmo jeito ganham números parecidos:
# viram pontos próximos. Assim, o que o modelo aprende sobre "bateria" serve, de graça, para "tela".
#
# **Na prática:** busca por sentido, recomendação, achar textos repetidos. E é a porta de entrada de todo LLM.

# %%
show(figures.embedding(), alt=figures.EMBEDDING_ALT)

# %% [markdown]
# De onde vêm os números? De "diga-me com quem andas". Pegamos 12 mil resenhas de produtos **sem rótulo**, contamos que palavras aparecem juntas e
# fazemos duas contas:
#
# 1. **PPMI**, `max(0, log(p(a, b) / (p(a) · p(b))))`: quanto duas palavras andam juntas *além do acaso*. Sem isso, "a" e "de" seriam amigas de todo
#    mundo.
# 2. **SVD**: resume cada linha de 394 números em 32, guardando o que mais distingue uma palavra de outra.
#
# O produto de dois vetores de comprimento 1 é o **cosseno**: 1 é a mesma direção, 0 é nada em comum. Com ele se vê quem mora perto de quem.

# %%
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer

reviews = pd.read_json(rt.data / "reviews.jsonl.gz", lines=True)
counter = CountVectorizer(token_pattern=r"\w+", binary=True)
presence = counter.fit_transform(reviews.loc[reviews["split"] == "unlabelled", "text"])
index = counter.vocabulary_
together = (presence.T @ presence).toarray().astype(float)  # (words, words)
np.fill_diagonal(together, 0)

# %%
joint = together / together.sum()
alone = joint.sum(axis=1)
with np.errstate(divide="ignore"):  # log(0): words that were never together
    ppmi = np.maximum(0, np.log(joint / np.outer(alone, alone)))

# %%
u, s, _ = np.linalg.svd(ppmi)
embeddings = u[:, :32] * s[:32]
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)  # length 1: product = cosine
print(f"{presence.shape[0]} resenhas: de {ppmi.shape} para {embeddings.shape}")
assert ppmi.shape == (394, 394)


# %%
def neighbours(word, n=5):
    """The n words nearest to `word`."""
    nearest = np.argsort(-(embeddings @ embeddings[index[word]]))[1 : n + 1]
    return [counter.get_feature_names_out()[i] for i in nearest]


for word in ("bateria", "cafeteira", "trivial", "excelente"):
    print(f"{word:<10}", neighbours(word))
assert {"tela", "câmera"} <= set(neighbours("bateria"))
assert {"lamentável", "abominável"} & set(neighbours("excelente"))

# %% [markdown]
# Ninguém disse ao programa que celular tem bateria, tela e câmera. Mas repare nos vizinhos de "excelente": há **opostos**! Para quem só olha a
# companhia, "é excelente" e "é lamentável" são usos iguais. Outro limite: há **um** vetor por palavra, e "banco" de praça e "banco" de dinheiro dividem
# o mesmo. A atenção, na parte 4, dá a cada palavra um vetor *em cada frase*.
#
# Agora o mapa. Ninguém vê 32 dimensões; a **PCA** procura o ângulo em que cinco produtos mais se distinguem e fotografa dali as peças de cada um.

# %%
from sklearn.decomposition import PCA

parts = {
    "celular": ["bateria", "tela", "câmera", "som"],
    "cafeteira": ["jarra", "filtro", "aroma", "acabamento"],
    "bicicleta": ["selim", "freios", "câmbio", "pintura", "corrente"],
    "barraca": ["lona", "varetas", "montagem", "ventilação", "janela"],
    "mochila": ["zíper", "tecido", "costura", "alças", "bolsos"],
}
points = {name: embeddings[[index[part] for part in words]] for name, words in parts.items()}
camera = PCA(2).fit([group.mean(axis=0) for group in points.values()])

# %%
fig, ax = figure(height=3.4)
fig.set_label("flat")
for (name, group), color, marker in zip(points.items(), PALETTE, "os^Dv", strict=False):
    ax.scatter(*camera.transform(group).T, color=color, marker=marker, s=45, label=name)
ax.set(title="As peças de um produto tendem a ficar juntas", xticks=[], yticks=[])
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
show(
    fig,
    alt="Mapa em duas dimensões dos embeddings de 23 peças de cinco produtos: as do mesmo produto "
    "ficam próximas, e os grupos, na maioria, separados.",
)

# %% [markdown]
# O olho aprova. A conta, com as 32 dimensões, também: o cosseno médio dentro de um produto, contra o de produtos diferentes.

# %%
inside = np.mean([(g @ g.T)[np.triu_indices(len(g), 1)].mean() for g in points.values()])
across = np.mean([(points[a] @ points[b].T).mean() for a in points for b in points if a < b])
print(f"mesmo produto: {inside:.2f}; produtos diferentes: {across:.2f}")
bateria, tela, _, som = points["celular"]
assert (
    inside > 0.8 and across < 0.4 and bateria @ tela > bateria @ som
)  # feminine, feminine, masculine

# %% [markdown]
# O que se afasta do seu grupo (som, jarra, varetas) difere no gênero ou no número: para esta conta, "bonito" e "bonita" são palavras diferentes.

# %% [markdown] id="transfer"
# ## 3. Transferência: aprender uma vez, usar muitas
#
# ***Transfer learning*** (transferência) é começar uma tarefa com o que se aprendeu em outra. O pré-treino é caro e se faz uma vez; cada tarefa nova
# parte dele e pede poucos exemplos.
#
# **Na prática:** uma loja quer separar mensagens por assunto e tem trinta rotuladas. Ela não treina um modelo de linguagem: pega um pronto e ensina só
# a última parte.

# %%
show(figures.transfer(), alt=figures.TRANSFER_ALT)

# %% [markdown]
# Vamos medir. A tarefa: dizer **de qual dos 12 produtos** a resenha fala, com o nome apagado. O mesmo classificador, duas entradas: as palavras cruas
# (sem transferência) e a média dos embeddings que acabamos de aprender sem rótulos, em que as palavras raras pesam mais.

# %%
PRODUCTS = (
    "mochila|celular|cafeteira|tênis|barraca|cadeira|"
    "panela|fone|luminária|jaqueta|bicicleta|colchão"
)
named = reviews[reviews["split"] == "train"].copy()
named["product"] = named["text"].str.lower().str.extract(rf"\b({PRODUCTS})\b", expand=False)
named["text"] = named["text"].str.replace(rf"(?i)\b({PRODUCTS})\b", "produto", regex=True)
named = named.dropna(subset="product").reset_index(drop=True)
pool, test = named[:2500], named[2500:]
named[["text", "product"]].head(3)

# %%
rarity = np.log(presence.shape[0] / np.asarray(presence.sum(axis=0)).ravel())  # (words,)


def embed(texts):
    """(texts, 32): mean of the word embeddings, rare words heavier, length 1."""
    vectors = counter.transform(texts).multiply(rarity) @ embeddings
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# %% [markdown]
# Damos `k` exemplos rotulados de cada produto e medimos em resenhas separadas. Como um sorteio pequeno engana, repetimos cinco vezes.

# %%
from sklearn.linear_model import LogisticRegression


def mean_accuracy(k, features):
    """Held-out accuracy with k labelled reviews of each product, mean of five draws."""
    scores, test_features = [], features(test["text"])
    for draw in range(5):
        few = pool.groupby("product").sample(k, random_state=draw)
        model = LogisticRegression(C=10, max_iter=500).fit(features(few["text"]), few["product"])
        scores.append(model.score(test_features, test["product"]))
    return np.mean(scores)


# %%
shots = [1, 2, 5, 10, 50]
without = [mean_accuracy(k, counter.transform) for k in shots]
with_it = [mean_accuracy(k, embed) for k in shots]
assert min(np.subtract(with_it, without)[:3]) > 0.2 and with_it[1] > 2 * without[1]
assert without[-1] > with_it[-1]  # with 50 labels a product, it no longer helps
pd.DataFrame([without, with_it], ["sem transferência", "com transferência"], shots).round(3)

# %%
fig, ax = figure(height=2.6)
fig.set_label("flat")  # few colours, few bytes
ax.plot(shots, with_it, "o-", label="com transferência")
ax.plot(shots, without, "s--", label="sem transferência")
ax.set(title="Com poucos rótulos, a transferência decide", xlabel="exemplos por produto")
ax.set(ylabel="acerto, dados separados", ylim=(0, 1.05))
ax.legend()
show(
    fig,
    alt="Acerto em dados separados por exemplos de cada produto. Com um a cinco, a transferência "
    "fica mais de vinte pontos acima; com cinquenta, as duas linhas chegam perto de 1.",
)

# %% [markdown]
# Com dois exemplos por produto, o acerto mais que dobra. E repare no fim da curva: com **cinquenta**, as palavras cruas passam à frente, porque resumir
# em 32 números joga algo fora. Transferência rende quando faltam rótulos; quando sobram, meça antes.

# %% [markdown] id="attention"
# ## 4. Atenção: cada palavra consulta as outras
#
# "Sentei no banco perto do rio." Que banco? A palavra "rio" responde. A ***attention*** (atenção) faz essa consulta com números: cada token olha os
# outros, decide quanto cada um importa para ele e mistura o que eles têm a dizer. Cada token tem três papéis:
#
# - a **consulta** (*query*): o que procuro?
# - a **chave** (*key*): o que ofereço a quem procura?
# - o **valor** (*value*): o que entrego a quem me escolhe?
#
# **Na prática:** em "A caixa não coube na mochila porque ela era grande", é por esse mecanismo que "ela" pode encontrar "caixa". Tradução, resumo e
# chat dependem disso.
#
# Façamos à mão. Dois números por token: quanto ele fala de *água* e quanto de *dinheiro*. "banco" está em cima do muro.

# %%
import torch

meanings = {"banco": [1.0, 1.0], "perto": [0.0, 0.0], "rio": [2.0, 0.0], "juros": [0.0, 2.0]}
tokens = ["banco", "perto", "rio"]
x = torch.tensor([meanings[token] for token in tokens])  # (tokens, d)

# %%
scores = torch.empty(3, 3)
for i, query in enumerate(x):
    for j, key in enumerate(x):
        scores[i, j] = query @ key / 2**0.5  # the square root of d
scores.round(decimals=2)

# %% [markdown]
# Cada **nota** é consulta · chave, dividida por `√d` para que vetores longos não gritem. A *softmax* transforma as notas de cada linha em **pesos**
# positivos que somam 1: `peso_j = exp(nota_j) / soma de exp(nota)`. O desenho usa os pesos que você acaba de calcular:

# %%
weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
assert torch.allclose(weights, torch.softmax(scores, dim=1))

row = weights[0].tolist()
show(figures.attention(tokens, row), alt=figures.attention_alt(tokens, row))

# %% [markdown]
# E o mapa mostra as três linhas, cada uma um token consultando os três:

# %%
show(
    figures.heat_map(
        weights.tolist(), tokens, "Pesos da atenção", "token olhado", "token que olha"
    ),
    alt="Mapa de calor três por três dos pesos entre banco, perto e rio. Banco divide o seu entre si "
    "e rio; perto olha os três por igual; rio olha mais a si mesmo. Cada linha soma 1.",
)

# %% [markdown]
# Falta misturar os **valores** nesses pesos. Fazemos com um laço, com matrizes e com a função da biblioteca. As três contas têm de dar o mesmo:

# %%
by_loop = torch.stack([sum(w * value for w, value in zip(row, x, strict=True)) for row in weights])
by_matrices = torch.softmax(x @ x.T / 2**0.5, dim=1) @ x
by_library = torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None])[0]
assert torch.allclose(by_loop, by_matrices) and torch.allclose(by_loop, by_library)
print("laço = matrizes = F.scaled_dot_product_attention")

# %% [markdown]
# Funcionou? "banco" entrou como (1, 1), metade água, metade dinheiro. Veja como sai, perto de "rio" e perto de "juros":

# %%
for words in (["banco", "perto", "rio"], ["banco", "perto", "juros"]):
    x = torch.tensor([meanings[word] for word in words])
    water, money = (torch.softmax(x @ x.T / 2**0.5, dim=1) @ x)[0].tolist()
    print(f"{' '.join(words):<18} banco: água {water:.2f}, dinheiro {money:.2f}")
    assert (water > money) == ("rio" in words)

# %% [markdown]
# A mesma palavra, dois vetores: o contexto entrou nela. Em um modelo de verdade, consulta, chave e valor não são o próprio `x`, e sim três versões dele
# (`x @ W_q`, `x @ W_k`, `x @ W_v`), e as três matrizes são aprendidas. Várias atenções lado a lado, as **cabeças**, procuram coisas diferentes. Cuidado
# com uma leitura apressada: um peso alto mostra de onde veio informação, não *por que* o modelo decidiu.
#
# Modelos que escrevem, como o GPT, não podem espiar o futuro. A **máscara causal** apaga as notas dos tokens que ainda não vieram:

# %%
future = torch.triu(torch.ones(3, 3, dtype=torch.bool), diagonal=1)
causal = torch.softmax((x @ x.T / 2**0.5).masked_fill(future, -torch.inf), dim=1)
print(causal.round(decimals=2))
masked = torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True)
assert torch.allclose(causal @ x, masked[0])

# %% [markdown] id="transformer"
# ## 5. Transformer: atenção em blocos
#
# O **transformer** (2017) empilha blocos iguais. Cada bloco tem dois passos: a atenção, em que os tokens trocam informação, e uma rede *feed-forward*,
# em que cada token pensa sozinho. Cada passo **soma** seu resultado ao que entrou, pelo atalho (*residual*), e uma normalização mantém os números em
# uma faixa boa.
#
# **Na prática:** as redes recorrentes liam uma palavra por vez. O transformer processa todas as do treino ao mesmo tempo, e foi isso que tornou
# possível treinar com trilhões de palavras em GPUs.

# %%
show(figures.transformer(), alt=figures.TRANSFORMER_ALT)

# %% [markdown]
# Vamos por dentro de um bloco pronto do PyTorch, com 2 frases de 5 tokens e 32 números por token:

# %%
d = 32
settings = {"dim_feedforward": 4 * d, "dropout": 0, "batch_first": True, "norm_first": True}
block = torch.nn.TransformerEncoderLayer(d, nhead=4, **settings).eval()
x = torch.randn(2, 5, d)  # (batch, tokens, d)

# %%
normed = block.norm1(x)
mixed, maps = block.self_attn(normed, normed, normed, average_attn_weights=False)
middle = x + mixed  # the first shortcut
hidden = torch.relu(block.linear1(block.norm2(middle)))
result = middle + block.linear2(hidden)  # the second shortcut
assert torch.allclose(result, block(x), atol=1e-6)

for name, tensor in {"entra": x, "mapas": maps, "feed-forward": hidden, "sai": result}.items():
    print(f"{name:<13} {tuple(tensor.shape)}")

# %% [markdown]
# A asserção prova que os passos foram esses, e só esses. Leia as formas:
#
# | tensor | forma | por quê |
# | --- | --- | --- |
# | entra e sai | (lote, tokens, 32) | mesma forma: por isso os blocos se empilham |
# | mapas | (lote, 4 cabeças, tokens, tokens) | cada token contra cada token |
# | feed-forward | (lote, tokens, 128) | abre quatro vezes, decide, fecha |
#
# Os parâmetros não dependem do tamanho do texto. Os mapas, sim: o dobro de tokens, o **quádruplo** de pares.

# %%
exact = 12 * d**2 + 13 * d  # matrices; then biases and norms
assert sum(p.numel() for p in block.parameters()) == exact
print(f"parâmetros do bloco: {exact}, perto de 12 · d² = {12 * d**2}")
print("pares de tokens:", {tokens: tokens**2 for tokens in (1000, 2000, 4000)})

# %% [markdown]
# Falta a **posição**. A atenção olha um conjunto, não uma fila: embaralhe os tokens, e a saída vem embaralhada do mesmo jeito, com os mesmos números.
# Para ela, "o cão mordeu o homem" e "o homem mordeu o cão" seriam iguais. Por isso soma-se a cada embedding um vetor que diz o lugar (ou, como no
# Llama, giram-se consulta e chave conforme o lugar).

# %%
order, place = torch.tensor([3, 0, 4, 1, 2]), torch.randn(5, d)
assert torch.allclose(block(x)[:, order], block(x[:, order]), atol=1e-5)
assert not torch.allclose(block(x + place)[:, order], block(x[:, order] + place), atol=1e-2)
print("sem posição a ordem não conta; com posição, conta")

# %% [markdown]
# ### Quem vê quem
#
# O mesmo bloco dá duas famílias, conforme a máscara. O **encoder** (codificador) vê os dois lados: bom para **entender**, classificar, achar nomes. O
# **decoder** (decodificador) vê só o passado: bom para **escrever**, conversar, resumir. No **encoder-decoder**, um lê e o outro escreve: é o
# transformer original, feito para tradução.

# %%
show(figures.stacks(), alt=figures.STACKS_ALT)

# %% [markdown] id="fine-tuning"
# ## 6. Fine-tuning: continuar o treino
#
# ***Fine-tuning*** (ajuste fino) é continuar o treino de um modelo pronto, com poucos exemplos da *sua* tarefa. Não se começa outro modelo: são os
# mesmos pesos, empurrados um pouco. Mesma conta, mesma perda, dados novos e passos menores.
#
# **Na prática:** um modelo geral que passa a responder no tom da sua loja, a devolver sempre JSON, a classificar contratos com as categorias da sua
# empresa.

# %%
show(figures.fine_tuning(), alt=figures.FINE_TUNING_ALT)

# %% [markdown]
# O experimento junta tudo o que você viu. Um GPT pequeno é pré-treinado no livrinho **sem** os diálogos de loja. Depois recebe só **20** diálogos. A
# prova são diálogos separados, que nenhum treino viu. Cada palavra é um token, e `<fim>` fecha cada documento. O treino são os quatro passos da aula
# 00.

# %%
number = {w: i for i, w in enumerate(["<fim>", *sorted({w for words in book for w in words})])}


def encode(documents, shop):
    """The documents that are (or are not) shop dialogues, as one long tensor of numbers."""
    chosen = [words for words in documents if (words[:3] == ["—", "Bom", "dia"]) == shop]
    return torch.tensor([number.get(word, 0) for words in chosen for word in [*words, "<fim>"]])


prose, prose_test = encode(book, shop=False), encode(held_out, shop=False)
dialogues, dialogues_test = encode(book, shop=True), encode(held_out, shop=True)
twenty = dialogues[: (dialogues == 0).nonzero()[19] + 1]
print(f"pré-treino: {len(prose)} palavras; ajuste: {len(twenty)}; prova: {len(dialogues_test)}")

# %%
from transformers import GPT2Config, GPT2LMHeadModel

size = {"vocab_size": len(number), "n_positions": 48, "n_embd": 96, "n_layer": 2, "n_head": 4}
config = GPT2Config(**size, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False)


def loss_on(model, windows):
    """Mean cross-entropy, nats a word, of (batch, 48) windows: each word against its prediction."""
    logits = model(windows.to(rt.device)).logits[:, :-1]
    targets = windows[:, 1:].to(rt.device)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.no_grad()
def test_loss(model, ids):
    """Loss on `ids`, cut into windows of 48, at most 100 of them."""
    model.eval()
    return loss_on(model, ids[: len(ids) // 48 * 48].view(-1, 48)[:100]).item()


# %%
def train(model, *sources, steps, learning_rate):
    """Train on windows drawn evenly from the sources; returns the dialogues' test loss every 20 steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    draw, history = torch.Generator().manual_seed(rt.seed), []
    for step in range(1, steps + 1):
        model.train()
        starts = [
            (ids, i)
            for ids in sources
            for i in torch.randint(len(ids) - 48, (24 // len(sources),), generator=draw)
        ]
        loss_on(model, torch.stack([ids[i : i + 48] for ids, i in starts])).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 20 == 0:
            history.append(test_loss(model, dialogues_test))
    return history


# %%
torch.set_num_threads(1)  # a model this small gains nothing from more
rt.seed_everything()
base = GPT2LMHeadModel(config).to(rt.device)
untrained = test_loss(base, prose_test)
train(base, prose, steps=300, learning_rate=4e-3)
print(
    f"perda na prosa: {untrained:.2f} antes, {test_loss(base, prose_test):.2f} depois do pré-treino"
)

# %% [markdown]
# Agora os dois caminhos, com os mesmos 20 diálogos. Ao modelo que começa do zero damos o dobro de passos e contamos o **melhor** momento dele: se
# perder assim, perdeu mesmo.

# %%
import copy

tuned, scratch = copy.deepcopy(base), GPT2LMHeadModel(config).to(rt.device)
tuned_losses = train(tuned, twenty, steps=100, learning_rate=2e-3)
scratch_losses = train(scratch, twenty, steps=200, learning_rate=4e-3)
before, zero, after_tuning = test_loss(base, dialogues_test), min(scratch_losses), tuned_losses[-1]

# %%
for name, loss in {"base, sem ajuste": before, "do zero": zero, "ajustado": after_tuning}.items():
    print(f"{name:<17} perda {loss:.2f} nos diálogos separados")
assert after_tuning < zero - 0.4 < before - 2
assert before > np.log(len(number)) - 1  # nearly a blind guess

# %% [markdown]
# A base sozinha vai quase tão mal quanto um chute entre todas as palavras, porque nunca viu um "Bom dia". O texto mostra o mesmo: cada modelo continua o
# mesmo começo.


# %%
def continue_text(model, beginning):
    """The likeliest 22 words after `beginning`."""
    ids = torch.tensor([[number[word] for word in beginning.split()]], device=rt.device)
    settings = {"max_new_tokens": 22, "do_sample": False, "pad_token_id": 0}
    out = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    return " ".join(list(number)[i] for i in out[0])


for name, model in {"base": base, "do zero": scratch, "ajustado": tuned}.items():
    print(f"{name:<9}{continue_text(model, '— Bom dia ! Você tem um livro')}\n")

# %% [markdown]
# ### O preço: esquecer
#
# O ajuste fino apaga o que havia antes? Medimos o modelo ajustado de volta na prosa. E um remédio: misturar aos diálogos, meio a meio, textos do
# pré-treino (*rehearsal*, ensaio).

# %%
rehearsed = copy.deepcopy(base)
train(rehearsed, twenty, prose, steps=100, learning_rate=2e-3)
models = {"base": base, "ajustado": tuned, "ajustado com ensaio": rehearsed}
losses = [[test_loss(m, prose_test), test_loss(m, dialogues_test)] for m in models.values()]
table = pd.DataFrame(losses, models, ["prosa", "diálogos"])
table.round(2)

# %%
forgot = table["prosa"]
assert forgot["base"] < forgot["ajustado"] < untrained - 2  # it forgets, but not everything
assert forgot["ajustado com ensaio"] < forgot["ajustado"] - 0.3
assert table["diálogos"]["ajustado com ensaio"] < zero
print(f"prosa: {untrained:.2f} com pesos sorteados, {forgot['ajustado']:.2f} depois do ajuste")

# %% [markdown]
# O ajustado piorou na prosa, mas continua longe dos pesos sorteados: **o ajuste fino muda o que o modelo sabia; não substitui tudo**. O ensaio conserva
# quase tudo e ainda aprende a tarefa. Passos menores, menos passos e LoRA (parte 9) também protegem.

# %% [markdown] id="sizes"
# ## 7. LLM e SLM: quanto pesa um modelo
#
# - **LLM** (*large language model*): modelo de linguagem grande.
# - **SLM** (*small language model*): modelo de linguagem pequeno.
#
# Não há fronteira oficial, e ela anda: o GPT-2 de 2019, "grande demais" na época, hoje é pequeno. Um critério útil: **SLM é o que roda e se ajusta em
# um computador comum ou em uma GPU só**, em geral até uns 10 bilhões de parâmetros. SLM não é LLM ruim: ajustado para uma tarefa, costuma bastar, custa
# menos e pode ficar em casa, com os seus dados.
#
# A conta da memória cabe em uma linha: `parâmetros × bytes por parâmetro`.

# %%
BYTES = {"fp32": 4, "bf16": 2, "int8": 1, "4 bits": 0.5}
billions = {"BERT base": 0.11, "TinyLlama": 1.1, "Llama 3.1 8B": 8.03, "Llama 3.3 70B": 70.6}
memory = pd.DataFrame({name: n * pd.Series(BYTES) for name, n in billions.items()}).T
memory.round(2)

# %% [markdown]
# São gigabytes, **só para guardar os pesos**. Treinar pede mais: com AdamW em fp32, cada parâmetro leva também um gradiente e dois números do
# otimizador, 16 bytes no total. O QLoRA guarda a base em 4 bits e treina só uma fração. Faltam as ativações, que crescem com o lote e o tamanho do
# texto: trate a tabela como o **mínimo**.
#
# Uma T4, a GPU gratuita do Colab, tem 16 GB: nem o TinyLlama cabe por inteiro em treino, e o Llama de 8 bilhões cabe em QLoRA. E se alguém disser que
# uma placa de 10 GB treina por inteiro um modelo de 4 bilhões de parâmetros, você já sabe fazer a conta: são 64 GB.

# %%
size = pd.Series({**billions, "um de 4 bilhões": 4.0})
training = pd.DataFrame(
    {"treino completo": 16 * size, "QLoRA, 1 % treinado": 0.5 * size + 0.16 * size}
)
assert training.loc["TinyLlama", "treino completo"] > 16 > training.loc["Llama 3.1 8B"].iloc[1]
full, qlora = training.loc["um de 4 bilhões"]
assert qlora < 10 < full
training.round(1)

# %% [markdown] id="when"
# ## 8. Quando ajustar, e quando não
#
# O ajuste fino é o mais caro dos remédios: pede dados, treino, avaliação e hospedagem. Tente antes os baratos.
#
# - ***Prompt***: peça melhor, dê exemplos no próprio pedido. Muda em minutos.
# - ***RAG*** (*retrieval-augmented generation*, geração apoiada em busca): procure o trecho certo nos seus documentos e cole-o no pedido. Serve para
#   **fatos**.
# - ***Fine-tuning***: mude os pesos. Serve para **comportamento**: formato, tom, uma classificação que é sua, ou um modelo menor que imita um maior.

# %%
show(figures.decision_tree(), alt=figures.DECISION_ALT)

# %% [markdown]
# A mesma árvore em texto:
#
# 1. **Você sabe medir se melhorou?** Não → monte a avaliação primeiro. Sem ela, tudo é palpite.
# 2. **Um bom prompt, com exemplos, já resolve?** Sim → fique nele.
# 3. **O que falta é um fato, ou um fato que muda?** Sim → RAG.
# 4. **O que falta é comportamento. Há algumas centenas de bons exemplos?** Não → junte-os no seu uso, revisados por gente.
# 5. Sim → **ajuste fino**. Comece por LoRA e compare sempre com o melhor prompt.
#
# As respostas se somam: um modelo ajustado para citar fontes, com RAG que traz as fontes. Veja por que fato pede busca. Um RAG mínimo, com os clubes do
# curso:

# %%
import json

from sklearn.feature_extraction.text import TfidfVectorizer

clubs = json.loads((rt.data / "clubes.json").read_text(encoding="utf-8"))
facts = [f"{c['nome']}: {c['estadio']}, {c['titulos_liga']} títulos da liga." for c in clubs]


# %%
def build_prompt(question):
    """The question with the most similar fact pasted before it."""
    vectors = TfidfVectorizer().fit_transform([*facts, question])
    best = (vectors[:-1] @ vectors[-1].T).toarray().argmax()
    return f"Use só este fato: {facts[best]}\nPergunta: {question}"


print(build_prompt("Quantos títulos tem o Porto?"))

# %% [markdown]
# Agora o fato muda: troca-se uma linha do arquivo, e o próximo pedido já a traz. Um modelo ajustado continuaria com o número velho até o próximo treino.

# %%
facts = [fact.replace("30 títulos", "31 títulos") for fact in facts]
print(build_prompt("Quantos títulos tem o Porto?"))
assert "31 títulos" in build_prompt("Quantos títulos tem o Porto?")

# %% [markdown] id="methods"
# ## 9. Completo, LoRA ou adapters
#
# Decidiu ajustar. Quantos pesos vão mudar?
#
# - **Completo** (*full fine-tuning*): tudo treina. O mais flexível, o mais caro, e uma cópia inteira do modelo por tarefa.
# - **LoRA** (*low-rank adaptation*, adaptação de posto baixo, 2021): a matriz `W` fica congelada; ao lado treinam duas estreitas, `A` e `B`, e a saída é `W·x + B·A·x`. Depois do
#   treino, `B·A` pode ser somada a `W`: nenhum custo a mais no uso.
# - **Adapters** (2019): módulos pequenos, que estreitam e alargam, entram *entre* as camadas congeladas. Ficam lá no uso, com uma pequena espera.

# %%
show(figures.tuning_methods(), alt=figures.METHODS_ALT)

# %% [markdown]
# Quantos parâmetros treina cada um? Um LoRA de **posto** `r` (a largura de `A` e `B`) em uma matriz de `m` por `n` treina `r · (m + n)` números. Um
# adapter de largura `k` treina duas matrizes de `d` por `k` e seus vieses. No dispositivo `meta`, o PyTorch monta só as formas, sem gastar memória:

# %%
from transformers import LlamaConfig, LlamaForCausalLM

MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def trained_parameters(config, r=8, k=64):
    """{method: trained parameters} of a Llama; two adapters a layer, as in Houlsby et al. (2019)."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    linear = [m for name, m in model.named_modules() if name.split(".")[-1] in MATRICES]
    d, layers = config.hidden_size, config.num_hidden_layers
    return {
        "completo": model.num_parameters(),
        "LoRA": sum(r * (m.in_features + m.out_features) for m in linear),
        "adapters": 2 * layers * (2 * d * k + k + d),
    }


# %%
def llama(vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads):
    """The configuration of a Llama, from its six sizes."""
    names = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"]
    names += ["num_attention_heads", "num_key_value_heads"]
    sizes = (vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads)
    return LlamaConfig(**dict(zip(names, sizes, strict=True)))


pocket = llama(1000, 128, 344, 2, 4, 2)
trained_parameters(pocket)

# %% [markdown]
# A fórmula está certa? Quem diz é a `peft`, a biblioteca que o curso usa. E por que LoRA não estraga o modelo no primeiro passo? `B` nasce **zero**: a
# correção começa nula.

# %%
import logging

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # announces a kernel that is not here
from peft import LoraConfig, get_peft_model

with_lora = get_peft_model(LlamaForCausalLM(pocket), LoraConfig(r=8, target_modules=MATRICES))
assert with_lora.get_nb_trainable_parameters()[0] == trained_parameters(pocket)["LoRA"]
assert all((w == 0).all() for name, w in with_lora.named_parameters() if "lora_B" in name)
print("peft = fórmula:", with_lora.get_nb_trainable_parameters()[0], "parâmetros treinados")

# %% [markdown]
# Provada no pequeno, a fórmula vale no grande: em milhões, o TinyLlama, que você vai ajustar na aula 14, e o Llama 3.1 8B.

# %%
tinyllama, llama_8b = llama(32_000, 2048, 5632, 22, 32, 4), llama(128_256, 4096, 14_336, 32, 32, 8)
big = {"TinyLlama": tinyllama, "Llama 3.1 8B": llama_8b}
counts = pd.DataFrame({name: trained_parameters(config) for name, config in big.items()})
share = counts / counts.loc["completo"]
assert (share.loc["LoRA"] < 0.01).all() and (share.loc["adapters"] < 0.02).all()
pd.concat({"milhões": (counts / 1e6).round(1), "%": (100 * share).round(2)}, axis=1)

# %% [markdown]
# | | completo | LoRA | adapters |
# | --- | --- | --- | --- |
# | treina | tudo | menos de 1 % | menos de 2 % |
# | memória do treino | 16 bytes por parâmetro | a base mais uma fração | a base mais uma fração |
# | arquivo por tarefa | o modelo inteiro | só `A` e `B` | só os módulos |
# | custo no uso | nenhum | nenhum, se somada a `W` | uma pequena espera |
# | quando | muitos dados, tarefa distante | **o começo de quase tudo** | trocar tarefas em um servidor |
#
# As porcentagens são destes dois modelos, com `r = 8` e `k = 64`: outro posto, outra conta.

# %% [markdown] id="families"
# ## 10. A família em uma tabela
#
# | modelo | ano, quem | pilha | aprende a | parâmetros | contexto | bom para |
# | --- | --- | --- | --- | --- | --- | --- |
# | BERT | 2018, Google | encoder | achar palavras escondidas; dizer se uma frase segue a outra | 110 mi | 512 | classificar, extrair |
# | RoBERTa | 2019, Facebook AI | encoder | achar palavras escondidas, sorteadas de novo a cada vez; mais dados, sem pares de frases | 125 mi | 512 | o mesmo, melhor |
# | DistilBERT | 2019, Hugging Face | encoder, metade das camadas | imitar o BERT (destilação) | 66 mi | 512 | pouca máquina |
# | ALBERT | 2019, Google e TTIC | encoder, as camadas dividem os pesos | achar palavras escondidas; a ordem de duas frases | 12 mi | 512 | pouca memória |
# | GPT (GPT-2) | 2019, OpenAI | decoder | a próxima palavra | 124 mi | 1024 | escrever, estudar |
# | Llama (3.1) | 2024, Meta | decoder | a próxima palavra | 8 bi | 128 mil | chat, ajuste aberto |
#
# Parâmetros e contexto são do tamanho mais comum de cada um. O primeiro GPT é de 2018 e o primeiro Llama, de 2023; as linhas são das versões que você
# vai encontrar. Não acredite na coluna dos parâmetros: montamos os seis, só as formas, e contamos.

# %%
import transformers as hf

roberta = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}
albert = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
with torch.device("meta"):
    family = {
        "BERT": hf.BertModel(hf.BertConfig()),
        "RoBERTa": hf.RobertaModel(hf.RobertaConfig(**roberta)),
        "DistilBERT": hf.DistilBertModel(hf.DistilBertConfig()),
        "ALBERT": hf.AlbertModel(hf.AlbertConfig(**albert)),
        "GPT-2": hf.GPT2LMHeadModel(hf.GPT2Config()),
        "Llama 3.1": LlamaForCausalLM(llama_8b),
    }
millions = {name: round(model.num_parameters() / 1e6) for name, model in family.items()}
print(millions)
assert list(millions.values()) == [109, 125, 66, 12, 124, 8030]

# %% [markdown]
# (O BERT tem 109,5 milhões; o artigo arredonda para 110.) O ALBERT impressiona: 12 camadas com os pesos de uma. Mas cuidado: são as **mesmas contas**
# do BERT. Economiza memória, não tempo.
#
# BERT entende e não escreve; GPT e Llama escrevem. Para classificar milhares de textos por segundo, um encoder de 100 milhões costuma vencer um LLM em
# preço e espera. Você fará as duas coisas: BERT na aula 13, Llama na 14.

# %% [markdown] id="clouds"
# ## 11. Onde ajustar na nuvem, em novembro de 2026
#
# Este quadro envelhece depressa: **confira a página do serviço antes de planejar**. Lemos cópias guardadas das páginas oficiais em 20 e 21/11/2026; o
# que não conseguimos confirmar está marcado.
#
# | serviço | o que se ajusta | quem pode | até quando |
# | --- | --- | --- | --- |
# | OpenAI | gpt-4.1 e gpt-4.1-mini | só organizações que já ajustaram e usaram um modelo ajustado nos últimos 60 dias; contas novas, não, desde 07/05/2026 | novos jobs até 06/01/2027; as bases saem em 14/01/2027, e os ajustados com elas |
# | Microsoft Foundry (Azure OpenAI) | GPT-4.1 e GPT-4o; abertos: gpt-oss-20b, Ministral-3B, Qwen-32B, Llama-3.3-70B (prévia) | GPT: só quem já era cliente (para novos, acabou em 01/10 e 14/10/2026); abertos para contas novas: não verificado | GPT-4o até 01/04/2027 e GPT-4.1 até 14/04/2027, pelo menos; uso até 10/2027 |
# | Amazon Bedrock | Nova Micro, Lite, Pro e 2 Lite; Llama 3.1, 3.2 e 3.3 | não achamos restrição a contas novas: não verificado | sem data de fim: não verificado; Claude 3 Haiku saiu em 10/09/2026 |
# | Google (Vertex AI, hoje Gemini Enterprise Agent Platform) | Gemini 3.5 Flash, 3.5 Flash-Lite e 3.1 Flash-Lite; abertos: Llama, Gemma 3, Qwen 3 | não achamos restrição a contas novas: não verificado | 3.1 Flash-Lite até 07/05/2027, 3.5 Flash até 19/05/2027 e 3.5 Flash-Lite até 21/07/2027, pelo menos; os 2.5 tinham saída em 16/10/2026 |
#
# O que mais engana é a **hospedagem**: treinar custa uma vez, servir pode custar toda hora.
#
# | serviço | como se serve o ajustado | a armadilha |
# | --- | --- | --- |
# | OpenAI | pronto ao fim do job, na mesma API | a recusa (403) só vem ao criar o job, *depois* do envio: apague o arquivo |
# | Microsoft Foundry | exige um *deployment* | cobra hospedagem enquanto existir; apague ao terminar |
# | Amazon Bedrock | sob demanda só para Nova e Llama 3.3 70B | os outros exigem *provisioned throughput*: um registro público de 08/2026 conta US$ 60,50 por hora, em uso ou não |
# | Google | Gemini: em um *endpoint* do serviço; abertos: não verificado | custo de manter parado: não verificado |
#
# **Fontes:** OpenAI, [deprecations](https://developers.openai.com/api/docs/deprecations) e [supervised fine-tuning](https://developers.openai.com/api/docs/guides/supervised-fine-tuning). Microsoft, repositório
# [azure-ai-docs](https://github.com/MicrosoftDocs/azure-ai-docs), tabela de 07/07/2026. Amazon, [custom-model-fine-tuning](https://docs.aws.amazon.com/bedrock/latest/userguide/custom-model-fine-tuning.html) e
# [deploy-custom-model-on-demand](https://docs.aws.amazon.com/bedrock/latest/userguide/deploy-custom-model-on-demand.html). Google,
# [tuning](https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/models/tuning), [model-versions](https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/model-versions) e
# [open-model-tuning](https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/open-model-tuning). A Gemini API (AI Studio), que é outro serviço, não ajusta modelos desde
# [maio de 2025](https://ai.google.dev/gemini-api/docs/model-tuning).
#
# Um modelo ajustado vive enquanto vive a base. Um ajuste feito na OpenAI em 05/01/2027 viveria **nove dias**. A célula faz as contas.

# %%
from datetime import date

checked = date(2026, 11, 21)  # the day this table was checked
ends = {"OpenAI, gpt-4.1": date(2027, 1, 14), "Foundry, treino do GPT-4.1": date(2027, 4, 14)}
for service, end in ends.items():
    print(f"{service:<27} {(end - checked).days:>4} dias, contados de {checked:%d/%m/%Y}")
assert (ends["OpenAI, gpt-4.1"] - date(2027, 1, 5)).days == 9

# %% [markdown]
# A lição que não envelhece: guarde os dados e a avaliação, que são seus e servem em qualquer lugar. Com modelos abertos você guarda também os pesos.
# Nas aulas 15 e 16 você envia jobs a gêmeos locais da OpenAI e da Bedrock, sem conta e sem custo.

# %% [markdown] id="use"
# ## 12. O modelo melhora com o uso?
#
# **Sozinho, não.** Responder não muda peso nenhum: a célula abaixo prova. Quando um chat "lembra" de você, é o texto da conversa, ou uma anotação,
# que volta no prompt.


# %%
def fingerprint(model):
    """A number that changes when any weight does."""
    return hash(tuple(p.double().sum().item() for p in model.parameters()))


start = fingerprint(tuned)
continue_text(tuned, "— Bom dia ! Você tem uma bola")
assert fingerprint(tuned) == start  # answering
train(tuned, twenty, steps=2, learning_rate=1e-4)
assert fingerprint(tuned) != start  # training
print("responder: os mesmos pesos; dois passos de treino: outros")

# %% [markdown]
# Para o **modelo** melhorar é preciso fechar o ciclo: guardar o uso (com permissão), revisar, treinar e provar que melhorou.

# %%
show(figures.feedback_loop(), alt=figures.FEEDBACK_ALT)

# %% [markdown]
# Vamos rodar o ciclo com o classificador da parte 3. Ele começa com um exemplo por produto. A cada rodada responde 40 resenhas; pessoas corrigem as que
# ele **errou**, e só essas viram exemplos novos. A prova é sempre a mesma, separada.

# %%
known = pool.groupby("product").sample(1, random_state=rt.seed)
stream = pool.drop(known.index).sample(frac=1, random_state=rt.seed)
rounds = []
for turn in range(6):
    model = LogisticRegression(C=10, max_iter=500).fit(embed(known["text"]), known["product"])
    rounds.append(model.score(embed(test["text"]), test["product"]))
    print(f"rodada {turn}: {len(known)} exemplos, acerto {rounds[-1]:.2f}")
    served = stream[40 * turn : 40 * turn + 40]
    wrong = served[model.predict(embed(served["text"])) != served["product"]]
    known = pd.concat([known, wrong])
assert rounds[-1] > rounds[0] + 0.2

# %% [markdown]
# Quem melhora o modelo são as **correções**. Três cuidados: *feedback* (retorno de quem usa) errado ou mal-intencionado também ensina, então revise; não
# treine o modelo com as próprias respostas sem conferir; e só publique se a avaliação, no mesmo teste, for melhor que a do modelo atual. Na aula 17 você
# monta esse ciclo.

# %% [markdown]
# ## Sua vez
#
# **1.** Um token tem notas 2, 1 e 0 para os três tokens da frase (já divididas por `√d`). Que **peso** recebe o primeiro? Calcule a softmax.

# %%
first_weight = ...

# %%
from afina.teach.check import check

expected = np.exp(2) / np.exp([2, 1, 0]).sum()
check(
    first_weight,
    lambda w: (
        abs(float(w) - expected) < 0.01 or "divida exp(2) pela soma de exp(2), exp(1) e exp(0)"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `first_weight = np.exp(2) / (np.exp(2) + np.exp(1) + np.exp(0))`, perto de 0,67.
#
# </details>
#
# **2.** Passe cada caso pela árvore da parte 8 e responda `"avaliar"`, `"prompt"`, `"rag"`, `"juntar"` ou `"ajustar"`:
#
# - **a.** O chat precisa dizer o preço de hoje de 5 mil produtos. Você já tem um conjunto de perguntas para medir.
# - **b.** O modelo ignora o formato de laudo da clínica, mesmo com ótimos prompts. Há 800 laudos revisados e uma prova.
# - **c.** O chefe pede "um modelo nosso", e ninguém sabe dizer o que seria uma resposta boa.
# - **d.** Com três exemplos no pedido, o modelo já classifica 98 % dos e-mails da sua prova. É o que se precisa.

# %%
cases = {"a": ..., "b": ..., "c": ..., "d": ...}

# %%
hints = {
    "a": ("rag", "preço é um fato, e muda todo dia"),
    "b": ("ajustar", "falta comportamento, e há exemplos e prova"),
    "c": ("avaliar", "sem saber medir, comece pela avaliação"),
    "d": ("prompt", "se o prompt resolve, não há o que treinar"),
}
misses = [f"{case}: {why}" for case, (answer, why) in hints.items() if cases[case] != answer]
check(None if ... in cases.values() else cases, lambda _: not misses or "; ".join(misses))

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `cases = {"a": "rag", "b": "ajustar", "c": "avaliar", "d": "prompt"}`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - O pré-treino aprende lendo: o texto é seu próprio gabarito. O ajuste fino continua o mesmo treino com os seus exemplos.
# - Embedding é palavra como ponto; atenção dá a cada palavra o contexto da frase; transformer é atenção em blocos.
# - Transferência rende mais quanto menos rótulos há. Meça: com muitos, pode não render.
# - Fato que muda é RAG; comportamento é ajuste fino; e nada disso sem avaliação. Comece por LoRA.
# - Modelo não melhora por ser usado: melhora com correções, treino e prova. E na nuvem, olhe a data de saída e a conta da hospedagem.
#
# ## Quiz
#
# Seis perguntas sobre a aula. Errar não custa nada, e cada resposta vem com o seu porquê.

# %%
from afina.teach.quiz import quiz

quiz("01")

# %% [markdown]
# {{quiz 01}}

# %% [markdown]
# ## Próximo passo
#
# [02 · Preparar os dados](02_dataset_prep.ipynb): todo modelo aprende o que os dados mostram. Você vai limpar, dividir e medir um catálogo inteiro.
