# %% [markdown] id="cover" hides="afina.gpt.classify" seconds=60 memory_mb=3000
# # Tarefa 05 · O filtro das resenhas mornas
#
# A Feira do Lar mostra três resenhas em cada produto. As **mornas** ("é comum", "nem bom nem ruim") ocupam espaço e não ajudam ninguém a escolher: uma em
# cada três. Você vai ajustar o `gpt-pt` para achá-las. A cada estação chegam adjetivos que ninguém rotulou, e é neles que o filtro será medido: contar palavras, como o
# TF-IDF faz, dá F1 de 0,40 ali. Queremos **0,70**.
#
# O treino roda à noite, no computador do caixa, e tem um orçamento contado em trabalho, e não em segundos, para valer igual em qualquer máquina:
#
# | recurso | limite | o que conta |
# | --- | --- | --- |
# | tempo | 16.000 tokens | tudo o que o modelo lê enquanto aprende, **preenchimento incluído** |
# | memória | 100.000 pesos | os que aprendem, de 1,07 milhão |
#
# {{rubric}}
#
# **Regras do jogo.** Escreva só nas células de resposta; pode criar outras para experimentar. As de conferência voltam ao original na correção,
# que usa também casos escondidos. `afina.gpt.classify` é o gabarito e não pode ser importado; `afina.gpt.lora` e `afina.gpt.train`, das aulas 10 e 09,
# podem. Treinar com os textos de teste é vazamento, e um filtro vazado quebra na estação seguinte.

# %% id="setup"

# %% [markdown]
# ## 1. Dividir sem vazar (fácil)
#
# Uma exportação da loja é uma lista de linhas `{"text", "label", "split"}`. `split_rows(rows)` devolve um par: os exemplos de treino e os de validação, cada exemplo um par
# `(texto, classe)`, na ordem em que vieram. A classe é 1 para `"neutro"` e 0 para as outras.
#
# - só contam as linhas de `split` `"train"` e `"validation"`; as sem rótulo (`None`) ficam de fora;
# - textos de `"test…"` nunca entram, e um texto de treino que **também** está na validação ou em um teste sai do treino. "Também" quer dizer igual a menos de
#   maiúsculas e de espaços repetidos ou nas pontas.


# %% id="answer-split"
def split_rows(rows):
    """(train, validation): pairs (text, 1 for neutral), nothing evaluated left in train."""

    ### SOLUTION
    def key(text):
        return " ".join(text.lower().split())

    def pairs(some):
        return [(row["text"], int(row["label"] == "neutro")) for row in some]

    labelled = [row for row in rows if row["label"] is not None]
    evaluated = {key(row["text"]) for row in rows if row["split"].startswith(("test", "valid"))}
    train = [row for row in labelled if row["split"] == "train"]
    train = [row for row in train if key(row["text"]) not in evaluated]
    return pairs(train), pairs(row for row in labelled if row["split"] == "validation")
    ### END


# %% id="check-split" points=1 level="easy" title="Cada exemplo na sua divisão" lesson="11#data"
rows = [
    {"text": "O tecido é comum.", "label": "neutro", "split": "train"},
    {"text": "O zíper é ótimo.", "label": "positivo", "split": "train"},
    {"text": "A alça é péssima.", "label": "negativo", "split": "validation"},
    {"text": "A cor é razoável.", "label": "neutro", "split": "validation"},
    {"text": "O cabo é deslumbrante.", "label": "positivo", "split": "test_adjectives"},
    {"text": "Chegou ontem.", "label": None, "split": "unlabelled"},
]
parts = split_rows(rows)
expect(
    parts, lambda p: len(p) == 2 or f"esperava 2 partes, encontrei {len(p)}", "treino e validação"
)
expect(parts[1], [("A alça é péssima.", 0), ("A cor é razoável.", 1)], "a validação")
expect(
    parts[0],
    lambda train: (
        train[:2] == [("O tecido é comum.", 1), ("O zíper é ótimo.", 0)]
        or f"esperava os dois exemplos rotulados, encontrei {train}"
    ),
    "o começo do treino",
)

