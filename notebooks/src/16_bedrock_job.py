# %% [markdown] id="cover"
# # 16 · Um job no Bedrock
#
# O mesmo ajuste da aula 15, na nuvem da AWS: bucket, papel, job, implantação, conversa, e a faxina que evita a conta de milhares de dólares. Com o `boto3`
# oficial, sem conta e sem custo, num gêmeo local que treina de verdade.
#
# **Ao final você vai saber**
#
# - criar o bucket e o papel que um job veste, e explicar cada linha da confiança
# - escrever as duas formas de JSONL do Bedrock, com os limites de cada família
# - levar um job pelas fases, com prazo, e ler as métricas no S3
# - implantar sob demanda, conversar antes e depois, e medir a diferença
# - apagar tudo na ordem certa, e provar que não sobrou nada
#
# **Antes desta aula**: [15 · Um job na OpenAI](15_openai_job.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="bedrock"
# ## 1. O que é o Bedrock, e por que cuidado
#
# O **Amazon Bedrock** oferece modelos de várias casas (Amazon Nova, Meta Llama e outras) por uma API só, sem servidor para cuidar. O ajuste fino também: você põe os
# dados num bucket S3, e ele devolve um modelo seu, que só responde lá dentro. Os pesos não saem da AWS.
#
# E custa. Uma pessoa que seguia um notebook de oficina pagou
# [mais de 2.700 dólares](https://github.com/aws-samples/text-to-sql-bedrock-workshop/issues/8): o notebook criava **throughput provisionado** (capacidade reservada), que
# cobra por hora, usado ou não. A conta, com o preço do Nova na lista de 2026-08-02:

# %% id="bill"
from afina.jobs import ledger

for name, hours in {"uma noite": 12, "um fim de semana": 60, "um mês esquecido": 730}.items():
    cost = f"{hours * ledger.NOVA_THROUGHPUT:,.0f}".replace(",", ".")
    print(f"{name:<17} {hours:>4} h   US$ {cost:>7}")

# %% [markdown]
# E o mapa do que vem: o job precisa de um bucket e de um papel, e o modelo que ele faz precisa de uma porta. A de cima é de graça quando parada; a de baixo é a dos 2.700 dólares.

# %% id="map"
from afina.teach.figures import BEDROCK_PARTS_ALT, bedrock_parts, show

show(bedrock_parts(), alt=BEDROCK_PARTS_ALT)

# %% [markdown]
# Por isso, nesta aula: nada de throughput provisionado, prazo em tudo, e o livro (*ledger*) da aula 15 anotando cada coisa antes de ela existir. O gêmeo não cobra; os
# hábitos são para o dia em que não for o gêmeo.

# %%
from afina.cloud import local_cloud
from afina.jobs import bedrock as jobs

cloud = local_cloud()
aws = jobs.connect()
print("conta", aws.account, "· região", aws.region, "·", aws.provider)

# %% [markdown]
# `connect` abre cinco clientes oficiais do `boto3`: `s3`, `iam`, `sts`, `bedrock` (os jobs) e `bedrock-runtime` (a conversa). A conta 123456789012 é de brinquedo. Que
# modelos treinam aqui? Não confie em lista de tutorial: pergunte na hora.

# %% id="foundation-models"
found = aws.bedrock.list_foundation_models(byCustomizationType="FINE_TUNING")
for model in found["modelSummaries"]:
    print(model["providerName"], model["modelId"], model["modelLifecycle"]["status"])

# %% [markdown] id="bucket"
# ## 2. O bucket
#
# Um **bucket** é uma pasta do S3, com nome único no mundo todo. Por isso o número da conta vai no nome. Ele precisa estar na mesma região do job.

# %%
bucket = jobs.make_bucket(aws, f"afina-aula16-{aws.account}")
print(bucket, "criado;", ledger.entries(aws.endpoint)[0].cost)

# %% [markdown] id="role"
# ## 3. O papel
#
# "Que ARN eu ponho aqui?" é a
# [pergunta que trava](https://github.com/aws-samples/amazon-bedrock-workshop/issues/367) quem começa. O job roda na AWS, não na sua máquina: ele não tem a sua senha. Em vez disso
# ele **veste um papel** (*IAM role*), e o papel diz duas coisas: quem pode vesti-lo (a política de confiança) e o que faz quem o veste (a política de permissões).

