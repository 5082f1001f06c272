# %% [markdown] id="cover" forbids="afina.jobs" seconds=150 memory_mb=5000
# # Tarefa 06 · Nível 4: do dado ao job
#
# O desafio final. A loja quer uma frase de vitrine por produto, e você vai entregar o serviço inteiro: separar os dados, conferir o custo, enviar, esperar
# com prazo, ler a curva, **provar** que o modelo ajustado é melhor que o base e ir embora sem deixar nada ligado. Quem contratou você não sabe treinar modelos;
# sabe ler três coisas: quanto custou, se melhorou e se ficou alguma conta aberta.
#
# O serviço é o **gêmeo local** da aula 15: fala como a OpenAI, treina de verdade um modelo pequeno e não custa nada. O cliente é o oficial.
#
# {{rubric}}
#
# **Regras do jogo.** Escreva só nas células de resposta; pode criar outras para experimentar. As células de conferência voltam ao original na correção, que
# usa também casos escondidos. Tudo do pacote `afina` que ajuda com dados (`afina.data`, `afina.jsonl`) pode ser usado; `afina.jobs` faz esta tarefa por você e fica
# de fora. Reserve meia hora; o job do fim leva um minuto.

# %% id="setup"

# %% [markdown]
# ## O que você recebe

# %% id="pairs"
import json
import re

MODEL = "gpt-4.1-mini-2025-04-14"
SYSTEM = "You write one honest sentence about a product for a shop."
pairs = []  # (pergunta, frase de vitrine)
for line in (rt.data / "train.jsonl").read_text(encoding="utf-8").splitlines()[:200]:
    _, user, assistant = json.loads(line)["messages"]
    pairs.append((user["content"], re.split(r"(?<=\.) ", assistant["content"])[0]))
folder = rt.build / "t06"
folder.mkdir(exist_ok=True)
print(len(pairs), "pares; o primeiro:", *pairs[0], sep="\n")

# %% [markdown]
# E um serviço de faz de conta. Ele só anota o que recebe e responde o que lhe mandaram: com ele você ensaia em um segundo o que no serviço leva horas.

# %% id="pretend"
from types import SimpleNamespace as NS


class Pretend:
    """Um serviço que anota em `log` o que lhe pedem; o job passa pelos `statuses` dados."""

    def __init__(self, statuses=("succeeded",), results=b"", reply="A mat."):
        self.log, self.statuses, self.results, self.reply = [], list(statuses), results, reply
        self.files = NS(create=self.upload, content=self.read, delete=self.note("delete"))
        self.models = NS(delete=self.note("delete"))
        states = {"create": self.create, "retrieve": self.look, "cancel": self.note("cancel")}
        self.fine_tuning = NS(jobs=NS(**states))
        self.chat = NS(completions=NS(create=self.say))

    def note(self, verb):
        return lambda id, **more: self.log.append((verb, id))

    def upload(self, *, file, purpose):
        name = str(getattr(file, "name", file)).replace("\\", "/").split("/")[-1]
        self.log.append(("upload", name, purpose))
        return NS(id=f"file-{name}")

    def read(self, id):
        return NS(read=lambda: self.results)

    def create(self, **request):
        self.log.append(("job", request))
        return self.look("job-1")

    def look(self, id):
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        self.log.append(("look", status))
        if len(self.log) > 300:
            raise RuntimeError("perguntaram demais: ninguém espera tanto")
        error = NS(code="invalid_file_format", message="linha 3") if status == "failed" else None
        ids = {"training_file": "file-t", "validation_file": "file-v", "result_files": ["file-r"]}
        tuned = "ft:modelo" if status == "succeeded" else None
        return NS(id="job-1", status=status, error=error, fine_tuned_model=tuned, **ids)

    def say(self, **request):
        self.log.append(("say", request))
        return NS(choices=[NS(message=NS(content=self.reply))])


# %% [markdown]
# ## 1. Os dados
#
# `prepare(pairs, folder)` divide os pares pelo **título** (a pergunta) em treino, validação e prova, mais ou menos 70, 10 e 20 por cento, sem que uma pergunta
# apareça em duas partes. Grava `train.jsonl` e `validation.jsonl` na pasta, no formato da OpenAI, com `SYSTEM`; devolve a prova, uma lista de pares, que ninguém
# treina. As funções do curso ajudam: `assign_splits` (aula 02) tem um parâmetro `shares`, e `chat_rows` e `write_jsonl` são da aula 03.

# %% id="answer-prepare"
from afina.data.split import assign_splits
from afina.jsonl import chat_rows, write_jsonl


