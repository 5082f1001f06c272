# %% [markdown] id="cover"
# # 06 · Embeddings
#
# O id 541 não é parecido com o 542: é só um número de ordem. Aqui os ids viram vetores, os vetores ganham lugar na frase e, depois de alguns segundos de
# treino, clubes, cidades e produtos moram em bairros diferentes.
#
# **Ao final você vai saber**
#
# - explicar uma tabela de embeddings e provar que ela é um produto com vetores *one-hot*
# - dizer por que um modelo precisa de posições
# - comparar posições aprendidas, senoidais e rotatórias
# - treinar embeddings do zero e medir se ganharam sentido
#
# **Antes desta aula**: [05 · Amostrar os dados](05_data_sampling.ipynb). Cosseno e mapa de embeddings estão na
# [01](01_core_concepts.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="table"
# ## 1. Uma tabela, uma linha por token
#
# Um *embedding* (vetor de significado) dá a cada token uma lista de números. Guardam-se todos em uma **tabela**: tantas linhas quantos tokens, tantas colunas quantos
# números cada um tem (`d_model`). Achar o vetor de um token é ler uma linha.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from afina.gpt.loader import Windows, batches, read_documents, ribbon
from afina.gpt.tokenizer import train_bpe

torch.set_num_threads(1)
prose = read_documents(rt.data / "prose_train.txt.gz")
tokenizer = train_bpe(prose, 1400)

# %%
toy = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.5, 0.5], [0.8, 0.1, 0.2], [0.0, 0.2, 0.7]])
ids = torch.tensor([2, 0, 2])
print("tabela (tokens, d_model):", tuple(toy.shape))
toy[ids]

# %% [markdown]
# O token 2 aparece duas vezes e recebe duas vezes a mesma linha. Na nossa função há uma conferência a mais: um id **sem linha** quase sempre quer dizer que texto e
# modelo usam tokenizadores diferentes.

# %%
from afina.errors import CourseError


