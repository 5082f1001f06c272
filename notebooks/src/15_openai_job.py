# %% [markdown] id="cover"
# # 15 · Um job na OpenAI
#
# Enviar o arquivo, criar o job, acompanhar, medir, comparar e apagar tudo: o caminho inteiro do *fine-tuning* por API, com o cliente oficial, sem conta e
# sem custo, num gêmeo local que treina de verdade.
#
# **Ao final você vai saber**
#
# - dizer quem ainda pode treinar na OpenAI, e até quando
# - levar um job do JSONL ao modelo ajustado, com prazo e com a conta feita antes
# - ler eventos, curva e checkpoints, e provar que o ajuste ajudou
# - entender por que um job falha, e fazer um segundo job com preferências (DPO)
# - apagar o que criou, e repetir as mesmas células em outro serviço
#
# **Antes desta aula**: [03 · Montar o JSONL](03_jsonl_building.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="status"
# ## 1. O serviço, hoje
#
# Comece pela má notícia, com datas. A OpenAI está encerrando o *fine-tuning* para quem se serve sozinho:
#
# | data | o que muda |
# | --- | --- |
# | 2026-05-07 | organização que nunca treinou não cria mais jobs |
# | 2026-07-02 | nem quem não usou um modelo ajustado nos últimos 60 dias |
# | 2026-10-23 | saem do ar gpt-3.5-turbo, gpt-4, gpt-4.1-nano e o4-mini, e quase todos os ajustes deles |
# | 2027-01-06 | os que restam também deixam de criar jobs |
# | 2027-01-14 | saem do ar gpt-4.1, gpt-4.1-mini, gpt-4o e gpt-4o-mini, e com eles os modelos ajustados |
#
# Fonte: a [página de descontinuações](https://developers.openai.com/api/docs/deprecations) da OpenAI, lida em 2026-11-20 em cópia guardada. Os modelos
# que o guia ainda dá como treináveis são gpt-4.1 e gpt-4.1-mini; se o gpt-4o ainda treina, não pudemos confirmar. Se a sua conta é nova,
# você [não está só](https://github.com/ed-donner/llm_engineering/issues/3258).
#
# Por que aprender, então? Porque o **protocolo** ficou: outros serviços falam a mesma língua (parte 13), e quem sabe um sabe todos.

# %% [markdown] id="twin"
# Aqui você fala com um **gêmeo**: um programa nesta máquina que responde como o serviço e treina de verdade um modelo pequeno do curso. O cliente é o
# oficial, sem nada mudado: `local_cloud()` só aponta as variáveis de ambiente para o gêmeo.

# %%
from openai import OpenAI

from afina.cloud import local_cloud

cloud = local_cloud()
client = OpenAI()
for model in client.models.list():
    print(f"{model.id:<24} dono: {model.owned_by}, sai do ar em {model.shutdown_date}")

# %% [markdown]
# `shutdown_date` existe também na API de verdade. Olhe-o antes de treinar: um modelo ajustado vive só até a data do modelo base.
#
# E como é ser recusado? Este segundo gêmeo faz o papel da OpenAI para uma conta nova. O envio do arquivo **funciona**; a recusa só vem no job:

# %% id="refused"
import openai

with local_cloud(training_not_available=True, show=False):
    newcomer = OpenAI()
    file = newcomer.files.create(file=rt.data / "train.jsonl", purpose="fine-tune")
    try:
        newcomer.fine_tuning.jobs.create(model="gpt-4.1-mini", training_file=file.id)
    except openai.PermissionDeniedError as error:
        print(error.status_code, error.code)
        print(error.body["message"])
    newcomer.files.delete(file.id)

# %% [markdown]
# O arquivo enviado ficaria lá, com os seus dados dentro. Por isso a última linha o apaga. Voltemos ao primeiro gêmeo, que ainda aceita.
#
# ## 2. Os arquivos, e o envio
#
# A tarefa: a loja quer **uma frase** para a vitrine, a partir do título. Nossos exemplos da aula 03 têm descrições longas; ficamos com a primeira frase de
# cada uma. Menos texto, treino mais curto, e dá para julgar: a frase diz a cor, o material e o tamanho que o título diz?