# %% id="trust"
import json

trust = json.dumps(jobs.trust_policy(aws.account, aws.region), indent=1)
for number, line in enumerate(trust.splitlines(), 1):
    print(f"{number:>2} {line}")

# %% [markdown] id="trust-lines"
# Linha por linha:
#
# | linha | diz | sem ela |
# | --- | --- | --- |
# | 2 `Version` | a versão da linguagem de políticas; é sempre esta data | vale uma versão antiga, com outras regras |
# | 5 `Effect` | isto permite (o contrário seria `Deny`) | a política é recusada |
# | 6 e 7 `Principal` | quem: o serviço Bedrock, e mais ninguém | a política é recusada |
# | 9 `Action` | o quê: vestir este papel | a política é recusada |
# | 11 a 13 `aws:SourceAccount` | só quando o pedido vem da **sua** conta | outra conta poderia fazer o Bedrock usar o seu papel |
# | 14 a 16 `aws:SourceArn` | só para jobs de customização desta conta e região | qualquer recurso do Bedrock serviria |
#
# As duas condições existem contra o "representante confuso" (*confused deputy*): um serviço honesto, usado por um desonesto. Já as permissões são curtas: ler os dados, gravar
# os resultados, e nada fora deste bucket.

# %% id="permissions"
for statement in jobs.data_policy(bucket)["Statement"]:
    print(statement["Effect"], statement["Action"], "\n   em", statement["Resource"])

# %%
role = jobs.make_role(aws, "afina-aula16", bucket)
print(role)

# %% [markdown]
# E quem chama o job precisa de `iam:PassRole` sobre esse papel: o direito de entregá-lo a outro. Isso fica na **sua** conta de usuário, e quem a administra é que dá.

# %% [markdown] id="forms"
# ## 4. As duas formas de JSONL
#
# A tarefa é a da aula 15: uma frase de vitrine a partir do título. O Nova e o Llama 3.2 e 3.3 leem a forma **Converse**; o Llama 3.1, a forma **prompt e continuação**:

# %%
import re

SYSTEM = "You write one honest sentence about a product for a shop."