# %% id="check-leak" points=1 level="easy" title="Nenhum texto avaliado no treino" lesson="11#leak"
twice = [
    {"text": "  o CABO é  deslumbrante. ", "label": "positivo", "split": "train"},
    {"text": "A cor é razoável.", "label": "neutro", "split": "train"},
]
parts = split_rows([*twice, *rows])
expect(
    parts, lambda p: len(p) == 2 or f"esperava 2 partes, encontrei {len(p)}", "treino e validação"
)
found = [text for text, _ in parts[0]]
expect(found, ["O tecido é comum.", "O zíper é ótimo."], "o que sobra no treino")

# %% [markdown]
# ## 2. O que a cabeça lê (essencial)
#
# Na aula 11 a cabeça lê só o último token. A nossa lê **duas** coisas, lado a lado: o vetor do último token de verdade e a **média** dos vetores dos tokens de verdade. Os textos
# são preenchidos à direita, e o preenchimento não pode mexer em nenhuma das duas.
#
# | o que | forma |
# | --- | --- |
# | `hidden` | (lote, posições, colunas) |
# | `lengths` | (lote,): os tokens de verdade de cada texto |
# | resultado | (lote, 2 × colunas): primeiro o último token, depois a média |

# %% id="imports"
import gzip
import json

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)


# %% id="answer-read"
def read_rows(hidden, lengths):
    """The last real vector of each row and the mean of its real vectors, side by side."""
    ### SOLUTION
    last = hidden[torch.arange(len(hidden)), lengths - 1]
    real = torch.arange(hidden.size(1)) < lengths[:, None]
    mean = (hidden * real[..., None]).sum(1) / lengths[:, None]
    return torch.cat((last, mean), dim=-1)
    ### END


# %% id="check-last" points=1 level="core" title="O último token de verdade" lesson="11#classifier-code"
hidden = torch.tensor([[[1.0], [2.0], [3.0], [90.0]], [[4.0], [5.0], [6.0], [7.0]]])
lengths = torch.tensor([3, 4])  # the 90 is filling
read = read_rows(hidden, lengths)
expect(
    read, lambda r: r.shape == (2, 2) or f"esperava (2, 2), encontrei {tuple(r.shape)}", "a forma"
)
expect(read[:, 0], [3.0, 7.0], "o último de cada texto")

# %% id="check-mean" points=1 level="core" title="A média sem o preenchimento" lesson="11#padding-proof"
read = read_rows(hidden, lengths)
expect(
    read, lambda r: r.shape == (2, 2) or f"esperava (2, 2), encontrei {tuple(r.shape)}", "a forma"
)
expect(read[:, 1], [2.0, 5.5], "a média de cada texto")

# %% [markdown]
# ## 3. O ajuste, dentro do orçamento (essencial)
#
# Estas peças são dadas. `Filter` é o `gpt-pt` com a cabeça nova, e **conta** os tokens que lê com gradiente e os pesos que aprendem. `encode` faz de cada texto uma linha de ids, e
# `batch_of` preenche um lote.

# %% id="filter"
from afina.gpt.lora import LoRASettings, add_lora, count_weights
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.train import Recipe, learning_rate_at, make_optimizer
from afina.gpt.weights import load_gpt

tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")