# %%
import json
import re


def first_sentences(path):
    """(question, first sentence of the answer) of each example of a chat file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        _, user, assistant = json.loads(line)["messages"]
        yield user["content"], re.split(r"(?<=\.) ", assistant["content"])[0]


train = list(first_sentences(rt.data / "train.jsonl"))
rest = list(first_sentences(rt.data / "validation.jsonl"))
validation, exam = rest[:20], rest[20:]
print(
    len(train), "para treinar,", len(validation), "para validar,", len(exam), "para a prova final"
)

# %%
from afina.jsonl import chat_rows, write_jsonl

SYSTEM = "You write one honest sentence about a product for a shop."
folder = rt.build / "15_openai"
write_jsonl(folder / "train.jsonl", chat_rows(train, system=SYSTEM))
write_jsonl(folder / "validation.jsonl", chat_rows(validation, system=SYSTEM))
print((folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])

# %% [markdown] id="ledger"
# Tudo o que se cria num serviço precisa ser apagado depois, mesmo se o notebook morrer no meio. Por isso o curso tem um **livro** (*ledger*): cada coisa é
# anotada em disco **antes** da chamada que a cria. Se a resposta se perder, a anotação fica.

# %%
from afina.jobs import ledger
from afina.jobs import openai as jobs

provider, endpoint = jobs.place(client)
with ledger.creating("openai-file", "train.jsonl", provider, endpoint) as entry:
    uploaded = client.files.create(file=folder / "train.jsonl", purpose="fine-tune")
    entry.id = uploaded.id
print(uploaded.purpose, uploaded.status, uploaded.bytes, "bytes")

# %% [markdown]
# `jobs.upload` faz o mesmo em uma linha. E o que está lá é, byte por byte, o que mandamos:

# %%
held_out = jobs.upload(client, folder / "validation.jsonl")
sent = (folder / "train.jsonl").read_bytes()
assert client.files.content(uploaded.id).read() == sent
ledger.table(ledger.entries(endpoint))

# %% [markdown] id="validate"
# ## 3. Validar
#
# Enviar ainda não é treinar: a cobrança é pelos tokens treinados. E a OpenAI só confere o conteúdo **depois** de criado o job; o que achar vira um job falho. O validador do curso confere antes, e
# diz todos os problemas de uma vez:

# %%
from afina.jsonl import validate

report = validate(folder / "train.jsonl", folder / "validation.jsonl", model="gpt-4.1-mini")
print(report.text(3))
assert report.ok

# %% [markdown] id="cost"
# ## 4. Quanto custaria
#
# No gêmeo, nada. Na OpenAI, tokens × épocas × preço, como na aula 03: é a última linha do validador, e `estimate` a devolve sozinha. É este número que você confirma antes de um job de verdade:

# %%
from afina.jsonl import estimate

quote = estimate(folder / "train.jsonl", "gpt-4.1-mini", epochs=3)
print(quote.line)

# %% [markdown]
# Num serviço de verdade, `jobs.submit` mostra essa linha e espera que você **digite o valor** de volta (em um script, `AFINA_CONFIRM`). Valor errado, nada
# acontece. Veja a recusa, sem rede nenhuma:

# %% id="confirm"
import os

from afina.errors import CourseError
from afina.jobs import confirm_spend

os.environ["AFINA_CONFIRM"] = "1000,00"
try:
    confirm_spend(quote, "OpenAI")
except CourseError as error:
    print(error)
del os.environ["AFINA_CONFIRM"]

# %% [markdown] id="job"
# ## 5. O job
#
# Um pedido diz: qual modelo, quais arquivos, com que método e hiperparâmetros. Três deles agem sempre:
#
# | hiperparâmetro | o que é |
# | --- | --- |
# | `n_epochs` | passadas pelos exemplos |
# | `batch_size` | exemplos por passo |
# | `learning_rate_multiplier` | quantas vezes a taxa de aprendizado que o serviço escolheu |
#
# `seed` repete o sorteio, e `suffix` entra no nome do modelo novo.

# %% id="create"
MODEL = "gpt-4.1-mini-2025-04-14"
jobs.approve(client, quote)  # at a real service: AFINA_CLOUD, and the amount typed back
settings = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 3}

with ledger.creating("openai-job", "vitrine", provider, endpoint) as entry:
    job = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=uploaded.id,
        validation_file=held_out.id,
        method={"type": "supervised", "supervised": {"hyperparameters": settings}},
        suffix="vitrine",
        seed=7,
    )
    entry.id = job.id
print(job.status)

# %% [markdown] id="states"
# O job anda sozinho, do outro lado. Os estados: `validating_files` → `queued` → `running` → e um fim, que pode ser `succeeded`, `failed` ou `cancelled`.
# Há ainda `paused`, que não é fim, mas também não anda.

# %%
from afina.teach.figures import JOB_STATES_ALT, job_states, show

show(job_states(), alt=JOB_STATES_ALT)

# %% [markdown]
# O jeito errado de esperar circula em muito notebook: `while job.status == "running"`, sem prazo e sem saída para a falha. `watch` pergunta cada vez mais
# devagar, tem prazo sempre, e termina claramente em qualquer estado. Rodando você mesmo, aparece uma tabela viva com a perda.

# %% id="watch"
job = jobs.watch(client, job, deadline=240)
print(job.status, job.trained_tokens, "tokens treinados")
print(job.fine_tuned_model)

# %% [markdown] id="events"
# O nome diz tudo: `ft:`, o modelo base, a organização (`local`: é o gêmeo), o seu sufixo e um código. O número de tokens também é do gêmeo, que os conta com o
# tokenizador do modelo pequeno.
#
# ## 6. Os eventos
#
# O diário do job. Vem do mais novo para o mais antigo, em páginas; o cliente as percorre sozinho se você itera:

# %%
events = list(client.fine_tuning.jobs.list_events(job.id, limit=50))[::-1]
for event in events[:5] + events[-3:]:
    print(f"{event.level:<5} {event.type:<8} {event.message}")

steps = [event.data for event in events if event.type == "metrics"]
print(len(events), "eventos, dos quais", len(steps), "são passos; o último:", steps[-1])
assert len(steps) == job.method.supervised.hyperparameters.n_epochs * -(-len(train) // 8)

# %% [markdown] id="csv"
# ## 7. A curva, do arquivo de resultados
#
# Terminado, o job aponta para um CSV. Há uma pegadinha: o conteúdo vem em **base64**.

# %%
import base64

raw = client.files.content(job.result_files[0]).read()
print(raw[:40])
print(base64.b64decode(raw)[:120].decode())

# %% [markdown]
# `jobs.metrics` faz isso e devolve um DataFrame. A coluna de validação só tem valor onde uma época terminou:

# %%
from afina.teach.figures import BLUE, ORANGE, figure

metrics = jobs.metrics(client, job)
measured = metrics.dropna(subset="valid_loss")
measured.round(3)

# %%
fig, ax = figure(height=3.2)
ax.plot(metrics["step"], metrics["train_loss"], color=BLUE, alpha=0.35, label="cada passo")
smooth = metrics["train_loss"].rolling(8).mean()
ax.plot(metrics["step"], smooth, color=BLUE, label="média de 8 passos")
ax.plot(measured["step"], measured["valid_loss"], "o-", color=ORANGE, label="validação")
ax.set(title="Perda no gêmeo local", xlabel="passo", ylabel="perda por token", ylim=(0, None))
ax.legend()
show(
    fig,
    alt="Perda de treino caindo depressa no começo e devagar depois; a de validação, "
    "medida ao fim das três épocas, também cai.",
)
assert measured["valid_loss"].is_monotonic_decreasing

# %% [markdown]
# É a curva do modelo **pequeno** do curso, não a de um modelo da OpenAI. A forma de ler é a mesma: as duas caem juntas, e parar aqui é razoável. Se a de validação
# subisse enquanto a de treino cai, seria sobreajuste (*overfitting*). Estranhou a validação abaixo do treino? São só 20 frases, por acaso mais fáceis (nas 40 da prova,
# a perda fica acima da de treino). Leia a direção, não a altura.

# %% [markdown] id="checkpoints"
# ## 8. Checkpoints comparados
#
# O serviço guarda um **checkpoint** (ponto salvo) por época, e mantém os três últimos. Cada um é um modelo que se pode usar. Qual é o melhor? A perda de validação é uma
# opinião; a tarefa é outra.

# %%
checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data[::-1]
for point in checkpoints:
    print(f"passo {point.step_number:>3}  validação {point.metrics.full_valid_loss:.3f}")

# %% [markdown]
# Para julgar a tarefa, perguntamos a cada modelo pelos produtos da prova, que nem treino nem validação viram. `temperature=0` tira o sorteio da resposta:

# %%
from concurrent.futures import ThreadPoolExecutor


def answer(model, question):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    reply = client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=50
    )
    return reply.choices[0].message.content


def answers(model):
    """One answer to each question of the exam, asked side by side."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda pair: answer(model, pair[0]), exam))