def first_sentences(path):
    """(question, first sentence of the answer) of each example of a Converse file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        user, assistant = json.loads(line)["messages"]
        text = assistant["content"][0]["text"]
        yield user["content"][0]["text"], re.split(r"(?<=\.) ", text)[0]


train = list(first_sentences(rt.data / "train_aws.jsonl"))
rest = list(first_sentences(rt.data / "validation_aws.jsonl"))
validation, exam = rest[:20], rest[20:]

# %% id="two-forms"
from afina.jsonl import completion_example, converse_example

print(json.dumps(converse_example(*train[0], system=SYSTEM), indent=1))
print(json.dumps(completion_example(*train[0], system=SYSTEM), indent=1))

# %% [markdown]
# Repare: na Converse, a instrução tem lugar próprio e o conteúdo é uma lista de blocos; na outra não há lugar, e a instrução vai na frente da pergunta. `validate` sabe as duas, e os
# limites do modelo escolhido:

# %%
from afina.jsonl import completion_rows, converse_rows, validate, write_jsonl

MODEL = "amazon.nova-micro-v1:0:128k"
folder = rt.build / "16_bedrock"
write_jsonl(folder / "train.jsonl", converse_rows(train, system=SYSTEM))
write_jsonl(folder / "validation.jsonl", converse_rows(validation, system=SYSTEM))
report = validate(folder / "train.jsonl", folder / "validation.jsonl", model=MODEL)
print(report.text(0).splitlines()[0], "·", report.format, "·", report.train.examples, "exemplos")

# %%
old = folder / "llama31.jsonl"
written = write_jsonl(old, completion_rows(train, system=SYSTEM))
older = validate(old, model="meta.llama3-1-8b-instruct-v1:0")
print(written, "linhas ·", older.format, "· sem erros:", older.ok)
assert report.ok and older.ok

# %% [markdown] id="cost"
# Quanto custaria? `submit` faz esta conta sozinho, e numa conta de verdade espera que você digite o valor:

# %%
from afina.jsonl import estimate

quote = estimate(folder / "train.jsonl", MODEL, epochs=3)
print(quote)

# %% [markdown] id="job"
# ## 5. O job
#
# Nomes diferentes para as mesmas ideias: `epochCount`, `learningRate`, `learningRateWarmupSteps`. Os valores vão como **texto**, e cada família tem seus limites (o Nova vai de 1 a 5
# épocas). O `boto3` pede umas dez coisas; `submit` as reúne: valida, estima, envia ao bucket, anota e cria.
#
# Antes, um erro fácil de cometer, o papel que não serve:

# %% id="wrong-role"
from afina.errors import CourseError

wrong = f"arn:aws:iam::{aws.account}:role/papel-que-nao-existe"
common = {"model": MODEL, "bucket": bucket, "epochCount": 3, "learningRate": 2e-5}
common["learningRateWarmupSteps"] = 0
files = folder / "train.jsonl", folder / "validation.jsonl"
try:
    jobs.submit(aws, *files, name="vitrine-0", role=wrong, **common)
except CourseError as error:
    print(error)

# %%
job = jobs.submit(aws, *files, name="vitrine-1", role=role, **common)
print(job)

# %% [markdown] id="arn"
# Isso é um **ARN**, o nome completo de uma coisa na AWS: serviço, região, conta, tipo, e aqui também o modelo base. Repita o nome do job, e ele é recusado; nomes não se reciclam:

# %%
try:
    jobs.submit(aws, *files, name="vitrine-1", role=role, **common)
except CourseError as error:
    print(error)

# %% [markdown] id="phases"
# ## 6. As fases
#
# O estado geral é pobre: `InProgress`, `Completed`, `Failed`, `Stopping`, `Stopped`. O que interessa está em `statusDetails`, com três fases: validação, preparo e treino.
#
# Não há "waiter" no `boto3` para isto: é preciso perguntar, e com prazo. Um diário público de 2026 conta de jobs do Nova que ficaram de **25 a 74 horas** com o treino em `NotStarted` e o
# estado em `InProgress`, sem mensagem nenhuma, para então falhar. `watch` tem prazo sempre, e no fim dele manda parar.

# %% id="watch"
done = jobs.watch(aws, job, deadline=240)
for phase, detail in done["statusDetails"].items():
    print(f"{phase:<22} {detail['status']}")
print(done["status"], "·", done["outputModelArn"])

# %% [markdown]
# E o prazo, na prática? Um segundo job, com zero segundos de paciência:

# %% id="deadline"
from afina.jobs import JobEnded

hasty = jobs.submit(aws, *files, name="vitrine-2", role=role, **common)
try:
    jobs.watch(aws, hasty, deadline=0)
except JobEnded as end:
    print(end)

# %% [markdown]
# `Stopping` leva um instante até `Stopped`. O segundo olhar já encontra o fim:

# %%
try:
    jobs.watch(aws, hasty, deadline=60)
except JobEnded as end:
    print(end.status, "·", end.problem)

# %% [markdown] id="metrics"
# ## 7. As métricas, no S3
#
# O job deixou CSVs no bucket. A documentação mostra um caminho, o código de exemplo da própria AWS usa outro. Quem lista pelo prefixo não depende de nenhum dos dois:

# %%
listing = aws.s3.list_objects_v2(Bucket=bucket)
for item in listing["Contents"]:
    print(f"{item['Size']:>7}  {item['Key']}")

# %%
metrics = jobs.metrics(aws, job)
measured = metrics.dropna(subset="validation_loss")
measured.round(3)

# %% [markdown]
# Uma linha por passo, contados de zero; a perda de validação aparece ao fim de cada época. `perplexity` é a perda com outra roupa, `exp(perda)`: entre quantos tokens o modelo hesita, mais ou menos.

# %% id="curve"
from afina.teach.figures import BLUE, ORANGE, figure

fig, ax = figure(height=3.2)
ax.plot(metrics["step_number"], metrics["training_loss"], color=BLUE, label="treino")
ax.plot(measured["step_number"], measured["validation_loss"], "o-", color=ORANGE, label="validação")
ax.set(title="Perda no gêmeo local", xlabel="passo", ylabel="perda por token", ylim=(0, None))
ax.legend()
show(
    fig,
    alt="Perda de treino caindo passo a passo e perda de validação caindo nas três medidas, "
    "uma por época.",
)
assert measured["validation_loss"].is_monotonic_decreasing

# %% [markdown]
# A curva é do modelo pequeno do curso. A taxa de aprendizado também foi traduzida: a de um Nova mal o moveria, e o gêmeo a aumenta.

# %% [markdown] id="deploy"
# ## 8. A implantação
#
# O modelo existe e não responde: no Bedrock, um modelo ajustado precisa de uma porta. Há duas, e a diferença entre elas são os 2.700 dólares:
#
# | | sob demanda (`create_custom_model_deployment`) | provisionado (`create_provisioned_model_throughput`) |
# | --- | --- | --- |
# | parado custa | nada | por hora, sempre: Nova, US$ 60,50 (lista de 2026-08-02) |
# | para quem | Nova Micro, Lite, Pro e 2 Lite; Llama 3.3 70B | todos os outros, por falta de opção |
# | quando usar | sempre que existir | depois de ler a linha de cima duas vezes |
#
# `deploy` faz sob demanda. O outro só com `provisioned=True`, e numa conta de verdade só depois de você digitar o preço por hora. A porta leva um momento para abrir: aqui, um segundo; no diário público, uns oito
# minutos.

# %%
door = jobs.deploy(aws, done["outputModelArn"], "vitrine-porta", deadline=60)
print(door)

# %% [markdown] id="converse"
# ## 9. A conversa, antes e depois
#
# `converse` é a mesma chamada para qualquer modelo do Bedrock. O modelo ajustado atende pelo ARN da implantação. O base atende por **outro nome** que o do treino, fácil de confundir:

# %% id="names"
from botocore.exceptions import ClientError

question = [{"role": "user", "content": [{"text": "What color is it? Blue Glass Vase"}]}]
for name in (MODEL, "us.amazon.nova-micro-v1:0"):
    try:
        reply = aws.runtime.converse(modelId=name, messages=question)
        print("ok      ", name)
    except ClientError as error:
        print("recusado", name, "·", error.response["Error"]["Code"])

# %%
from concurrent.futures import ThreadPoolExecutor


def answer(model, question):
    reply = aws.runtime.converse(
        modelId=model,
        system=[{"text": SYSTEM}],
        messages=[{"role": "user", "content": [{"text": question}]}],
        inferenceConfig={"temperature": 0, "maxTokens": 50},
    )
    return reply["output"]["message"]["content"][0]["text"]


def answers(model):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda pair: answer(model, pair[0]), exam))


# %%
titles = [question.removeprefix("Describe the product: ") for question, _ in exam]
before, after = answers("us.amazon.nova-micro-v1:0"), answers(door)
for title, one, other in list(zip(titles, before, after, strict=True))[:3]:
    print(f"título   {title}\nbase     {one}\najustado {other}\n")

# %% [markdown] id="judge"
# O mesmo juiz da aula 15, em 40 produtos que o treino e a validação não viram:

# %%
import pandas as pd

from afina.tune.evaluate import NAMES, judge


def verdict(texts):
    scores = judge(titles, texts, [sentence for _, sentence in exam])
    columns = ["brand", "item", "color", "material", "size", "attributes", "chrf"]
    return {NAMES[name]: round(scores[name], 2) for name in columns}


scores = pd.DataFrame({"base (LOCAL)": verdict(before), "ajustado (LOCAL)": verdict(after)}).T
scores

# %%
base_share, tuned_share = scores["atributos"]
print(f"LOCAL, {len(exam)} produtos: atributos certos {base_share:.0%} → {tuned_share:.0%}")
assert tuned_share > base_share + 0.4

# %% [markdown]
# O ajuste funcionou, e o fim das frases ainda tropeça: é o modelo de um milhão de pesos. Nenhum destes números é de um Nova.

# %% [markdown] id="clean-up"
# ## 10. A faxina, na ordem certa
#
# O que existe agora, com o que custaria parado no serviço:

# %%
ledger.table(ledger.entries(aws.endpoint))

# %% [markdown]
# A ordem importa. Um modelo implantado não se apaga, e o serviço diz:

# %%
try:
    aws.bedrock.delete_custom_model(modelIdentifier=done["outputModelArn"])
except ClientError as error:
    print(error.response["Error"]["Code"])

# %% [markdown] id="order"
# Primeiro a porta, depois o modelo, depois o bucket (vazio), por fim o papel (sem políticas). Apagar a porta **não** apaga o modelo, que guardado custa US$ 1,95 por mês (lista de
# 2026-08-02). `clean_up` segue a ordem:

# %%
left = jobs.clean_up(aws)
assert left == []

# %%
print("livro:", ledger.entries(aws.endpoint))
print("modelos:", aws.bedrock.list_custom_models()["modelSummaries"])
print("portas:", aws.bedrock.list_custom_model_deployments()["modelDeploymentSummaries"])
print("buckets:", aws.s3.list_buckets()["Buckets"], "papéis:", aws.iam.list_roles()["Roles"])
assert not ledger.entries(aws.endpoint)

# %% [markdown]
# Nada. Jobs não se apagam (ficam no histórico, sem custo). Em outro dia, de qualquer terminal, `afina jobs list` diz se algo ficou, e `afina jobs clean` resolve.

# %%
cloud.close()

# %% [markdown] id="limits"
# ## 11. Nova e Llama: formatos e limites
#
# A tabela do curso, com data. Onde está "não achado", não há fonte, e não inventamos:

# %%
from afina.prices import MODELS

rows = []
for model in MODELS:
    if model.service == "bedrock":
        limit = model.max_tokens or "não achado"
        examples = f"{model.min_examples} a {model.max_examples}"
        door = "sob demanda" if "sob demanda" in model.notes[0] else "só provisionado"
        epochs = "{} a {} ({})".format(*model.epochs)
        form = model.format.removeprefix("bedrock-")
        rows.append((model.id.split(":")[0], form, examples, str(limit), epochs, door))
columns = ["modelo", "forma", "exemplos", "tokens/exemplo", "épocas (padrão)", "porta"]
print("lida em", min(model.read_on for model in MODELS))
pd.DataFrame(rows, columns=columns)

# %% [markdown] id="families"
# | | Nova | Llama |
# | --- | --- | --- |
# | região do treino | us-east-1 | us-west-2 |
# | exemplos | só o treino conta | treino e validação juntos |
# | lote (`batchSize`) | não se escolhe | 1 |
# | taxa de aprendizado | 1e-6 a 1e-4 | 5e-6 a 0,1 |
# | particularidade | o 2 Lite ignora a validação e pede 200 exemplos | o 3.1 quer `prompt` e `completion` |
#
# O Titan Text, das apostilas antigas, saiu da lista. O Claude 3 Haiku saiu do ar em 2026-09-10. Para sentir a escala: o diário público pagou **US$ 0,18** e esperou 81 minutos por 210 exemplos e duas épocas no Llama 3.3 70B.
# O treino é barato; o que custa é esquecer.

# %% [markdown] id="four-clouds"
# ## 12. Bedrock, OpenAI, Azure e Google
#
# Lida em 2026-11-20, em cópias das páginas de cada um; "não verificado" é isso mesmo:
#
# | | Bedrock | OpenAI | Azure (Foundry) | Google (Vertex AI) |
# | --- | --- | --- | --- | --- |
# | conta nova treina hoje? | sim, pelo que diz a página | não; fim para todos em 2027-01-06 | modelos abertos; os GPT, não mais | sim, pelo que diz a página |
# | modelos | Nova, Llama | gpt-4.1, gpt-4.1-mini | gpt-oss-20b, Ministral-3B, Qwen-32B, Llama 3.3 | Gemini 2.5 Flash e Flash-Lite |
# | forma dos dados | Converse, ou prompt e continuação | chat | chat | `contents` com `parts` |
# | onde ficam | seu bucket S3 | arquivos do serviço | arquivos do serviço | seu bucket GCS |
# | a API do job | própria (`boto3`) | OpenAI | OpenAI, com `trainingType` | própria |
# | como se usa depois | porta sob demanda ou provisionada | direto, por token | implantação, com cobrança por hora | não verificado |
# | você leva os pesos? | não | não | não verificado | não verificado |
# | a armadilha | throughput provisionado | a data de saída do modelo base | a implantação parada | não verificado |
#
# Fontes: [Bedrock](https://docs.aws.amazon.com/bedrock/latest/userguide/custom-model-fine-tuning.html),
# [OpenAI](https://developers.openai.com/api/docs/deprecations), [Azure](https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning),
# [Google](https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning).
#
# E o quinto caminho, o das aulas 13 e 14: ajustar um modelo aberto na sua máquina ou num Colab. Você leva os pesos, e ninguém manda conta.

# %% [markdown] id="real-run"
# Para rodar na AWS de verdade, com um perfil seu já configurado (nunca chave em célula):
#
# ```bash
# export AFINA_CLOUD=aws AWS_PROFILE=meu-perfil
# ```
#
# As células são as mesmas, sem `local_cloud()`. `submit` pede a estimativa de volta, e `clean_up` pergunta antes de apagar. Sem a variável, nada acontece:

# %%
try:
    jobs.connect()
except CourseError as error:
    print(error)

# %% [markdown]
# ## Sua vez
#
# **1.** Throughput provisionado do Nova, criado na sexta às 18 h e lembrado na segunda às 9 h. Quantos dólares? O preço por hora está em `ledger.NOVA_THROUGHPUT`.

# %%
weekend_cost = ...

# %%
from afina.teach.check import check

check(
    weekend_cost,
    lambda usd: (
        abs(float(usd) - 63 * ledger.NOVA_THROUGHPUT) < 0.01
        or "de sexta às 18 h a segunda às 9 h são 63 horas"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `weekend_cost = 63 * ledger.NOVA_THROUGHPUT`, ou US$ 3.811,50. Sem uma pergunta sequer ao modelo.
#
# </details>
#
# **2.** Complete a função: um exemplo de chat da OpenAI (com `system`, `user` e `assistant`) na forma Converse do Bedrock. Só `json` e dicionários; sem `afina.jsonl`.


# %%
def to_converse(example): ...


# %%
def is_converse(row):
    wanted = converse_example("Oi?", "Olá!", system="Seja breve.")
    for key in ("schemaVersion", "system", "messages"):
        if row.get(key) != wanted[key]:
            return f"confira o campo {key}: esperava {wanted[key]}"
    return True


chat = [("system", "Seja breve."), ("user", "Oi?"), ("assistant", "Olá!")]
example = {"messages": [{"role": role, "content": text} for role, text in chat]}
check(to_converse(example), is_converse)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# ```python
# def to_converse(example):
#     system, *turns = example["messages"]
#     return {
#         "schemaVersion": "bedrock-conversation-2024",
#         "system": [{"text": system["content"]}],
#         "messages": [{"role": t["role"], "content": [{"text": t["content"]}]} for t in turns],
#     }
# ```
#
# </details>
#
# **3.** Esta política de confiança deixa **qualquer conta da AWS** vestir o papel. Troque só o `Principal`, para que só o Bedrock possa.

# %%
policy = jobs.trust_policy("123456789012", "us-east-1")
policy["Statement"][0]["Principal"] = {"AWS": "*"}

safe_principal = ...

# %%
check(
    safe_principal,
    lambda principal: (
        principal == {"Service": "bedrock.amazonaws.com"}
        or "quem veste é um serviço, não uma conta: a chave é Service"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `safe_principal = {"Service": "bedrock.amazonaws.com"}`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - O job veste um papel: a confiança diz quem (só o Bedrock, só a sua conta, só jobs), as permissões dizem o quê (um bucket).
# - Nova e Llama 3.2 e 3.3 leem Converse; Llama 3.1 lê prompt e continuação. Limites têm data e fonte.
# - Pergunte o estado com prazo: um job pode ficar dias parado sem dizer nada.
# - Implantação sob demanda sempre que houver. Provisionado cobra por hora, mesmo dormindo.
# - Apague porta, modelo, bucket e papel, nesta ordem, e confira que o livro ficou vazio.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("16")

# %% [markdown]
# {{quiz 16}}

# %% [markdown]
# ## Próximo passo
#
# Um modelo ajustado só serve se alguém puder usá-lo, e dizer se gostou: na [aula 17](17_serving.ipynb), você serve o seu, e ele melhora com as correções de quem pergunta.
