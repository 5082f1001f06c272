# %% [markdown] id="cover" hides="afina.data.clean, afina.data.rows, afina.data.prep, afina.data.catalog" seconds=20 memory_mb=2000
# # Tarefa 01 · Limpe o catálogo
#
# A loja fechou o ano e mandou o catálogo inteiro: vinte mil produtos, digitados por dez fornecedores em dez sistemas. Há `&eacute;` onde
# devia haver é, etiquetas de página (*tags*) no meio do texto, linhas cortadas, produtos sem descrição e produtos repetidos. Segunda-feira um modelo
# começa a aprender com esse arquivo, e ele aprende **tudo** o que estiver lá. O que você entrega é um catálogo em que se pode confiar, e a conta
# exata do que ficou de fora.
#
# Você vai escrever duas funções: `clean_text`, que limpa um texto, e `clean_catalogue`, que limpa o arquivo.
#
# {{rubric}}
#
# **Regras do jogo.** Escreva só nas células de resposta; pode criar outras para experimentar. As células de conferência não se mudam: elas voltam ao
# original na correção, que usa também casos escondidos. Um critério vale quando os exemplos daqui e os escondidos dão certo. `afina.data.clean`
# e `afina.data.catalog` são o gabarito desta tarefa e não podem ser usados; `html`, `re`, `unicodedata` e `json`, da biblioteca do Python, podem.

# %% id="setup"

# %% [markdown]
# ## O arquivo
#
# Um objeto JSON por linha. Olhe antes de limpar:

# %% id="look"
import gzip

with gzip.open(rt.data / "amazon_sample.json.gz") as file:
    lines = file.read().splitlines()  # bytes: nem toda linha é texto em UTF-8
print(len(lines), "linhas\n")
for line in lines[3:6]:
    print(line[:300], "\n")

# %% [markdown]
# ## 1. Limpar um texto
#
# `clean_text` aplica quatro regras, nesta ordem:
#
# 1. **entidades** HTML viram os caracteres que elas nomeiam: `&eacute;` é `é`. Há texto que foi escapado duas vezes, `&amp;eacute;`, e o certo é `é` também;
# 2. **tags** HTML saem, e cada uma deixa um espaço: `azul<br>claro` são duas palavras. `<` seguido de espaço é conta (`5 < 6`), não tag;
# 3. **sinais** saem sem deixar nada. Ficam letras, acentos e números de qualquer escrita, espaços, vírgulas e pontos;
# 4. **espaços** repetidos viram um, e não sobra nenhum nas pontas.
#
# Dica para a regra 3: `unicodedata.category(char)` começa com `L` (letra), `M` (acento) ou `N` (número).

# %% id="answer-clean"
import html
import re
import unicodedata


def clean_text(text):
    """O texto sem entidades, tags, sinais e espaços a mais."""
    ### SOLUTION
    while html.unescape(text) != text:
        text = html.unescape(text)
    text = re.sub(r"<[A-Za-z/!?][^<>]*>", " ", text)
    kept = (
        char
        for char in text
        if char.isspace() or char in ",." or unicodedata.category(char)[0] in "LMN"
    )
    return " ".join("".join(kept).split())
    ### END


# %% id="check-entities" points=1 level="easy" title="Entidades viram letras" lesson="02#order"
expect(clean_text("Caf&eacute; da manh&atilde;"), "Café da manhã", "letras acentuadas")
expect(clean_text("P&#227;o"), "Pão", "uma entidade escrita com número")

# %% id="check-tags" points=1 level="easy" title="Tags saem, palavras não se colam" lesson="02#order"
expect(clean_text("azul<br>claro"), "azul claro", "a tag deixa um espaço")
expect(clean_text('<p class="x">Mesa</p>'), "Mesa", "uma tag com atributo")
expect(clean_text("5 < 6 e 7 > 6"), "5 6 e 7 6", "uma conta não é uma tag")

# %% id="check-spaces" points=1 level="easy" title="Espaços em ordem" lesson="02#order"
expect(clean_text("  mesa   de\tpinho\n"), "mesa de pinho", "espaços repetidos e nas pontas")

# %% id="check-signs" points=1 level="core" title="Sinais saem; letras de qualquer escrita ficam" lesson="02#order"
expect(
    clean_text("Mesa (nova)! R$ 10,50."), "Mesa nova R 10,50.", "sinais saem, vírgula e ponto ficam"
)
expect(
    clean_text("Чашка 茶 №2 d'água"),
    "Чашка 茶 2 dágua",
    "letras de outras escritas e acentos ficam",
)

# %% id="check-twice" points=1 level="stretch" title="Entidades escapadas duas vezes" lesson="02#order"
expect(clean_text("p&amp;atilde;o"), "pão", "uma entidade dentro da outra")
expect(clean_text("um&amp;lt;br&amp;gt;dois"), "um dois", "uma tag escondida em entidades")