# %% [markdown] id="judge"
# E um juiz que não se cansa: `judge` lê o título e a frase, e diz que parte dos atributos (marca, produto, cor, material, tamanho, série) a frase repete
# certo. `chrF`, de 0 a 100, mede a semelhança com a frase escrita na loja.

# %%
import pandas as pd

from afina.tune.evaluate import NAMES, judge

titles = [question.removeprefix("Describe the product: ") for question, _ in exam]
references = [sentence for _, sentence in exam]


def verdict(texts):
    scores = judge(titles, texts, references)
    columns = ["brand", "item", "color", "material", "size", "attributes", "chrf"]
    return {NAMES[name]: round(scores[name], 2) for name in columns}


# %% id="compare-checkpoints"
by_step = {f"passo {p.step_number}": answers(p.fine_tuned_model_checkpoint) for p in checkpoints}
table = pd.DataFrame({name: verdict(texts) for name, texts in by_step.items()}).T
table

# %% [markdown]
# São 40 frases: diferenças de poucos centésimos são acaso, e não elegem ninguém. O que se vê é o ganho da primeira época para as outras. O modelo do job é
# o último checkpoint.

# %% [markdown] id="base-vs-tuned"
# ## 9. O ajustado ao lado do base
#
# A pergunta que justifica o job. Sem o modelo base ao lado, nenhuma nota quer dizer nada:

