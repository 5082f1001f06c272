# %% [markdown] id="cover"
# # 03 · Montar o JSONL
#
# Linhas limpas viram conversas, no formato exato que a OpenAI e o Bedrock pedem, conferidas e orçadas antes de sair de casa.
#
# **Ao final você vai saber**
#
# - escrever exemplos de chat em JSONL, para a OpenAI e para o Bedrock
# - achar todos os problemas de um arquivo de uma vez, e consertá-los
# - dizer quantos tokens e quantos dólares um treino custaria, sem gastar nada
# - reconhecer o que cada serviço recusa
#
# **Antes desta aula**: [02 · Preparar os dados](02_dataset_prep.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown]
# ## 1. De linha a conversa
#
# Um serviço de *fine-tuning* (ajuste fino) não quer uma tabela: quer exemplos do que o modelo deve fazer. Cada exemplo é uma conversa curta, e
# cada conversa é uma linha de um arquivo **JSONL** (um objeto JSON por linha).
#
# Começamos pelo que o motor da aula 02 produz, em um segundo:

# %%
# NBVAL_IGNORE_OUTPUT
import pandas as pd

from afina.data.prep import prep

report = prep(rt.data / "amazon_sample.json.gz", rt.build / "03_catalogo", shard_rows=5_000)
print(report)

# %%
train = pd.read_json(rt.build / "03_catalogo" / "train-00000.jsonl", lines=True)
validation = pd.read_json(rt.build / "03_catalogo" / "validation-00000.jsonl", lines=True)
train[["title", "content"]].head(3)

# %% [markdown] id="roles"
# Uma conversa é uma lista de mensagens, cada uma com um papel (`role`):
#
# | papel | quem fala | no treino |
# | --- | --- | --- |
# | `system` | você, ao modelo: como se comportar | igual em todos os exemplos, de preferência |
# | `user` | a pessoa | a pergunta |
# | `assistant` | o modelo | a resposta **que ele deve aprender** |
#
# O catálogo é em inglês, e o modelo que o curso vai ajustar com ele também; por isso as instruções são em inglês.

# %%
import json

from afina.jsonl import chat_example

SYSTEM = "You write short, honest product descriptions for a shop."

first = chat_example(
    f"Describe the product: {train['title'][0]}", train["content"][0], system=SYSTEM
)
print(json.dumps(first, indent=2, ensure_ascii=False)[:520], "…")

# %% [markdown]
# O construtor já confere o que recebe. Uma resposta vazia, por exemplo, não ensina nada, e ele para na hora:

# %%
from afina.errors import CourseError

try:
    chat_example("Describe the product: Blue Mug", "   ")
except CourseError as error:
    print(error)

# %% [markdown] id="how-many"
# ## 2. Os dois arquivos da OpenAI
#
# Um arquivo para treinar, outro para validar. A divisão já veio pronta do motor, pelo hash do título: nenhum produto está nos dois.
#
# Quantos exemplos? O mínimo da OpenAI é **10**. O material antigo que circula diz 100, e não é regra do serviço; mas é bom conselho: o guia dela fala em
# ganhos a partir de 50 a 100. Usamos 300.


# %%
def questions_and_answers(products):
    """(user, assistant) pairs from rows with title and content."""
    return [
        (f"Describe the product: {title}", content)
        for title, content in zip(products["title"], products["content"], strict=True)
    ]


train_pairs = questions_and_answers(train.head(300))
validation_pairs = questions_and_answers(validation.head(60))

# %%
# NBVAL_CHECK_OUTPUT
from afina.jsonl import chat_rows, write_jsonl

written = {
    "train.jsonl": write_jsonl(rt.data / "train.jsonl", chat_rows(train_pairs, system=SYSTEM)),
    "validation.jsonl": write_jsonl(
        rt.data / "validation.jsonl", chat_rows(validation_pairs, system=SYSTEM)
    ),
}
print(written)