# %% [markdown]
# ## 2. Limpar o arquivo
#
# `clean_catalogue(lines)` recebe as linhas do arquivo e devolve duas coisas: os produtos aproveitados, na ordem do arquivo, e a conta dos descartes.
#
# - um produto é `{"uid": …, "title": …, "content": …}`, com título e descrição já limpos;
# - a conta é um dicionário com quatro números:
#
# | chave | quem cai nela |
# | --- | --- |
# | `broken` | a linha que não é um objeto JSON com `uid`, `title` e `content` em texto; linha em branco também |
# | `no_title` | quem ficou sem título depois de limpo |
# | `no_content` | quem tem título, mas ficou sem descrição |
# | `duplicate` | quem tem título e descrição iguais aos de um produto já aproveitado |
#
# Cada linha cai em um lugar só, nessa ordem. Nada some sem ser contado: é isso que permite confiar no resto.

# %% id="answer-catalogue"
import json


def clean_catalogue(lines):
    """(produtos aproveitados, {"broken": n, "no_title": n, "no_content": n, "duplicate": n})"""
    ### SOLUTION
    dropped = {"broken": 0, "no_title": 0, "no_content": 0, "duplicate": 0}
    products, seen = [], set()
    for line in lines:
        try:
            row = json.loads(line)
            uid, texts = row["uid"], [row["title"], row["content"]]
            if not all(isinstance(text, str) for text in [uid, *texts]):
                raise TypeError("uid, title e content devem ser texto")
        except (ValueError, KeyError, TypeError):
            dropped["broken"] += 1
            continue
        title, content = (clean_text(text) for text in texts)
        if not title:
            dropped["no_title"] += 1
        elif not content:
            dropped["no_content"] += 1
        elif (title, content) in seen:
            dropped["duplicate"] += 1
        else:
            seen.add((title, content))
            products.append({"uid": uid, "title": title, "content": content})
    return products, dropped
    ### END


# %% id="sample"
def row(uid, title, content):
    """Uma linha como as do arquivo, para experimentar."""
    return json.dumps({"uid": uid, "title": title, "content": content}, ensure_ascii=False)


def outcome(lines):
    """Os uid aproveitados e os descartes que não são zero."""
    if (cleaned := clean_catalogue(lines)) is not None:
        products, dropped = cleaned
        return [product["uid"] for product in products], {k: n for k, n in dropped.items() if n}
    return None


# %% id="check-broken" points=1 level="core" title="Linhas quebradas são contadas, não derrubam" lesson="02"
lines_here = [
    row("a", "Mesa", "Azul"),
    '{"uid": "b", "tit',
    "",
    "[1, 2]",
    '{"uid": "c", "title": "Vaso"}',
]
expect(outcome(lines_here), (["a"], {"broken": 4}), "uma linha boa e quatro quebradas")
expect(outcome([row("d", None, "Verde")]), ([], {"broken": 1}), "um título que não é texto")

# %% id="check-empty" points=1 level="core" title="Sem título ou sem descrição, fora" lesson="02"
lines_here = [
    row("a", "Mesa", "Azul"),
    row("b", "", "Verde"),
    row("c", "Vaso", " "),
    row("d", "", ""),
]
expect(
    outcome(lines_here), (["a"], {"no_title": 2, "no_content": 1}), "um produto vazio de cada jeito"
)

# %% id="check-duplicates" points=1 level="core" title="Repetidas saem" lesson="02#hash-split"
lines_here = [row("a", "Mesa", "Azul"), row("b", "Mesa", "Azul"), row("c", "Mesa", "Verde")]
expect(
    outcome(lines_here),
    (["a", "c"], {"duplicate": 1}),
    "fica a primeira de cada par de título e descrição",
)

# %% id="check-late" points=1 level="stretch" title="Repetidas que só se revelam depois da limpeza" lesson="02#hash-split"
lines_here = [row("a", "Mesa", "Azul"), row("b", " Mesa", "Azul"), row("c", "Mesa", "Azul  ")]
expect(outcome(lines_here), (["a"], {"duplicate": 2}), "iguais a menos dos espaços")

# %% [markdown]
# ## 3. O catálogo de verdade
#
# As primeiras quatro mil linhas, enfim. A soma do que ficou e do que saiu tem de dar o que entrou. Passou? Troque por `lines` e rode nas vinte mil.

# %% id="check-whole" points=1 level="core" title="O arquivo inteiro, sem sumiço" lesson="02"
some = lines[:4000]
cleaned = clean_catalogue(some)
products, dropped = cleaned or ([], {})
expect(
    cleaned and len(products) + sum(dropped.values()),
    len(some),
    "o que ficou mais o que saiu é o que entrou",
)
expect(len({(p["title"], p["content"]) for p in products}), len(products), "não há repetidas")

# %% [markdown]
# ## Para terminar
#
# Rode tudo do começo (*Kernel › Restart Kernel and Run All Cells*) e confira que cada célula de conferência diz ✔. Depois entregue este arquivo e
# compare-o com a [solução comentada](solution.ipynb). Em [afina/data/clean.py](../../afina/data/clean.py), as mesmas regras limpam dois milhões de linhas.
