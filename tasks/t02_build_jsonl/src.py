# %% [markdown] id="cover" forbids="afina.jsonl.chat, afina.jsonl.chat_rows, afina.jsonl.chat_example, afina.jsonl.chat_messages, afina.jsonl.write_jsonl, afina.data.split" seconds=20 memory_mb=2000
# # Tarefa 02 · Monte o treino.jsonl e o teste.jsonl
#
# O catálogo está limpo (obrigado!). Agora a loja quer um modelo que descreva produtos, e o serviço de *fine-tuning* só aceita uma coisa: um arquivo JSONL, com
# uma conversa por linha. No ano passado o estagiário mandou o arquivo sem conferir. O job rodou quatro horas, cobrou, e a nota do teste foi ótima, porque
# metade do teste estava no treino. Você vai fazer melhor: montar, dividir **sem vazamento** e conferir **antes** de pagar.
#
# {{rubric}}
#
# **Regras do jogo.** Escreva só nas células de resposta; pode criar outras para experimentar. As células de conferência voltam ao original na
# correção, que usa também casos escondidos. A biblioteca do Python basta (`json`, `hashlib`); as funções do curso que fazem exatamente isto
# (`chat_rows`, `write_jsonl`, `assign_splits` e companhia) são o gabarito. O validador do curso está liberado: no fim, é ele quem dá o visto.

# %% id="setup"

# %% [markdown]
# ## Os produtos

# %% id="products"
import contextlib
import gzip
import json

from afina.data.clean import clean

SYSTEM = "Você descreve produtos de uma loja, em poucas frases e sem exagero."
products = []
with gzip.open(rt.data / "amazon_sample.json.gz") as file:
    for line in file.read().splitlines()[:500]:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            product = {"title": clean(row["title"]), "content": clean(row["content"])}
            if all(product.values()) and product not in products:
                products.append(product)
print(len(products), "produtos; o primeiro:", products[0])

# %% [markdown]
# ## 1. Um exemplo
#
# `example(title, content)` devolve uma conversa no formato da OpenAI: um dicionário com a chave `messages` e três mensagens, nesta ordem:
#
# | `role` | `content` |
# | --- | --- |
# | `system` | o texto de `SYSTEM` |
# | `user` | `Descreva o produto: ` e o título |
# | `assistant` | a descrição, inteira |


# %% id="answer-example"
def example(title, content):
    """A conversa que ensina a descrever um produto."""
    ### SOLUTION
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"Descreva o produto: {title}"},
            {"role": "assistant", "content": content},
        ]
    }
    ### END


# %% id="check-roles" points=1 level="easy" title="Os três papéis, na ordem" lesson="03#roles"
made = example("Mesa", "Azul.")
expect(made and [m["role"] for m in made["messages"]], ["system", "user", "assistant"], "os papéis")

# %% id="check-texts" points=1 level="easy" title="Cada texto no seu lugar, inteiro" lesson="03#roles"
made = example("Mesa de pinho", "Azul. Com gaveta.")
said = made and {m["role"]: m["content"] for m in made["messages"]}
expect(said and said["user"], "Descreva o produto: Mesa de pinho", "a pergunta")
expect(said and said["assistant"], "Azul. Com gaveta.", "a resposta")

# %% [markdown]
# ## 2. O arquivo
#
# `write_jsonl(path, rows)` grava um objeto JSON por linha, em UTF-8, com os acentos como são (`é`, não `\u00e9`), e uma quebra no fim da última linha.
# Um texto com quebra de linha dentro continua em **uma** linha do arquivo: o `json` já cuida disso, se você deixar.


# %% id="answer-write"
def write_jsonl(path, rows):
    """Grava `rows` (dicionários) em `path`, um por linha."""
    ### SOLUTION
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    ### END


# %% id="check-file" points=1 level="easy" title="Um objeto por linha, acentos inteiros" lesson="03#file"
path = rt.build / "t02_amostra.jsonl"
path.unlink(missing_ok=True)
write_jsonl(path, [{"a": "pão\nde queijo"}, {"a": "café"}])
text = path.read_bytes().decode() if path.exists() else None
expect(text, '{"a": "pão\\nde queijo"}\n{"a": "café"}\n', "o arquivo gravado")

# %% [markdown]
# ## 3. A divisão
#
# `split(products)` devolve duas listas de produtos, `(treino, teste)`, com mais ou menos um décimo no teste. Nenhum produto se perde. E, mais importante:
#
# - **sem vazamento**: um título nunca está dos dois lados, mesmo que volte com outra descrição;
# - **estável**: o lado de um produto depende só do título dele. Nem a ordem, nem produtos novos, nem rodar de novo amanhã mudam alguém de lado;
# - **desafio**: `Mesa Azul` e `mesa  azul` são o mesmo título. Maiúsculas e espaços a mais não fazem um produto novo.
#
# Cuidado: o `hash()` do Python muda a cada execução. O `hashlib` não.

# %% id="answer-split"
import hashlib


def split(products):
    """(treino, teste): cerca de um décimo no teste, decidido pelo título."""
    ### SOLUTION
    sides = ([], [])
    for product in products:
        title = " ".join(product["title"].casefold().split())
        place = int(hashlib.sha256(title.encode()).hexdigest(), 16) % 10
        sides[place == 0].append(product)
    return sides
    ### END


# %% id="sides"
def titles_of(side):
    """Os títulos de um lado da divisão."""
    return {product["title"] for product in side}


# %% id="check-share" points=1 level="core" title="Um décimo no teste, nada perdido" lesson="02#hash-split"
def about_a_tenth(sides):
    share = len(sides[1]) / len(products)
    return 0.05 < share < 0.15 or f"esperava perto de 10% no teste, encontrei {share:.0%}"