# %%
tuned = job.fine_tuned_model
before, after = answers(MODEL), answers(tuned)
for title, one, other in list(zip(titles, before, after, strict=True))[:4]:
    print(f"título   {title}\nbase     {one}\najustado {other}\n")

# %%
scores = pd.DataFrame({"base (LOCAL)": verdict(before), "ajustado (LOCAL)": verdict(after)}).T
scores

# %%
base_share, tuned_share = scores["atributos"]
print(f"LOCAL, {len(exam)} produtos: atributos certos {base_share:.0%} → {tuned_share:.0%}")
assert tuned_share > base_share + 0.4

# %% [markdown]
# O base responde perguntas curtas, que foi o que aprendeu; a vitrine não lhe diz nada. O ajustado repete cor, material e tamanho quase sempre. A marca, um nome
# inventado, sai bem menos, e o fim das frases tropeça: é um modelo de um milhão de pesos e alguns segundos de treino. Estes números são **dele**. De um modelo da OpenAI,
# só um job lá diria.
#
# A resposta também vem em pedaços (*streaming*), como na API de verdade:

# %%
stream = client.chat.completions.create(
    model=tuned,
    messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": exam[0][0]}],
    temperature=0,
    max_tokens=50,
    stream=True,
)
print("|".join(chunk.choices[0].delta.content or "" for chunk in stream))