def prepare(pairs, folder):
    """Grava train.jsonl e validation.jsonl; devolve os pares da prova."""
    ### SOLUTION
    sides = {"train": [], "validation": [], "test": []}
    places = assign_splits([question for question, _ in pairs], shares=(0.7, 0.1, 0.2))
    for pair, place in zip(pairs, places, strict=True):
        sides[place].append(pair)
    for name in ("train", "validation"):
        write_jsonl(folder / f"{name}.jsonl", chat_rows(sides[name], system=SYSTEM))
    return sides["test"]
    ### END


# %% id="parts"
def questions(path):
    """As perguntas de um arquivo JSONL de conversas."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line)["messages"] for line in lines]
    return [m["content"] for messages in rows for m in messages if m["role"] == "user"]


def parts(pairs):
    """As perguntas do treino, da validação e da prova que `prepare` faz."""
    files = [folder / "train.jsonl", folder / "validation.jsonl"]
    [file.unlink(missing_ok=True) for file in files]
    exam = prepare(pairs, folder)
    return exam and [*map(questions, files), [question for question, _ in exam]]


# %% id="check-prepare" points=1 level="easy" title="Dois arquivos válidos e uma prova" lesson="15#validate"
from afina.jsonl import validate

made = parts(pairs)
expect(made and sum(map(len, made)), len(pairs), "treino, validação e prova são todos os pares")
report = validate(folder / "train.jsonl", folder / "validation.jsonl") if made else None
expect(report and report.ok, True, "o validador do curso aceita os arquivos")

# %% id="check-leak" points=1 level="core" title="Nenhuma pergunta em duas partes" lesson="02#hash-split"
made = parts(pairs + [(question, "Another sentence.") for question, _ in pairs])
train, validation, exam = map(set, made or [[]] * 3)
both = (train & validation) | (train & exam) | (validation & exam)
expect(made and len(both), 0, "perguntas em duas partes")

# %% [markdown]
# ## 2. O orçamento
#
# `fits(path, epochs, budget)` diz se o treino cabe no orçamento, em dólares, se fosse no serviço: `True` ou `False`. `afina.jsonl.estimate` faz a conta; veja o que ela
# devolve, e use `MODEL`. Exatamente no orçamento, cabe.

# %% id="answer-fits"
from afina.jsonl import estimate


def fits(path, epochs, budget):
    """O treino com este arquivo custa no máximo `budget` dólares?"""
    ### SOLUTION
    return estimate(path, MODEL, epochs=epochs).usd <= budget
    ### END


# %% id="check-budget" points=1 level="easy" title="Cabe no orçamento?" lesson="15#cost"
small = rt.data / "validation.jsonl"
expect(fits(small, 1, 10.0), True, "uma época cabe em dez dólares")
expect(fits(small, 1, 0.001), False, "e não cabe em um décimo de centavo")
expect(fits(small, 20, 0.1), False, "vinte épocas custam vinte vezes mais")

# %% [markdown]
# ## 3. O envio
#
# `send(client, train, validation)` envia os dois arquivos (`purpose="fine-tune"`) e cria o job com `MODEL`, os dois arquivos, o método `supervised` com `n_epochs` 2,
# `batch_size` 8 e `learning_rate_multiplier` 3, o sufixo `"vitrine"` e a semente 7. Devolve o job. Sem o arquivo de validação não há curva que diga quando parar.


# %% id="answer-send"
def send(client, train, validation):
    """Envia os arquivos (Path) e cria o job."""
    ### SOLUTION
    files = [client.files.create(file=path, purpose="fine-tune") for path in (train, validation)]
    settings = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 3}
    return client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=files[0].id,
        validation_file=files[1].id,
        method={"type": "supervised", "supervised": {"hyperparameters": settings}},
        suffix="vitrine",
        seed=7,
    )
    ### END


# %% id="request"
def request_of(send):
    """O que `send` pediu a um serviço de faz de conta: envios e os campos do job."""
    service = Pretend()
    if send(service, folder / "train.jsonl", folder / "validation.jsonl") is None:
        return None
    uploads = sorted(entry[1:] for entry in service.log if entry[0] == "upload")
    job = next((entry[1] for entry in service.log if entry[0] == "job"), {})
    return uploads, [job.get(name) for name in ("training_file", "validation_file", "seed")]


# %% id="check-send" points=1 level="core" title="O job leva treino e validação" lesson="15#create"
parts(pairs)
sent = request_of(send)
both = [("train.jsonl", "fine-tune"), ("validation.jsonl", "fine-tune")]
expect(sent and sent[0], both, "os envios")
expect(
    sent and sent[1],
    ["file-train.jsonl", "file-validation.jsonl", 7],
    "os arquivos e a semente do job",
)

# %% [markdown]
# ## 4. A espera
#
# `wait(client, job, deadline, pause=0.5)` pergunta pelo job a cada `pause` segundos, até ele acabar, e devolve o job que deu certo. Três coisas que o laço ingênuo
# esquece:
#
# - antes de `running` há `validating_files` e `queued`, e eles também são espera;
# - `failed` e `cancelled` são fins: levante `RuntimeError`, com o estado e, se houver, `job.error.message`;
# - passados `deadline` segundos sem um fim, **cancele** o job (`client.fine_tuning.jobs.cancel`) e levante `TimeoutError`.

# %% id="answer-wait"
import time


def wait(client, job, deadline, pause=0.5):
    """O job, quando der certo. RuntimeError se falhar, TimeoutError se demorar."""
    ### SOLUTION
    end = time.monotonic() + deadline
    while True:
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status == "succeeded":
            return job
        if job.status in ("failed", "cancelled"):
            reason = job.error.message if job.error else "sem explicação"
            raise RuntimeError(f"{job.status}: {reason}")
        if time.monotonic() > end:
            client.fine_tuning.jobs.cancel(job.id)
            raise TimeoutError(f"o job passou de {deadline} s")
        time.sleep(pause)
    ### END


# %% id="ending"
def ending(statuses, deadline=5):
    """Como acaba a espera de um job que passa por estes estados, e se ele foi cancelado."""
    service = Pretend(statuses)
    try:
        job = wait(service, NS(id="job-1"), deadline, pause=0.01)
        said = job and job.status
    except (RuntimeError, TimeoutError) as error:
        said = f"{type(error).__name__}: {error}"
    return said and (said, ("cancel", "job-1") in service.log)


def tells(name, word):
    """Um teste: a espera acaba com este erro, que diz esta palavra?"""
    wanted = f"esperava {name} com {word!r}"
    return lambda end: (
        (end[0].startswith(name) and word in end[0]) or f"{wanted}, encontrei {end[0]!r}"
    )


# %% id="check-wait" points=1 level="core" title="Espera todos os estados, com prazo" lesson="15#watch"
states = ["validating_files", "queued", "running", "running", "succeeded"]
expect(ending(states), ("succeeded", False), "um job que dá certo")
end = ending(["running"], deadline=0.1)
expect(end, tells("TimeoutError", ""), "um job que não acaba")
expect(end[1], True, "e que por isso foi cancelado")

# %% id="check-failure" points=1 level="core" title="A falha é dita" lesson="15#failed"
expect(ending(["queued", "failed"]), tells("RuntimeError", "linha 3"), "um job que falha")
expect(ending(["running", "cancelled"]), tells("RuntimeError", "cancelled"), "um job cancelado")

# %% [markdown]
# ## 5. A curva
#
# Terminado, `job.result_files[0]` é um CSV **em base64** com uma linha por passo; `valid_loss` só tem valor onde uma época acabou. `curve(client, job)` devolve os pontos
# medidos, `[(passo, perda de validação), …]`, com números de verdade.

# %% id="answer-curve"
import base64
import csv


def curve(client, job):
    """[(passo, perda de validação)] onde ela foi medida."""
    ### SOLUTION
    text = base64.b64decode(client.files.content(job.result_files[0]).read()).decode()
    rows = csv.DictReader(text.splitlines())
    return [(int(row["step"]), float(row["valid_loss"])) for row in rows if row["valid_loss"]]
    ### END


# %% id="check-curve" points=1 level="core" title="A curva de validação" lesson="15#csv"
parcel = base64.b64encode(b"step,train_loss,valid_loss\n1,3.5,\n2,2.25,2.5\n3,1.75,\n4,1.5,2.0\n")
service = Pretend(results=parcel)
expect(curve(service, service.look("job-1")), [(2, 2.5), (4, 2.0)], "os dois pontos medidos")

# %% [markdown]
# ## 6. A prova
#
# `answers(client, model, exam)` faz a `model` cada pergunta da prova, com `SYSTEM` antes, `temperature=0` e no máximo 50 tokens (`max_tokens`), e devolve os textos, na
# ordem. A mesma função serve ao modelo base e ao ajustado: comparação justa é a que só muda uma coisa.

# %% id="answer-answers"
from concurrent.futures import ThreadPoolExecutor


def answers(client, model, exam):
    """O que `model` responde a cada pergunta da prova."""

    ### SOLUTION
    def one(pair):
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": pair[0]}]
        reply = client.chat.completions.create(
            model=model, messages=messages, temperature=0, max_tokens=50
        )
        return reply.choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, exam))
    ### END


# %% id="asked"
def asked(exam):
    """As respostas, e o que `answers` pediu a um serviço de faz de conta."""
    service = Pretend(reply="A blue mat.")
    texts = answers(service, "um-modelo", exam)
    requests = [entry[1] for entry in service.log if entry[0] == "say"]
    said = [
        [
            r.get("model"),
            r.get("temperature"),
            [m["role"] for m in r["messages"]],
            r["messages"][-1]["content"],
        ]
        for r in requests
    ]
    return texts and [texts, sorted(said, key=str)]


# %% id="check-answers" points=1 level="stretch" title="A mesma prova, sem sorteio" lesson="15#base-vs-tuned"
exam = [("Describe the product: Mat", "A mat."), ("Describe the product: Vase", "A vase.")]
wanted = [["um-modelo", 0, ["system", "user"], question] for question, _ in exam]
expect(asked(exam), [["A blue mat."] * 2, wanted], "as respostas e os pedidos")

# %% [markdown]
# ## 7. A faxina
#
# `clean_up(client, job)` apaga o que o job deixou no serviço: o arquivo de treino, o de validação, os de resultado e o modelo ajustado. Um job que falhou não tem modelo
# (`fine_tuned_model` é `None`), mas os arquivos, com os dados do cliente, continuam lá. Devolve quantas coisas apagou.


# %% id="answer-clean"
def clean_up(client, job):
    """Apaga arquivos e modelo do job; devolve quantos."""
    ### SOLUTION
    files = [job.training_file, job.validation_file, *job.result_files]
    for file in files:
        client.files.delete(file)
    if job.fine_tuned_model:
        client.models.delete(job.fine_tuned_model)
    return len(files) + bool(job.fine_tuned_model)
    ### END


# %% id="deleted"
def deleted(status):
    """O que `clean_up` apagou de um job neste estado, e quantos disse que foram."""
    service = Pretend([status])
    count = clean_up(service, service.look("job-1"))
    return count and [count, sorted(entry[1] for entry in service.log if entry[0] == "delete")]


# %% id="check-clean" points=1 level="easy" title="Nada fica para trás" lesson="15#clean-up"
files = ["file-r", "file-t", "file-v"]
expect(deleted("succeeded"), [4, [*files, "ft:modelo"]], "um job que deu certo")
expect(deleted("failed"), [3, files], "um job que falhou")

# %% [markdown]
# ## 8. O serviço inteiro
#
# Agora de verdade. `run(client, pairs, folder)` faz tudo, na ordem: prepara, envia, espera (no máximo 140 segundos), pergunta a prova ao base e ao ajustado, e limpa. Devolve a
# prova e as respostas: `(exam, {"base": [...], "tuned": [...]})`. A conferência liga o gêmeo, julga as frases como na aula 15 e olha se sobrou algo.


# %% id="answer-run"
def run(client, pairs, folder):
    """(prova, {"base": respostas, "tuned": respostas}), e nada deixado no serviço."""
    ### SOLUTION
    exam = prepare(pairs, folder)
    job = wait(client, send(client, folder / "train.jsonl", folder / "validation.jsonl"), 140)
    said = {
        "base": answers(client, MODEL, exam),
        "tuned": answers(client, job.fine_tuned_model, exam),
    }
    clean_up(client, job)
    return exam, said
    ### END


# %% id="trial"
from openai import OpenAI

from afina.cloud import local_cloud
from afina.tune.evaluate import judge


def trial():
    """Um gêmeo novo, a sua `run`, e as coisas que sobraram nele."""
    with local_cloud(show=False):
        client = OpenAI()
        result = run(client, pairs, folder)
        left = [*client.files.list(), *(m for m in client.models.list() if m.id.startswith("ft:"))]
    return result, len(left)


def attributes(exam, texts):
    """A parte dos atributos do título (cor, material, tamanho…) que as frases dizem certo."""
    titles = [question.removeprefix("Describe the product: ") for question, _ in exam]
    return judge(titles, texts, [sentence for _, sentence in exam])["attributes"]


# %% id="check-better" points=1 level="stretch" title="O ajustado é melhor, medido, e nada ficou" lesson="15#compare-checkpoints" slow=1
result, left = trial()
exam, said = result or ([], {})
shares = {name: attributes(exam, texts) for name, texts in said.items()}
gain = result and shares["tuned"] - shares["base"]
expect(
    gain,
    lambda gain: gain > 0.3 or f"esperava um ganho de 30 pontos, encontrei {gain:.0%}",
    "o ganho sobre o base",
)
expect(left, 0, "arquivos e modelos deixados no serviço")

# %% [markdown]
# ## Para terminar
#
# É isso: dados, custo, job, prova e conta fechada. O mesmo código, com outro endereço e outra chave, fala com um serviço de verdade; a parte 13 da
# [aula 15](../../notebooks/15_openai_job.ipynb) diz quais.
#
# Rode tudo do começo (*Kernel › Restart Kernel and Run All Cells*) e confira que cada célula de conferência diz ✔. Depois entregue este arquivo e
# compare-o com a [solução comentada](solution.ipynb).