expect(split(products), about_a_tenth, "o tamanho do teste")
expect(sum(map(len, split(products))), len(products), "treino mais teste são todos")

# %% id="check-leak" points=1 level="core" title="Nenhum título dos dois lados" lesson="02#hash-split"
again = products + [{"title": p["title"], "content": "Outra descrição."} for p in products]
sides = split(again)
expect(
    sides and sorted(titles_of(sides[0]) & titles_of(sides[1])), [], "títulos no treino e no teste"
)

# %% id="check-stable" points=1 level="core" title="Ninguém muda de lado" lesson="02#hash-split"
sides = split(products)
new = [{"title": f"Produto novo {n}", "content": "Novo."} for n in range(200)]
grown = split(new + products[::-1])
moved = sides and titles_of(sides[1]) ^ (titles_of(grown[1]) - titles_of(new))
expect(sides and sorted(moved), [], "mudaram de lado com a chegada de 200 produtos")

# %% id="check-near" points=1 level="stretch" title="O mesmo título, escrito de outro jeito" lesson="02#hash-split"
twins = [{"title": f"  {p['title'].upper()} ", "content": "Gêmeo."} for p in products]
sides = split(products + twins)
fold = [{" ".join(title.casefold().split()) for title in titles_of(side)} for side in sides or ()]
expect(sides and len(fold[0] & fold[1]), 0, "títulos gêmeos separados")

# %% [markdown]
# ## 4. O seu validador
#
# `problems(line)` recebe uma linha do arquivo (texto) e devolve a lista dos problemas dela, nesta ordem; vazia se não há nenhum:
#
# | código | quando |
# | --- | --- |
# | `json` | a linha não é um objeto JSON; não há mais o que conferir |
# | `messages` | não há uma lista `messages` com ao menos uma mensagem; idem |
# | `role` | algum papel não é `system`, `user` ou `assistant`, ou há um `system` que não é a primeira mensagem |
# | `empty` | algum `content` não é texto, ou só tem espaços |
# | `end` | a última mensagem não é do `assistant` |
#
# **Desafio**: uma linha pode ter vários problemas, e o validador bom diz todos de uma vez. Conserta-se tudo em uma volta, não em cinco.


# %% id="answer-problems"
def problems(line):
    """Os códigos dos problemas de uma linha, na ordem da tabela."""
    ### SOLUTION
    try:
        row = json.loads(line)
    except ValueError:
        return ["json"]
    if not isinstance(row, dict):
        return ["json"]
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return ["messages"]
    found = []
    roles = [message.get("role") for message in messages]
    texts = [message.get("content") for message in messages]
    if not set(roles) <= {"system", "user", "assistant"} or "system" in roles[1:]:
        found.append("role")
    if not all(isinstance(text, str) and text.strip() for text in texts):
        found.append("empty")
    if roles[-1] != "assistant":
        found.append("end")
    return found
    ### END


# %% id="talk"
def talk(*messages):
    """Uma linha de arquivo com estas mensagens, (papel, texto)."""
    rows = [{"role": role, "content": content} for role, content in messages]
    return json.dumps({"messages": rows}, ensure_ascii=False)


# %% id="check-validator" points=1 level="core" title="O validador acha cada problema" lesson="03#roles"
good = [("user", "Oi"), ("assistant", "Olá!")]
expect(problems(talk(*good)), [], "uma linha sem problema")
expect(problems('{"messages": ['), ["json"], "uma linha cortada")
expect(problems('{"messages": []}'), ["messages"], "nenhuma mensagem")
expect(problems(talk(("cliente", "Oi"), good[1])), ["role"], "um papel inventado")
expect(problems(talk(("user", "  "), good[1])), ["empty"], "uma pergunta vazia")
expect(problems(talk(good[1], good[0])), ["end"], "a pergunta depois da resposta")

# %% id="check-every" points=1 level="stretch" title="Todos os problemas de uma vez" lesson="03"
expect(
    problems(talk(("user", ""), ("bot", "Olá!"))),
    ["role", "empty", "end"],
    "três problemas em uma linha",
)

# %% [markdown]
# ## 5. Tudo junto
#
# `build(products, folder)` divide, monta os exemplos e grava `treino.jsonl` e `teste.jsonl` na pasta, que já existe. O validador do curso confere os dois:


# %% id="answer-build"
def build(products, folder):
    """Grava treino.jsonl e teste.jsonl em `folder` (um Path)."""
    ### SOLUTION
    for name, side in zip(("treino", "teste"), split(products), strict=True):
        rows = [example(product["title"], product["content"]) for product in side]
        write_jsonl(folder / f"{name}.jsonl", rows)
    ### END


# %% id="check-whole" points=1 level="core" title="Os dois arquivos passam no validador do curso" lesson="03"
from afina.jsonl import validate

folder = rt.build / "t02"
folder.mkdir(exist_ok=True)
files = [folder / "treino.jsonl", folder / "teste.jsonl"]
[file.unlink(missing_ok=True) for file in files]
build(products, folder)
report = validate(*files) if all(file.exists() for file in files) else None
expect(
    report and report.ok,
    lambda ok: ok or f"esperava nenhum erro, encontrei: {report.text(3)}",
    "o validador do curso",
)

# %% [markdown]
# ## Para terminar
#
# Rode tudo do começo (*Kernel › Restart Kernel and Run All Cells*) e confira que cada célula de conferência diz ✔. Depois entregue este arquivo e
# compare-o com a [solução comentada](solution.ipynb); o [validador do curso](../../afina/jsonl/validate.py) mostra até onde dá para ir. Com os dois arquivos na
# mão, o caminho segue na [aula 15](../../notebooks/15_openai_job.ipynb): enviar e treinar.