# %% [markdown] id="dpo"
# ## 10. DPO: um segundo job, de preferências
#
# A loja gostou, mas tem um gosto: quer frases que **apresentem** ("Meet the …") e não que perguntem ("Looking for …"). Isso não é certo ou errado; é
# preferência. O **DPO** (*Direct Preference Optimization*) aprende de pares: a resposta preferida e a preterida, para a mesma pergunta.

# %%
from afina.data.synthetic import parse_title
from afina.jsonl import dpo_example


def preference(question):
    """The same product said in the two manners; only the manner differs."""
    product = parse_title(question.removeprefix("Describe the product: "))
    words = (product.size, product.color, product.material, product.item)
    short = " ".join(word for word in words if word)
    liked = (
        f"Meet the {short} from {product.brand}, made for people who use their things every day."
    )
    disliked = f"Looking for a {product.item} {product.brand} offers this {short}."
    return dpo_example(question, liked, disliked, system=SYSTEM)


pairs = write_jsonl(folder / "gosto.jsonl", (preference(q) for q, _ in train[:40]))
held = write_jsonl(folder / "gosto_valid.jsonl", (preference(q) for q, _ in validation))
print(pairs, "pares para treinar,", held, "para validar")

# %% [markdown]
# O segundo job parte do modelo já ajustado: o `model` dele é o `ft:…` do primeiro. Desta vez com `submit`, que valida, envia, anota e cria de uma vez. `beta` diz quanto
# custa afastar-se do modelo de partida.

# %% id="dpo-job"
second = jobs.submit(
    client,
    folder / "gosto.jsonl",
    folder / "gosto_valid.jsonl",
    model=tuned,
    method="dpo",
    suffix="gosto",
    seed=7,
    n_epochs=2,
    batch_size=4,
    learning_rate_multiplier=2,
    beta=0.1,
)
second = jobs.watch(client, second, deadline=240)
jobs.metrics(client, second).iloc[[0, -1]]

# %% [markdown]
# No DPO, `train_loss` começa em `ln 2 = 0,693` (o modelo ainda não prefere nada) e a acurácia é a parte dos pares em que o preferido ficou mais provável. Mudou o que
# ele escreve?

# %%
polite = answers(second.fine_tuned_model)
for name, texts in {"antes": after, "depois": polite}.items():
    meets = sum(text.startswith("Meet") for text in texts)
    print(
        f"{name:<7} {meets:>2} de {len(texts)} apresentam; atributos {verdict(texts)['atributos']:.0%}"
    )
print("\n".join(polite[:3]))
assert sum(text.startswith("Meet") for text in polite) > sum(
    text.startswith("Meet") for text in after
)

# %% [markdown]
# O começo das frases obedeceu. O fim delas tropeça como antes: o DPO só compara dois textos, e nada nele pede que o resto fique bom. Preferência demais pode até estragar o que
# havia; é por isso que existem o `beta`, os poucos passos, e a prova ao lado.
#
# O terceiro método da OpenAI, por reforço, ficou sem modelo que o aceite: o único era o o4-mini. O gêmeo o recusa:

# %%
try:
    client.fine_tuning.jobs.create(
        model=MODEL, training_file=uploaded.id, method={"type": "reinforcement"}
    )
except openai.BadRequestError as error:
    print(error.status_code, error.code)

# %% [markdown] id="failed"
# ## 11. Quando não dá certo
#
# Dado ruim **não** é erro de HTTP. O job é aceito, e falha minutos depois. Aqui, um arquivo de sete linhas e outro com um papel que não existe, enviados sem validar:

# %%
lines = sent.splitlines(keepends=True)
ruins = {
    "curto.jsonl": b"".join(lines[:7]),
    "papel.jsonl": b"".join(lines[:20]).replace(b'"role":"user"', b'"role":"cliente"', 1),
}
broken = []
for name, content in ruins.items():
    (folder / name).write_bytes(content)
    bad = jobs.upload(client, folder / name)
    broken.append(client.fine_tuning.jobs.create(model=MODEL, training_file=bad.id))