# %% [markdown] id="file"
# O arquivo é texto puro: uma linha por exemplo, em UTF-8, sem vírgula entre as linhas e sem colchetes em volta. Leia de volta e confira que é o
# mesmo objeto:

# %%
lines = (rt.data / "train.jsonl").read_text(encoding="utf-8").splitlines()
assert json.loads(lines[0]) == first
print(lines[0][:200], "…")

# %% [markdown] id="bedrock"
# ## 3. O que o Bedrock quer diferente
#
# O Amazon Bedrock treina modelos de várias casas, e cada família tem seu formato. O mesmo exemplo, para Nova e Llama 3.2 ou 3.3:

# %%
from afina.jsonl import converse_example, converse_rows

same = converse_example(*train_pairs[0], system=SYSTEM)
print(json.dumps(same, indent=2, ensure_ascii=False)[:560], "…")

# %% [markdown]
# E para o Llama 3.1, que só conhece pergunta e continuação:

# %%
from afina.jsonl import completion_example

older = completion_example(*train_pairs[0], system=SYSTEM)
print(json.dumps(older, indent=2, ensure_ascii=False)[:300], "…")

# %% [markdown]
# Lado a lado:
#
# | | OpenAI, chat | Bedrock, `bedrock-conversation-2024` | Bedrock, Llama 3.1 |
# | --- | --- | --- | --- |
# | versão do formato | não há | `schemaVersion` em cada linha | não há |
# | instrução | mensagem `system` | campo `system`, fora das mensagens | não há campo: vai junto do `prompt` |
# | conteúdo | um texto | uma lista de blocos `{"text": …}` | um texto |
# | turnos | livres, e a última é do assistente | `user` e `assistant` alternados | só um |
# | peso por resposta | `weight` 0 ou 1 | não há | não há |

# %%
# NBVAL_CHECK_OUTPUT
written_aws = {
    "train_aws.jsonl": write_jsonl(
        rt.data / "train_aws.jsonl", converse_rows(train_pairs, system=SYSTEM)
    ),
    "validation_aws.jsonl": write_jsonl(
        rt.data / "validation_aws.jsonl", converse_rows(validation_pairs, system=SYSTEM)
    ),
}
print(written_aws)

# %% [markdown]
# ## 4. O validador, em arquivos bons
#
# Um serviço confere o arquivo depois do envio, e costuma dizer só o primeiro erro. O validador do curso roda aqui, de graça, e diz todos. Ele
# reconhece o formato sozinho:

# %%
from afina.jsonl import validate

good = validate(rt.data / "train.jsonl", rt.data / "validation.jsonl")
print(good)
assert good.ok

# %% [markdown]
# Além do veredito, o resumo responde ao que você perguntaria: tokens por papel, o exemplo mais longo, instruções diferentes, linhas repetidas e
# vazamento entre os arquivos. E os do Bedrock:

# %%
good_aws = validate(
    rt.data / "train_aws.jsonl", rt.data / "validation_aws.jsonl", model="amazon.nova-micro-v1:0"
)
print(good_aws.text().splitlines()[0], "| formato", good_aws.format)
assert good_aws.ok

# %% [markdown]
# ## 5. O validador, em arquivos ruins
#
# Agora a parte divertida: estragar. Cada item abaixo é um jeito que um arquivo real já chegou estragado a alguém. Começamos com cem
# exemplos bons e um estrago por vez.

# %%
base = (rt.data / "train.jsonl").read_bytes().splitlines(keepends=True)[:100]


def ruined(change):
    """The 100 good lines, with line 3 replaced by change(line 3)."""
    return b"".join([*base[:2], change(base[2]), *base[3:]])


ruins = {
    "json cortado": ruined(lambda line: line[:80] + b"\n"),
    "lista em vez de objeto": ruined(lambda line: b"[" + line.strip() + b"]\n"),
    "sem messages": ruined(lambda line: line.replace(b'"messages"', b'"mensagens"')),
    "papel desconhecido": ruined(lambda line: line.replace(b'"role":"user"', b'"role":"cliente"')),
    "sem resposta": ruined(lambda line: line.replace(b'"role":"assistant"', b'"role":"user"')),
    "linha repetida": ruined(lambda line: base[0]),
}