class Filter(nn.Module):
    """gpt-pt with a head of two scores; it counts what learning costs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(rt.seed)
        self.gpt = load_gpt(rt.models / "gpt-pt")
        self.head = nn.Linear(2 * self.gpt.config.d_model, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        self.tokens_read = self.weights_that_learn = 0

    def forward(self, ids, lengths):
        if torch.is_grad_enabled():
            self.tokens_read += ids.numel()
            self.weights_that_learn = max(self.weights_that_learn, count_weights(self)[0])
        return self.head(read_rows(self.gpt.hidden(ids), lengths))


# %% id="pieces"
def encode(texts):
    return [[tokenizer.end, *tokenizer.encode(text)] for text in texts]


def batch_of(rows):
    """(ids (batch, longest), lengths (batch,)), filled at the right."""
    longest = max(map(len, rows))
    ids = [row + [tokenizer.end] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor([len(row) for row in rows])


def read_reviews(split):
    with gzip.open(rt.data / "reviews.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["split"] == split]
    return [row["text"] for row in rows], [int(row["label"] == "neutro") for row in rows]


texts, labels = read_reviews("train")
lengths = [len(row) for row in encode(texts[:500])]
print(f"{len(texts)} exemplos, {sum(labels) / len(labels):.0%} mornos")
print(f"de {min(lengths)} a {max(lengths)} tokens, {sum(lengths) / 500:.0f} em média")

# %% [markdown]
# Complete `fine_tune(model, texts, labels)`: ela escolhe o que aprende, treina `model` ali mesmo e devolve quantos passos deu. Três coisas para pensar:
#
# - 16.000 tokens são uns 700 textos, de 6.000. Em um lote sorteado, os curtos se enchem até o mais comprido, e esse recheio também é cobrado;
# - 100.000 pesos não dão para soltar nem o último bloco (aula 11), e só a cabeça (514) não basta. O que cabe, e alcança todos os blocos?
# - uma taxa alta demais leva o modelo a dizer sempre a classe mais comum: acerta dois terços, e o F1 é zero.


# %% id="answer-tune"
def fine_tune(model, texts, labels):
    """Train `model` in place, within the budget; returns the steps taken."""
    ### SOLUTION
    model.requires_grad_(False)
    add_lora(model.gpt, LoRASettings(8, alpha=16, targets=("attention.qkv", "feed_forward.up")))
    model.head.requires_grad_(True)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    recipe = Recipe(40, batch_size=16, learning_rate=8e-3, warmup=8)
    optimizer = make_optimizer(model, recipe)
    torch.manual_seed(0)
    drawn = torch.randperm(len(texts))[: recipe.steps * recipe.batch_size].tolist()
    rows = dict(zip(drawn, encode([texts[i] for i in drawn]), strict=True))
    drawn.sort(key=lambda i: len(rows[i]))  # neighbours are of like length: little filling
    for step, place in enumerate(torch.randperm(recipe.steps).tolist()):
        chosen = drawn[place * recipe.batch_size : (place + 1) * recipe.batch_size]
        truth = torch.tensor([labels[i] for i in chosen])
        loss = F.cross_entropy(model(*batch_of([rows[i] for i in chosen])), truth)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        optimizer.step()
    return recipe.steps
    ### END


# %% [markdown]
# O treino, uma vez. As duas conferências a seguir usam este modelo.

# %% id="train"
model, steps = Filter(), None
steps = fine_tune(model, texts, labels)
print(f"{steps} passos, {model.tokens_read} tokens, {model.weights_that_learn} pesos")

# %% id="check-budget" points=1 level="core" title="Dentro do orçamento de tokens e de pesos" lesson="10#cost"
expect(steps, lambda n: n > 0 or f"encontrei {n} passos", "houve treino")
expect(
    model.tokens_read,
    lambda n: 0 < n <= 16_000 or f"esperava de 1 a 16000, encontrei {n}",
    "tokens lidos, até 16.000",
)
expect(
    model.weights_that_learn,
    lambda n: n <= 100_000 or f"esperava até 100000, encontrei {n}",
    "pesos que aprendem, até 100.000",
)

# %% [markdown]
# Agora, a nota. Este é o **placar público**: 240 resenhas com adjetivos que nenhum exemplo rotulado tem. A correção usa um **placar privado**, com outras resenhas desse tipo: quem
# ajusta o treino até acertar só as daqui não se sai bem lá. Um filtro fora do orçamento não pontua.


# %% id="measure"
@torch.no_grad()
def chances_of(model, texts):
    """The chance that each text is lukewarm."""
    model.eval()
    rows, chances = encode(texts), []
    for start in range(0, len(rows), 100):
        chances += model(*batch_of(rows[start : start + 100])).softmax(-1)[:, 1].tolist()
    return chances


def f1_of(truth, said):
    right = sum(t and s for t, s in zip(truth, said, strict=True))
    return 2 * right / max(1, sum(truth) + sum(said))


# %% id="check-score" points=3 level="core" title="F1 de pelo menos 0,70 em adjetivos novos" lesson="11#pretraining-helps"
expect(steps, lambda n: n > 0 or f"encontrei {n} passos", "houve treino")
cheap = model.tokens_read <= 16_000 and model.weights_that_learn <= 100_000
expect(
    cheap,
    lambda inside: inside or "esperava gasto dentro do limite; a nota não vale",
    "o orçamento",
)
public, truth = (part[:240] for part in read_reviews("test_adjectives"))
score = f1_of(truth, [chance >= 0.5 for chance in chances_of(model, public)])
expect(
    score,
    lambda f1: f1 >= 0.70 or f"esperava 0.70 ou mais, encontrei {f1:.2f}",
    "F1 no placar público",
)

# %% [markdown]
# ## 4. O corte (desafio)
#
# A loja esconde o que o filtro chama de morno, e não quer esconder uma resenha boa: pede uma **precisão** mínima. Escreva:
#
# - `choose_threshold(truth, chances, precision)`: entre as chances que aparecem, o **menor** corte em que, chamando de morno o que tem chance maior ou igual a ele, a precisão é pelo
#   menos a pedida. Se nenhum chega lá, o de maior precisão;
# - `report(validation, test, precision)`: cada um é um par `(truth, chances)`. Devolve um dicionário com o corte (`"threshold"`) e a precisão e a revocação **no teste**
#   (`"precision"`, `"recall"`). Se nada é chamado de morno, a precisão é 0.


# %% id="answer-threshold"
def choose_threshold(truth, chances, precision):
    """The lowest cut that reaches the precision, or the most precise one."""

    ### SOLUTION
    def precision_at(cut):
        called = [t for t, chance in zip(truth, chances, strict=True) if chance >= cut]
        return sum(called) / len(called)

    cuts = sorted(set(chances))
    good = [cut for cut in cuts if precision_at(cut) >= precision]
    return good[0] if good else max(cuts, key=precision_at)
    ### END


def report(validation, test, precision):
    """The cut, and what it gives on the test."""
    ### SOLUTION
    cut = choose_threshold(*validation, precision)
    called = [t for t, chance in zip(*test, strict=True) if chance >= cut]
    right = sum(called)
    return {
        "threshold": cut,
        "precision": right / max(1, len(called)),
        "recall": right / max(1, sum(test[0])),
    }
    ### END


# %% id="check-threshold" points=1 level="stretch" title="O menor corte que basta" lesson="11#threshold"
truth, chances = [0, 1, 0, 1, 1], [0.1, 0.3, 0.5, 0.7, 0.9]
expect(choose_threshold(truth, chances, 0.75), 0.3, "precisão de 0,75")
expect(choose_threshold(truth, chances, 0.9), 0.7, "precisão de 0,9")
expect(choose_threshold([1, 0], [0.4, 0.6], 0.9), 0.4, "nenhum corte chega a 0,9: o mais preciso")

# %% id="check-report" points=1 level="stretch" title="Escolhido na validação, medido no teste" lesson="11#threshold"
done = report((truth, chances), ([1, 1, 0, 1], [0.2, 0.75, 0.8, 0.95]), 0.9)
expect(
    done,
    {"threshold": 0.7, "precision": 2 / 3, "recall": 2 / 3},
    "o corte da validação, e o que ele dá no teste",
)

# %% [markdown]
# ## Para terminar
#
# Rode tudo do começo (*Kernel › Restart Kernel and Run All Cells*) e confira que cada célula de conferência diz ✔. Depois entregue este arquivo e
# compare-o com a [solução comentada](solution.ipynb).