# %%
from afina.jobs import JobEnded

for bad_job in broken:
    try:
        jobs.watch(client, bad_job, deadline=60)
    except JobEnded as end:
        print(f"{end.status}: {end.problem}\n")

# %% [markdown]
# Leia nesta ordem: `error.code` (que tipo), `error.param` (qual dos arquivos), `error.message` (o quê). E os eventos dizem até onde o job chegou:

# %%
failed = client.fine_tuning.jobs.retrieve(broken[1].id)
print(failed.status, failed.error.code, failed.error.param)
for event in list(client.fine_tuning.jobs.list_events(failed.id))[::-1]:
    print(f"{event.level:<5} {event.message}")
assert failed.error.code == "invalid_file_format" and failed.fine_tuned_model is None

# %% [markdown]
# O serviço parou no primeiro problema. O validador teria dito tudo, de graça, antes do envio; `submit` não deixa passar:

# %%
try:
    jobs.submit(client, folder / "papel.jsonl")
except CourseError as error:
    print(error)

# %% [markdown] id="cancel"
# Arrependeu-se? `cancel`. E `pause` e `resume` existem também. Um job que ninguém espera mais deve ser cancelado: é o que `watch` faz quando o prazo acaba.

# %%
extra = jobs.submit(client, folder / "train.jsonl", model=MODEL, suffix="pressa")
try:
    jobs.watch(client, extra, deadline=0)
except JobEnded as end:
    print(end)
print(client.fine_tuning.jobs.retrieve(extra.id).status)

# %% [markdown] id="clean-up"
# ## 12. A faxina
#
# O que ficou do outro lado? O livro sabe, com o que custa por hora parado. Na OpenAI não achamos preço para arquivo ou modelo parado; mas os seus dados estão lá, e
# isso também é um custo.

# %%
ledger.table(ledger.entries(endpoint))["o quê"].value_counts()

# %%
left = jobs.clean_up(client)
assert left == [] and ledger.entries(endpoint) == []
print("arquivos no serviço:", len(list(client.files.list())))
print("modelos ajustados:", sum(model.id.startswith("ft:") for model in client.models.list()))
cloud.close()

# %% [markdown]
# O notebook caiu antes da faxina? O livro está em disco. De qualquer terminal:
#
# ```bash
# afina jobs list     # o que existe, onde, e quanto custa por hora
# afina jobs clean    # apaga; em conta de verdade, só depois de perguntar
# ```

# %% [markdown] id="others"
# ## 13. As mesmas células, em outro serviço
#
# O protocolo tem outros donos. Muda o endereço, a chave e o nome do modelo; às vezes, um campo a mais. A tabela mora em `afina/prices.toml`, com data:

# %%
from afina.prices import PROVIDERS

print("lida em", min(p.source.read_on for p in PROVIDERS.values()))
rows = [
    (p.title, p.base_url or "do seu projeto", p.model or "escolha na página", p.note)
    for p in PROVIDERS.values()
]
pd.DataFrame(rows, columns=["serviço", "endereço", "modelo", "nota"]).style.hide().set_uuid(
    "others"
)

# %% [markdown]
# Nada disso foi chamado por esta aula: a tabela vem das páginas de cada um, e o curso não tem conta lá. Onde não achamos um nome de modelo confirmado, não há nome.
# O Azure quer `trainingType` no `extra_body`, e o Nebius quer `lora` entre os hiperparâmetros; `submit` já manda os dois.
#
# | não falam este protocolo | por quê |
# | --- | --- |
# | Together, Fireworks | API de jobs própria; o formato dos dados é parecido |
# | Mistral | mesmo caminho, outro corpo de pedido, e marcado como obsoleto |
# | Cohere, Anyscale | encerraram |
#
# O Bedrock também tem uma entrada com este protocolo, só para treino por reforço. A outra, a dele, é a aula 16.