# %% [markdown]
# E os estragos que pegam o arquivo inteiro, quase sempre vindos de um editor de planilhas:

# %%
accent = (
    json.dumps(chat_example("Descreva: xícara", "Uma xícara de porcelana."), ensure_ascii=False)
    + "\n"
)
ruins |= {
    "arquivo vazio": b"",
    "marca BOM no começo": b"\xef\xbb\xbf" + b"".join(base),
    "fim de linha do Windows": b"".join(base).replace(b"\n", b"\r\n"),
    "acentos em Latin-1": b"".join(base) + accent.encode("latin-1"),
    "só sete exemplos": b"".join(base[:7]),
    "formato do Bedrock, sem a versão": (rt.data / "train_aws.jsonl")
    .read_bytes()
    .replace(b'"schemaVersion"', b'"versao"', 1),
}

# %%
folder = rt.build / "jsonl_ruins"
folder.mkdir(exist_ok=True)
first_problems = []
for name, content in ruins.items():
    ruin = folder / f"{name.replace(' ', '_')}.jsonl"
    ruin.write_bytes(content)
    worst = validate(ruin).problems[0]
    first_problems.append((name, worst.line, worst.found, worst.remedy))

names = ["estrago", "linha", "o que foi achado", "como consertar"]
styled = pd.DataFrame(first_problems, columns=names).style.hide().set_uuid("ruins")
styled.set_properties(**{"text-align": "left"})

# %% [markdown]
# Repare no que cada linha traz: onde, o que foi achado e o que fazer. E um arquivo com vários problemas mostra todos juntos:

# %%
mess = folder / "bagunca.jsonl"
mess.write_bytes(
    ruins["papel desconhecido"] + base[0] + b'{"messages": []}\n' + b"\n" + base[4][:60] + b"\n"
)
print(validate(mess).text())

# %% [markdown]
# O mais traiçoeiro não é erro de forma: é o vazamento. Um exemplo de validação que também está no treino faz a validação mentir.

# %%
leaky = folder / "validacao_vazada.jsonl"
leaky.write_bytes((rt.data / "validation.jsonl").read_bytes() + base[0])
leak_report = validate(rt.data / "train.jsonl", leaky)
for problem in leak_report.problems:
    print(problem)
assert leak_report.leaks == 1

# %% [markdown]
# No terminal é o mesmo validador. O código de saída é 1 quando há erro, e um script pode parar ali:
#
# ```bash
# afina validate data/train.jsonl data/validation.jsonl
# afina validate data/train_aws.jsonl --model amazon.nova-micro-v1:0 --json
# ```

# %% [markdown]
# ## 6. O que cada serviço aceita
#
# Os limites mudam sem aviso. Por isso moram em uma tabela só, com data e fonte, em `afina/prices.toml`:

# %%
from afina.prices import MODELS

print("tabela lida em", min(model.read_on for model in MODELS))
columns = {
    "modelo": "id",
    "formato": "format",
    "mín.": "min_examples",
    "máx.": "max_examples",
    "tokens por exemplo": "max_tokens",
    "US$ por milhão": "price",
    "saiu do ar": "retired",
}
unknown = {None: "não achado", "": ""}
pd.DataFrame(
    [
        {
            name: unknown.get(value := getattr(m, field), str(value))
            for name, field in columns.items()
        }
        for m in MODELS
    ]
)

# %% [markdown]
# "Não achado" quer dizer isso mesmo: não há fonte, e o curso não inventa. Três avisos que valem dinheiro, em novembro de 2026:
#
# - **A OpenAI está encerrando o *fine-tuning*.** Contas novas já não criam jobs, e a partir de 6 de janeiro de 2027 ninguém criará. O formato e o
#   caminho continuam valendo em outros serviços, e na aula 15 você faz o job inteiro em um gêmeo local.
# - **No Bedrock, cuidado com o *provisioned throughput*.** É cobrado por hora, mesmo parado. Prefira a implantação sob demanda.
# - **Sempre apague o que criou.** Modelos guardados também custam.