def look_up(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    wrong = ids[(ids < 0) | (ids >= len(table))]
    if len(wrong):
        raise CourseError(
            f"o token {int(wrong[0])} não tem linha: a tabela vai de 0 a {len(table) - 1}.",
            "Use o tokenizador com que o modelo foi treinado.",
            where="embedding",
        )
    return F.embedding(ids, table)


assert torch.equal(look_up(toy, ids), toy[ids])

# %%
try:
    look_up(toy, torch.tensor([1, 50256]))
except CourseError as error:
    print(error)

# %% [markdown] id="one-hot"
# ## 2. A prova: é um produto de matrizes
#
# Parece um truque de programador, e é álgebra. Escreva cada id como um vetor ***one-hot***: zeros, e um 1 no lugar do token. Multiplicar esse vetor pela tabela **soma as
# linhas, cada uma vezes zero, menos uma**: sobra a linha do token. Ou seja, a tabela é uma camada linear sem viés.

# %%
one_hot = F.one_hot(ids, num_classes=4).float()
print(one_hot)
assert torch.equal(one_hot @ toy, look_up(toy, ids))

# %% [markdown]
# Na tabela de verdade, com ids sorteados, o mesmo. E por que ninguém multiplica? Porque quase tudo é zero:

# %%
import time

table, many = torch.randn(len(tokenizer), 64), torch.randint(len(tokenizer), (4096,))


def best_time(work):
    """Seconds of the best of five calls."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


# %%
product = F.one_hot(many, len(tokenizer)).float() @ table
assert torch.equal(product, look_up(table, many))
slow = best_time(lambda: F.one_hot(many, len(tokenizer)).float() @ table)
fast = best_time(lambda: look_up(table, many))
print(f"4.096 tokens: produto {slow * 1e3:.1f} ms, leitura {fast * 1e3:.2f} ms")

# %% [markdown] id="gradient"
# A álgebra diz mais uma coisa: no treino, **só as linhas dos tokens do lote mudam**. As outras foram multiplicadas por zero. É por isso que um token raro aprende
# pouco, e que um vocabulário grande demais desperdiça linhas.

# %%
layer = nn.Embedding(1000, 8)
layer(torch.tensor([3, 7, 3])).pow(2).sum().backward()
touched = layer.weight.grad.abs().sum(dim=1).nonzero().flatten()
print("linhas que mudariam:", touched.tolist())
assert touched.tolist() == [3, 7]

# %% [markdown] id="order"
# ## 3. Sem posição, não há ordem
#
# "Ana procura Bruno" e "Bruno procura Ana" têm as mesmas linhas da tabela. Quem as recebe como um conjunto, e a atenção as recebe assim, não vê diferença:

# %%
one = look_up(table, torch.tensor(tokenizer.encode("de Ana para Bruno"))[1:])
two = look_up(table, torch.tensor(tokenizer.encode("de Bruno para Ana"))[1:])
assert torch.allclose(one.mean(dim=0), two.mean(dim=0), atol=1e-6)
print("médias iguais:", one.mean(dim=0)[:3].tolist())

# %% [markdown]
# É preciso dizer ao modelo **onde** cada token está. Três maneiras, por ordem de idade.
#
# ### Senoidal: uma tabela calculada
#
# O transformer original (2017) soma ao vetor do token uma linha fixa, feita de senos e cossenos. Cada par de colunas é um **ponteiro de relógio** que anda um tanto por
# posição: o primeiro par dá uma volta a cada 6 tokens; o último, uma volta a cada dezenas de milhares. Juntos, os ponteiros marcam a hora sem ambiguidade.


# %%
def frequencies(width: int, base: float = 10_000.0) -> torch.Tensor:
    return base ** (-torch.arange(0, width, 2) / width)


def sinusoidal(positions: int, width: int) -> torch.Tensor:
    angles = torch.arange(positions)[:, None] * frequencies(width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


turns = 2 * torch.pi / frequencies(32)
print("tokens por volta:", [round(turn) for turn in turns[[0, 4, 8, 15]].tolist()])

# %%
waves = sinusoidal(32, 32)
position, column = 21, 6
angle = torch.tensor(position / 10_000 ** (column / 32))
assert torch.allclose(waves[position, column], angle.sin(), atol=1e-6)
assert torch.allclose(waves[position, column + 1], angle.cos(), atol=1e-6)

# %% [markdown] id="learned"
# ### Aprendida: mais uma tabela
#
# O GPT-2 nem calcula: cria **outra tabela de embeddings**, uma linha por posição, sorteada no começo e treinada com o resto. Soma-se a linha da posição à do token. Simples, e com
# um limite duro: não existe linha além do contexto.


# %%
def add_positions(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    if x.size(-2) > len(table):
        raise CourseError(
            f"a sequência tem {x.size(-2)} tokens, e só há {len(table)} posições.",
            "Encurte o texto, ou treine com um contexto maior.",
            where="contexto",
        )
    return x + table[: x.size(-2)]


learned = nn.Embedding(32, 32).weight  # 32 positions
tokens_at = look_up(torch.randn(1400, 32), torch.tensor([5, 9, 5]))
x = add_positions(tokens_at, learned)
assert torch.equal(tokens_at[0], tokens_at[2]) and not torch.equal(x[0], x[2])
print("o token 5 em dois lugares: agora, dois vetores")

# %%
try:
    add_positions(torch.randn(40, 32), learned)
except CourseError as error:
    print(error)

# %% [markdown] id="rotary"
# ### Rotatória: girar em vez de somar
#
# A *rotary position embedding* (RoPE, 2021) está no Llama, no Qwen e na maioria dos modelos de hoje. Não soma nada: **gira** cada par de colunas, pelo mesmo relógio das
# senoidais, e só na consulta e na chave da atenção. Girar não muda o comprimento. E há um presente: o produto de dois vetores girados só depende da
# **distância** entre eles, porque os ângulos se subtraem.


# %%
def rotary(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    angles = positions[:, None] * frequencies(x.size(-1))
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos()
    return torch.stack(turned, dim=-1).flatten(-2)


# %%
arrow = torch.tensor([[1.0, 0.0]])
for position in (0, 1, 2, 6):
    x, y = rotary(arrow, torch.tensor([position]))[0].tolist()
    print(f"posição {position}: ({x:+.2f}, {y:+.2f})")

# %% [markdown]
# A prova, com vetores sorteados. A consulta está 5 tokens adiante da chave, em quatro lugares da frase:

# %%
query, key = torch.randn(64), torch.randn(64)
places = torch.tensor([0, 10, 100, 900])
turned_query, turned_key = (
    rotary(query.expand(4, 64), places + 5),
    rotary(key.expand(4, 64), places),
)
products = (turned_query * turned_key).sum(dim=-1)
print("distância 5: ", [f"{product:.3f}" for product in products.tolist()])
assert torch.allclose(products, products[:1].expand(4), atol=1e-2)
assert torch.allclose(turned_query.norm(dim=-1), query.norm().expand(4), rtol=1e-4)

# %%
farther = (rotary(query.expand(4, 64), places + 9) * turned_key).sum(dim=-1)
print("distância 9: ", [f"{product:.3f}" for product in farther.tolist()])
assert (farther - products).abs().min() > 0.1

# %% [markdown] id="train-positions"
# ## 4. As três lado a lado
#
# A tabela aprendida precisa aprender. Um modelo mínimo: vetor do token mais vetor da posição, **um** bloco de transformer pronto do PyTorch (as aulas 07 e 08 o
# constroem) e o próximo token. Os alvos são os da aula 05.

# %%
tape = ribbon([tokenizer.encode(document) for document in prose], tokenizer.end)


class OneBlock(nn.Module):
    """Scores of the next token, (batch, tokens, vocabulary); up to 32 tokens."""

    def __init__(self, width=32):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(len(tokenizer), width), nn.Embedding(32, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 64, 0.0, batch_first=True)
        for weights in (self.tokens.weight, self.positions.weight):
            nn.init.normal_(weights, std=0.05)

    def forward(self, ids):
        x = add_positions(self.tokens(ids), self.positions.weight)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.size(1))
        return self.block(x, src_mask=mask, is_causal=True) @ self.tokens.weight.T


# %%
rt.seed_everything()
model = OneBlock()
newborn = model.positions.weight.detach().clone()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for step, (x, y) in zip(range(240), batches(Windows(tape, 32), 32), strict=False):
    loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 80 == 0:
        print(f"passo {step:>3}, perda {loss.item():.2f}")
print(f"no fim: {loss.item():.2f}")


# %%
def alike(positions):
    """Cosine of every position with every other: (positions, positions)."""
    directions = F.normalize(positions.detach(), dim=-1)
    return directions @ directions.T


some_vector = torch.randn(32).expand(32, 32)
turned = rotary(some_vector, torch.arange(32))
tables = {"Aprendida": model.positions.weight.detach(), "Senoidal": waves, "Rotatória": turned}

# %%
from afina.teach.figures import figure, show

fig, axes = figure(height=4.9, rows=2, columns=3)
for column, (name, values) in enumerate(tables.items()):
    limit = values.abs().max()
    axes[0, column].imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes[1, column].imshow(alike(values), cmap="viridis", vmin=-1, vmax=1)
    axes[0, column].set(title=name, xlabel="coluna")
    axes[1, column].set(xlabel="posição")
for ax in axes.flat:
    ax.grid(False)
    ax.set(xticks=[0, 15, 31], yticks=[0, 15, 31])
axes[0, 0].set_ylabel("posição")
axes[1, 0].set_ylabel("posição")
show(
    fig,
    alt="Três colunas: posições aprendida, senoidal e rotatória. Em cima, os números de cada uma. "
    "Embaixo, a semelhança de cada posição com cada outra: na aprendida, as vizinhas se parecem, "
    "por regiões; nas outras duas, há faixas diagonais exatas.",
)

# %% [markdown]
# Em cima, os números: azul é positivo, vermelho é negativo, claro é perto de zero. Embaixo, quanto cada posição se parece com cada outra: o amarelo mais claro é a
# mesma direção, o roxo mais escuro, a contrária. Na senoidal e na rotatória, as **diagonais são constantes**: só a distância conta, e
# vale em qualquer lugar. A aprendida nasceu sem ordem nenhuma, e em segundos de treino as posições vizinhas ficaram parecidas. Ninguém disse a ela que 7 vem
# depois de 6. Confira:


# %%
def mean_at(matrix, distance):
    return torch.diagonal(matrix, distance).mean().item()


before, after = alike(newborn), alike(model.positions.weight)
for distance in (1, 5, 20):
    print(f"a {distance:>2} tokens: ao nascer {mean_at(before, distance):+.2f},", end=" ")
    print(f"depois {mean_at(after, distance):+.2f}")
assert mean_at(after, 1) > mean_at(after, 5) > mean_at(after, 20) and abs(mean_at(before, 1)) < 0.2

# %%
for name, matrix in (("senoidal", alike(waves)), ("rotatória", alike(turned))):
    spread = max(torch.diagonal(matrix, d).std().item() for d in range(1, 20))
    print(f"{name:<10} variação dentro de uma diagonal: {spread:.6f}")
    assert spread < 1e-3
assert torch.diagonal(after, 5).std() > 0.01

# %% [markdown]
# | | aprendida | senoidal | rotatória |
# | --- | --- | --- | --- |
# | onde entra | soma ao vetor | soma ao vetor | gira consulta e chave, em cada bloco |
# | pesos a treinar | contexto × `d_model` | nenhum | nenhum |
# | só a distância conta | não | no produto das posições | sim, na atenção |
# | além do contexto | não existe | existe, mas não foi treinada | existe, mas não foi treinada |
# | quem usa | GPT-2, BERT | transformer original | Llama, Qwen, Mistral |
#
# O nosso GPT (aula 08) usa a aprendida, como o GPT-2.

# %% [markdown] id="skip-gram"
# ## 5. De onde vem o sentido
#
# Agora os tokens. A tabela nasce sorteada: ninguém é vizinho de ninguém por mérito. O treino mais direto que lhe dá sentido é o ***skip-gram*** (word2vec, 2013): de um token,
# adivinhe **os que estão em volta**. Tokens com a mesma companhia precisam dar as mesmas respostas, e para isso acabam com vetores parecidos.
#
# São duas tabelas: a do token do meio e a dos vizinhos. As janelas são as da aula 05, com passo 1, cortadas todas de uma vez com `unfold`.

# %%
# (windows, 7): three before, one in the middle, three after
windows = torch.tensor(tape).unfold(0, 7, 1)
middle, around = windows[:, 3], windows[:, [0, 1, 2, 4, 5, 6]]
pieces = [tokenizer.decode([i]) for i in around[97]]
print(f"meio: {tokenizer.decode(middle[97:98])!r}, em volta: {pieces}")

# %%
rt.seed_everything()
vectors = (0.1 * torch.randn(len(tokenizer), 32)).requires_grad_()
answers = torch.zeros(len(tokenizer), 32, requires_grad=True)
random_vectors = vectors.detach().clone()
optimizer = torch.optim.AdamW([vectors, answers], lr=1e-2, weight_decay=0)

# %%
losses = []
for batch in torch.randperm(len(windows)).split(1024):
    scores = look_up(vectors, middle[batch]) @ answers.T  # (batch, vocabulary)
    loss = -F.log_softmax(scores, dim=-1).gather(1, around[batch]).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
print(f"{len(losses)} passos: perda de {losses[0]:.2f} a {losses[-1]:.2f}")
assert losses[-1] < losses[0] - 2

# %% [markdown] id="neighbours"
# Quem mora perto de quem, antes e depois? O vizinho é medido pelo **cosseno**, como na aula 01.


# %%
def neighbours(vectors, word, n=4):
    """The n tokens nearest to `word` by cosine."""
    directions = F.normalize(vectors.detach(), dim=-1)
    (token,) = tokenizer.encode(" " + word)
    nearest = (directions @ directions[token]).topk(n + 1).indices[1:]
    return ", ".join(tokenizer.decode([i]).strip() for i in nearest)


# %%
for word in ("Benfica", "Lisboa", "mochila", "azul", "cozinha", "Bruno"):
    print(f"{word:<8} antes: {neighbours(random_vectors, word)}")
    print(f"{'':<8} depois: {neighbours(vectors, word)}")
assert "Sporting" in neighbours(vectors, "Benfica") and "verde" in neighbours(vectors, "azul")

# %% [markdown] id="map"
# ## 6. O mapa, e um número que o confirme
#
# Um mapa em duas dimensões engana com facilidade: o olho acha grupos em qualquer nuvem. Por isso medimos **antes de olhar**, nas 32 dimensões. Tomamos clubes, cidades e
# produtos que são um token só, e perguntamos: dos 3 vizinhos mais próximos de cada um, dentro da lista, quantos são do mesmo tipo? É a **pureza**.

# %%
groups = {
    "clubes": "Benfica Sporting Boavista Marítimo Belenenses",
    "cidades": "Lisboa Funchal Recife Manaus Curitiba Salvador",
    "produtos": "bicicleta mochila camisa caneca cadeira toalha bola vaso chapéu violão relógio "
    "copo caderno sapato livro",
}
words = [word for group in groups.values() for word in group.split()]
kinds = [kind for kind, group in groups.items() for _ in group.split()]
tokens = [i for word in words for i in tokenizer.encode(" " + word)]
assert len(tokens) == len(words)  # each is one token


# %%
def purity(vectors, kinds, k=3):
    """Share of the k nearest neighbours, within the list, that are of the same kind."""
    directions = F.normalize(vectors.detach()[tokens], dim=-1)
    cosines = (directions @ directions.T).fill_diagonal_(-1)
    nearest = cosines.topk(k).indices.tolist()
    hits = [kinds[j] == kinds[i] for i, row in enumerate(nearest) for j in row]
    return sum(hits) / len(hits)


# %% [markdown]
# Um número sozinho não diz nada. As referências: a tabela ao nascer, e os vetores treinados, medidos com os **tipos embaralhados** mil vezes, para saber até
# onde o acaso chega.

# %%
import random

rng = random.Random(rt.seed)
by_chance = [purity(vectors, rng.sample(kinds, len(kinds))) for _ in range(1000)]
trained, untrained = purity(vectors, kinds), purity(random_vectors, kinds)
print(f"treinada {trained:.2f}; ao nascer {untrained:.2f}")
print(f"tipos embaralhados: média {sum(by_chance) / 1000:.2f}, a maior de mil {max(by_chance):.2f}")
assert trained > 0.9 and trained > max(by_chance) and untrained < 0.7

# %%
from sklearn.decomposition import PCA

from afina.teach.figures import PALETTE

directions = F.normalize(vectors.detach()[tokens], dim=-1).numpy()
points = PCA(2).fit_transform(directions)
fig, ax = figure(height=4.2)
fig.set_label("flat")
for kind, color, marker in zip(groups, PALETTE, "os^", strict=False):
    chosen = [i for i, other in enumerate(kinds) if other == kind]
    ax.scatter(*points[chosen].T, color=color, marker=marker, s=50, label=kind)
for word, (x, y) in zip(words, points, strict=True):
    if word in {"Benfica", "Marítimo", "Lisboa", "Manaus", "bicicleta", "bola", "sapato"}:
        place = (0, 9) if word == "sapato" else (7, 3)  # above its crowded neighbours
        ax.annotate(word, (x, y), place, textcoords="offset points", fontsize=10)
ax.set(title="Três bairros, e os produtos em duas ruas", xticks=[], yticks=[])
ax.legend(loc="center")
show(
    fig,
    alt="Mapa de vetores treinados em duas dimensões. Clubes e cidades formam dois grupos de um lado; do outro, os "
    "produtos, em dois grupinhos: os femininos e os masculinos.",
)

# %% [markdown]
# Clubes, cidades e produtos, cada um no seu bairro, sem um rótulo sequer. E os produtos moram em **duas ruas**. Que ruas? "bicicleta, mochila, camisa" e "vaso, sapato, livro":
# o **gênero**. Quem anda com "uma" e "vermelha" não tem a mesma companhia de quem anda com "um" e "vermelho".

# %%
feminine = {"bicicleta", "mochila", "camisa", "caneca", "cadeira", "toalha", "bola"}
things = [kind == "produtos" for kind in kinds]
rows = torch.tensor(directions)[things]
is_feminine = torch.tensor([word in feminine for word in words])[things]
same, other = rows[is_feminine] @ rows[is_feminine].T, rows[is_feminine] @ rows[~is_feminine].T
print(f"cosseno entre femininos {same.mean():.2f}, de feminino com masculino {other.mean():.2f}")
assert same.mean() > other.mean() + 0.2

# %% [markdown] id="one-vector"
# ## 7. Um vetor só para dois sentidos
#
# Porto e Braga são clubes **e** cidades. A tabela tem uma linha para cada token, então os dois sentidos dividem o mesmo vetor. De que lado ele fica?

# %%
centres = {}
for kind in ("clubes", "cidades"):
    of_kind = torch.tensor(directions)[[other == kind for other in kinds]]
    centres[kind] = F.normalize(of_kind.mean(dim=0), dim=0)


def sides(word):
    """Cosine with the centre of the clubs and with that of the cities."""
    vector = F.normalize(vectors.detach()[tokenizer.encode(" " + word)[0]], dim=0)
    return [(vector @ centre).item() for centre in centres.values()]


for word in ("Benfica", "Porto", "Braga", "Lisboa"):
    print(f"{word:<8} clubes {sides(word)[0]:.2f}, cidades {sides(word)[1]:.2f}")
assert sides("Porto")[0] > sides("Porto")[1] > sides("Benfica")[1] + 0.1

# %% [markdown]
# Porto fica mais perto dos clubes, e ainda assim mais perto das cidades do que o Benfica. Uma mistura. Para saber **qual** Porto é o da frase, o vetor precisa
# consultar os vizinhos. É o que faz a atenção, na próxima aula.

# %% [markdown]
# ## Sua vez
#
# **1.** O GPT-2 pequeno tem 50.257 tokens, 1.024 posições e `d_model` 768. Quantos pesos têm as duas tabelas juntas?

# %%
weights_in_tables = ...

# %%
from afina.teach.check import check

hint = "cada token e cada posição é uma linha de 768 números"
check(weights_in_tables, lambda got: got == (50_257 + 1_024) * 768 or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `weights_in_tables = (50_257 + 1_024) * 768`, mais de 39 milhões: quase um terço dos 124 milhões do modelo.
#
# </details>
#
# **2.** Escreva `mean_vector(text)`: a média dos vetores treinados (`vectors`) dos tokens de um texto, um jeito barato de ter o vetor de uma frase.


# %%
def mean_vector(text): ...


# %%
def is_mean(function):
    wanted = vectors.detach()[tokenizer.encode("O Benfica joga")].mean(dim=0)
    got = function("O Benfica joga")
    if tuple(got.shape) != (32,):
        return (
            f"o resultado tem a forma {tuple(got.shape)}, e deveria ser (32,): média na dimensão 0"
        )
    return torch.allclose(got, wanted) or "use as linhas dos ids de tokenizer.encode(text)"


check(mean_vector if mean_vector("oi") is not None else None, is_mean)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# ```python
# def mean_vector(text):
#     return look_up(vectors, torch.tensor(tokenizer.encode(text))).mean(dim=0)
# ```
#
# </details>
#
# **3.** Um modelo com RoPE dá à consulta da posição 12 e à chave da posição 9 a nota 1,7. As mesmas, nas posições 112 e 109: que nota? E somando posições
# aprendidas, daria para saber? Responda com um par: o número e `True` ou `False`.

# %%
score_and_learned = ...

# %%
hint = "RoPE só vê a distância, 3 nos dois casos; nas aprendidas cada posição tem a sua linha"
check(score_and_learned, lambda got: tuple(got) == (1.7, False) or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `score_and_learned = (1.7, False)`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - A tabela de embeddings tem uma linha por token; ler a linha é multiplicar um *one-hot* pela tabela, sem fazer as contas com zero.
# - Sem posição não há ordem. Aprendida soma uma linha treinada, senoidal soma uma calculada, rotatória gira consulta e chave.
# - Com rotação, o produto só depende da distância.
# - O sentido vem da companhia: adivinhar os vizinhos separou clubes, cidades e produtos. E um mapa só vale com um número e uma referência ao lado.
# - Há um vetor por token, não por sentido. A atenção resolve isso.
#
# ## Quiz
#
# Seis perguntas sobre a aula.

# %%
from afina.teach.quiz import quiz

quiz("06")

# %% [markdown]
# {{quiz 06}}

# %% [markdown]
# ## Próximo passo
#
# [07 · Atenção](07_attention.ipynb): cada token consulta os outros, e o vetor passa a depender da frase.