# %% [markdown] id="real-run"
# Para uma chamada de verdade são precisos três gestos, e nenhum acontece por acaso: a variável `AFINA_CLOUD` com o nome do serviço, a chave na variável dele (nunca numa célula), e a
# estimativa digitada de volta. Sem o primeiro, veja:

# %%
stranger = OpenAI(base_url=PROVIDERS["nebius"].base_url, api_key="nenhuma")
try:
    jobs.submit(stranger, folder / "train.jsonl")
except CourseError as error:
    print(error)

# %% [markdown]
# ```bash
# export AFINA_CLOUD=nebius NEBIUS_API_KEY=…
# ```
#
# ```python
# client = jobs.connect()                                   # em vez de local_cloud() e OpenAI()
# job = jobs.submit(client, "train.jsonl", n_epochs=3)      # pede a confirmação
# job = jobs.watch(client, job, deadline=3 * 3600)
# jobs.clean_up(client)                                     # pergunta antes de apagar
# ```

# %% [markdown]
# ## Sua vez
#
# **1.** Complete a função: dada a lista de checkpoints da API, devolva o nome do modelo com a menor perda de validação. Cuidado: pode haver checkpoint sem essa medida
# (`None`).


# %%
def best_checkpoint(points): ...


# %%
from types import SimpleNamespace

from afina.teach.check import check


def _point(name, loss):
    metrics = SimpleNamespace(full_valid_loss=loss)
    return SimpleNamespace(fine_tuned_model_checkpoint=name, metrics=metrics)


points = [_point("a", 1.4), _point("b", None), _point("c", 1.1), _point("d", 1.2)]
check(
    best_checkpoint(points),
    lambda name: name == "c" or f"entre 1,4, nenhuma, 1,1 e 1,2, a menor é a de c, e veio {name!r}",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# ```python
# def best_checkpoint(points):
#     known = [p for p in points if p.metrics.full_valid_loss is not None]
#     return min(known, key=lambda p: p.metrics.full_valid_loss).fine_tuned_model_checkpoint
# ```
#
# </details>
#
# **2.** Este CSV chegou em base64. Qual é a última perda de treino?

# %%
parcel = base64.b64encode(b"step,train_loss\n1,3.5\n2,2.25\n3,1.75\n")

last_loss = ...

# %%
check(
    last_loss,
    lambda loss: float(loss) == 1.75 or "decodifique, leia como CSV e pegue a última linha",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `last_loss = pd.read_csv(io.BytesIO(base64.b64decode(parcel)))["train_loss"].iloc[-1]`, com `import io` antes.
#
# </details>
#
# **3.** Um laço de espera deve parar em quais destes estados? Guarde um conjunto com os nomes.

# %%
states = ["validating_files", "queued", "running", "succeeded", "failed", "cancelled", "paused"]

stop_at = ...

# %%
check(
    stop_at,
    lambda names: (
        set(names) == {"succeeded", "failed", "cancelled", "paused"}
        or "pare onde o job não anda mais sozinho: os três fins, e a pausa"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `stop_at = {"succeeded", "failed", "cancelled", "paused"}`. Em pausa, ele só anda se alguém chamar `resume`.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Conta nova não treina na OpenAI desde maio de 2026, e ninguém treina depois de 2027-01-06. O protocolo continua em outros serviços.
# - Valide, estime e confirme antes; acompanhe com prazo; apague depois. O livro lembra do que você esquecer.
# - Dado ruim dá job falho, não erro de HTTP: leia `error.code`, `error.param` e os eventos.
# - O arquivo de resultados vem em base64. Um checkpoint por época, os três últimos.
# - Sem o modelo base ao lado, nota nenhuma vale; e DPO muda o jeito, não o saber.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("15")

# %% [markdown]
# {{quiz 15}}

# %% [markdown]
# ## Próximo passo
#
# A mesma viagem em outra nuvem, com bucket, papel e implantação: [16 · Um job no Bedrock](16_bedrock_job.ipynb), ou volte ao [mapa](00_start_here.ipynb).