# %% [markdown]
# ## 7. Tokens: a unidade da conta
#
# Serviços cobram por *token*. Quantos há em um texto? Quem sabe ao certo é o tokenizador do modelo, que precisa ser baixado. Sem rede, o curso usa uma
# **estimativa calibrada**: uma fórmula sobre letras, dígitos, acentos e sinais, ajustada a contagens de verdade, com o erro medido e escrito.

# %%
from afina.jsonl import estimate_tokens

for text in (
    "The cat sleeps on the warm roof.",
    "O gato dorme em cima do telhado quente.",
    "R$ 3.500,00 à vista",
):
    print(f"{estimate_tokens(text):>3} tokens  {len(text):>3} caracteres  {text}")

# %% [markdown]
# Quanto mede cada exemplo nosso? O mais longo decide se cabe no limite do modelo; a soma decide o preço.

# %%
from afina.teach.figures import INK, figure, show

tokens = pd.Series([estimate_tokens(line) for line in lines])
fig, ax = figure(height=3)
ax.hist(tokens, bins=30)
ax.axvline(tokens.mean(), color=INK, linestyle="--")
ax.annotate(
    f"média {tokens.mean():.0f}",
    (tokens.mean(), ax.get_ylim()[1] * 0.95),
    (6, 0),
    textcoords="offset points",
)
ax.set(
    title="Tamanho dos exemplos de treino", xlabel="tokens estimados por exemplo", ylabel="exemplos"
)
show(
    fig,
    alt=f"Histograma dos tokens estimados por exemplo: de {tokens.min()} a {tokens.max()}, "
    f"com média de {tokens.mean():.0f}.",
)

# %% [markdown] id="cost"
# ## 8. Quanto custaria?
#
# A conta é curta: `tokens do arquivo × épocas × preço por token`. Uma **época** é uma passada por todos os exemplos.

# %%
from afina.jsonl import estimate

print(estimate(rt.data / "train.jsonl", "gpt-4.1-mini", epochs=3))

# %% [markdown]
# Confira à mão. O preço é por um milhão de tokens treinados:

# %%
quote = estimate(rt.data / "train.jsonl", "gpt-4.1-mini", epochs=3)
by_hand = quote.tokens * 3 * quote.price / 1_000_000
print(f"US$ {by_hand:.4f}")
assert abs(by_hand - quote.usd) < 1e-9

# %% [markdown]
# Nosso arquivo custaria centavos. O catálogo inteiro, não. Para os modelos de preço conhecido, três épocas de um milhão e meio de produtos como
# estes:

# %%
per_example = quote.tokens / quote.examples
priced = [m for m in MODELS if m.price and not m.retired]
costs = {m.id: estimate(round(per_example * 1_500_000), m, epochs=3).usd for m in priced}
for name, usd in sorted(costs.items(), key=lambda item: item[1]):
    print(f"{name:<28} US$ {usd:>9,.0f}".replace(",", "."))

# %% [markdown]
# Treinar é só o começo: usar o modelo ajustado também se paga, e hospedá-lo às vezes. Por isso todo job do curso passa por esta estimativa, e nenhum
# gasta sem a sua confirmação.

# %% [markdown]
# ## 9. Dois refinamentos da OpenAI
#
# **Peso.** Em uma conversa com várias respostas, `weight: 0` deixa uma delas fora do aprendizado. Útil quando a primeira resposta é ruim e a segunda
# a corrige:

# %%
from afina.jsonl import chat_messages

corrected = chat_messages(
    [
        {"role": "user", "content": "Descreva: caneca azul"},
        {"role": "assistant", "content": "É uma caneca.", "weight": 0},
        {"role": "user", "content": "Diga a cor e o uso."},
        {"role": "assistant", "content": "Caneca azul, para café ou chá.", "weight": 1},
    ]
)
print(json.dumps(corrected, ensure_ascii=False)[:160], "…")

