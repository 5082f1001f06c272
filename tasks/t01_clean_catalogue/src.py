# %% [markdown] id="cover" forbids="afina.data.clean, afina.data.catalog" seconds=20 memory_mb=2000
# # Tarefa 01 · Limpe o catálogo
#
# A loja fechou o ano e mandou o catálogo inteiro: vinte mil produtos, digitados por dez fornecedores em dez sistemas. Há `&eacute;` onde
# devia haver é, etiquetas de página no meio do texto, linhas cortadas, produtos sem descrição e produtos repetidos. Segunda-feira um modelo
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
# 1. **entidades** HTML viram os caracteres que elas nomeiam: `&amp;` é `&`, `&eacute;` é `é`;
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
    """`text` without entities, tags, odd signs and extra spaces."""
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