# %% [markdown]
# **Preferência (DPO).** Em vez de uma resposta certa, um par: a que se prefere e a que se evita. É o formato natural do que os usuários corrigem, e
# volta na aula 17.

# %%
from afina.jsonl import dpo_example

pair = dpo_example(
    "Descreva: caneca azul", preferred="Caneca azul, para café ou chá.", rejected="É uma caneca."
)
print(json.dumps(pair, indent=1, ensure_ascii=False))

# %% [markdown]
# ## Sua vez
#
# **1.** Esta linha foi recusada. Rode a célula, leia o que o validador diz e conserte `fixed`, sem mudar os textos.

# %%
fixed = '{"messages": [{"role": "user", "content": "Oi"}, {"role": "bot", "content": "Olá!"}]}'

repair = folder / "conserto.jsonl"
repair.write_text(fixed + "\n", encoding="utf-8")
print(validate(repair).text(3))

# %%
from afina.teach.check import check


def is_repaired(text):
    """True, or what is still wrong with line 1."""
    errors = [p.found for p in validate(repair).problems if p.line == 1 and p.severity == "error"]
    texts = (
        [message["content"] for message in json.loads(text)["messages"]]
        if not errors
        else ["Oi", "Olá!"]
    )
    return "; ".join(errors) or texts == ["Oi", "Olá!"] or "os textos mudaram"


check(... if '"bot"' in fixed else fixed, is_repaired)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# O papel do modelo se chama `assistant`, não `bot`. O aviso de poucos exemplos continua: um arquivo de uma linha não treina nada, mas a linha está certa.
#
# </details>
#
# **2.** Cinco épocas em vez de três, no mesmo arquivo e modelo. Quantos dólares? Use `estimate`, ou faça a conta.

# %%
five_epochs = ...

# %%
check(
    five_epochs,
    lambda usd: (
        abs(float(usd) - quote.usd * 5 / 3) < 1e-6
        or "o custo cresce com as épocas: é o de três, vezes cinco terços"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `five_epochs = estimate(rt.data / "train.jsonl", "gpt-4.1-mini", epochs=5).usd`
#
# </details>
#
# **3.** O Nova 2 Lite pede mais exemplos que os outros Nova. O nosso arquivo serve? Valide-o para esse modelo e guarde `True` ou `False`.

# %%
fits_nova_2 = ...

# %%
least = next(m.min_examples for m in MODELS if "nova-2-lite" in m.id)
check(
    fits_nova_2,
    lambda answer: (
        answer is (written_aws["train_aws.jsonl"] >= least)
        or f"ele pede {least}, e o arquivo tem {written_aws['train_aws.jsonl']}"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `fits_nova_2 = validate(rt.data / "train_aws.jsonl", model="amazon.nova-2-lite-v1:0").ok`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Um exemplo é uma conversa; uma conversa é uma linha; a última palavra é do assistente.
# - O mínimo da OpenAI é 10 exemplos; o que ajuda começa em 50 a 100.
# - O Bedrock quer a versão em cada linha, blocos de texto e turnos alternados.
# - Valide tudo de uma vez, aqui, antes de enviar. Vazamento é erro, não detalhe.
# - Custo = tokens × épocas × preço, e o preço tem data.

# %% [markdown]
# ## Quiz
#
# Responda com o mouse ou com o teclado (Tab anda, Enter responde). Cada opção, certa ou errada, explica o seu porquê.

# %%
from afina.teach.quiz import quiz

quiz("03")

# %% [markdown]
# {{quiz 03}}

# %% [markdown]
# ## Próximo passo
#
# [04 · Tokenização](04_tokenization.ipynb): como um texto vira números, escrito à mão. Prefere ajustar logo um modelo pronto?
# Vá para [13 · Fine-tuning do BERT](13_bert_finetuning.ipynb).
