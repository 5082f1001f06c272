# %% [markdown] id="cover"
# # 17 · Servir, e melhorar com o uso
#
# Um modelo treinado é uma pasta com alguns arquivos. Nesta aula você abre cada um, põe o modelo para atender muita gente ao mesmo tempo, e usa as correções de quem perguntou para treinar uma versão melhor,
# sem que ela esqueça o que já sabia.
#
# **Ao final você vai saber**
#
# - dizer o que há em cada arquivo de um modelo, e ler os pesos sem biblioteca nenhuma
# - escolher a precisão medindo tamanho, qualidade e velocidade
# - servir o modelo com a API da OpenAI, e medir o que acontece com 1, 4 e 16 clientes
# - transformar correções em treino, e provar que o resto não piorou
# - calcular memória, máquina e custo por mês, e conferir a segurança
#
# **Antes desta aula**: [12 · Seguir instruções](12_instruction_finetuning.ipynb) e [14 · TinyLlama com QLoRA](14_tinyllama_qlora.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="attendant"
# ## 1. O atendente
#
# Uma loja quer um atendente que responda sobre um produto a partir do título. Para o lançamento, ensinamos quatro tipos de pergunta, dois em inglês e dois em português. Há um quinto tipo, que ninguém previu. Guarde-o para depois.
#
# O treino é o da aula 14, mais curto: um adaptador LoRA sobre o `llama-base` (com GPU, sobre o TinyLlama). O pedido passa pelo *chat template* (o molde da conversa), o mesmo que o servidor vai usar.

# %%
import torch

from afina.serve.improve import ASKED, TAUGHT, make_exam, questions

torch.set_num_threads(1)  # matrices this small gain nothing from a second thread
exam = make_exam()  # 40 questions of each kind, on titles that no training sees
taught = [pair for kind in TAUGHT for pair in questions(kind, 150, seed=3)]
print(*(f"{kind:<9} {pairs[1][0]} → {pairs[1][1]}" for kind, pairs in exam.items()), sep="\n")

# %%
from dataclasses import replace

from afina.serve.improve import SETTINGS, as_rows, score
from afina.tune.load import LoraSettings, load_for_sft
from afina.tune.sft import train

base = rt.pick(cpu=rt.models / "llama-base", gpu="unsloth/tinyllama-chat-bnb-4bit")
settings = replace(SETTINGS, max_steps=50, learning_rate=rt.pick(cpu=5e-3, gpu=2e-4))
model, tokenizer = load_for_sft(base, 128, rt.pick(cpu=False, gpu=True), LoraSettings())
done = train(model, tokenizer, as_rows(taught, tokenizer), settings)
print(f"{done.steps} passos, perda {done.losses[0]:.2f} → {done.losses[-1]:.2f}")
launch = score(model, tokenizer, exam)
print({kind: round(share, 2) for kind, share in launch.items()})
assert min(launch[kind] for kind in TAUGHT) > 0.8
assert launch[ASKED] < 0.2

# %% [markdown]
# A nota é a parte das respostas exatas, em títulos nunca vistos. Quatro tipos quase perfeitos; o quinto, zero. É o retrato de todo lançamento: vai bem no que foi treinado.

# %% [markdown] id="anatomy"
# ## 2. A anatomia de um modelo
#
# Salvamos de duas formas, como na aula 14: só o **adaptador**, e tudo **fundido**. O que ficou em disco?

# %%
from afina.tune.export import merge, save

adapter = save(model, tokenizer, rt.build / "17_atendente_v1")
merged = save(merge(model), tokenizer, rt.build / "17_atendente_v1_fundido")

# %%
for folder in (adapter, merged):
    print(folder.name)
    for path in sorted(folder.iterdir()):
        print(f"  {path.stat().st_size:>9,} bytes  {path.name}".replace(",", "."))

# %% [markdown] id="files"
# | arquivo | o que guarda | sem ele |
# | --- | --- | --- |
# | `config.json` | o desenho: classe, camadas, colunas, cabeças | ninguém sabe onde pôr os pesos |
# | `generation_config.json` | como gerar, se ninguém disser: onde parar, sorteio | valores de fábrica |
# | `tokenizer.json` | os tokens, as fusões e os cortes da aula 04 | os números não viram texto |
# | `tokenizer_config.json` | a classe do tokenizador, os tokens especiais | começo e fim perdidos |
# | `chat_template.jinja` | como uma conversa vira um texto só | o modelo recebe um pedido que nunca viu |
# | `model.safetensors` | os pesos | só resta o desenho |
# | `adapter_config.json` | posto, escala, matrizes, e **qual é a base** | não se sabe onde encaixar |
# | `adapter_model.safetensors` | só as matrizes `A` e `B` | a base, como veio |
#
# Vamos abrir um por um.
#
# ### O desenho
#
# Da configuração já se sabe quantos pesos há, sem abrir nenhum. A conta, bloco por bloco:

# %%
import json

config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
shown = "architectures num_hidden_layers hidden_size intermediate_size vocab_size"
for name in shown.split():
    print(f"{name:<20} {config[name]}")

# %%
d, wide, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
keys = d // config["num_attention_heads"] * config["num_key_value_heads"]  # columns of k and of v
block = 2 * d * d + 2 * d * keys + 3 * d * wide + 2 * d  # q o, k v, feed-forward, two norms
embeddings = config["vocab_size"] * d * (1 if config["tie_word_embeddings"] else 2)
by_hand = layers * block + embeddings + d  # and the last norm
print(f"{by_hand:,} pesos".replace(",", "."))

# %% [markdown] id="safetensors"
# ### Os pesos, byte por byte
#
# Um arquivo **safetensors** é simples de propósito. Oito bytes dizem o tamanho do cabeçalho; o cabeçalho é um JSON com nome, tipo, forma e lugar de cada tensor; o resto são os números, colados.
#
# Leia um tensor sem biblioteca de modelos: corte os bytes do lugar dele, e diga ao NumPy que são números de 32 bits. **Prova**: são os mesmos que o PyTorch tem, e somando as formas chega-se à conta de cima.

# %%
raw = (merged / "model.safetensors").read_bytes()
length = int.from_bytes(raw[:8], "little")
header = json.loads(raw[8 : 8 + length])
print(f"cabeçalho de {length} bytes, {len(header) - 1} tensores; os três primeiros:")
for name in list(header)[1:4]:
    print(name, header[name])

# %% id="read-by-hand"
import numpy as np
from transformers import AutoModelForCausalLM

name = "model.layers.0.self_attn.q_proj.weight"
start, end = header[name]["data_offsets"]
numbers = np.frombuffer(raw[8 + length :][start:end], dtype="<f4").reshape(header[name]["shape"])
opened = AutoModelForCausalLM.from_pretrained(merged, dtype="float32")
assert (numbers == opened.get_parameter(name).detach().numpy()).all()
counted = sum(np.prod(of["shape"]) for key, of in header.items() if key != "__metadata__")
assert counted == by_hand == opened.num_parameters()
print(numbers[0, :4])

# %% [markdown] id="pickle"
# Por que não o `.bin` ou o `.pt` de antigamente? Porque são *pickle*, e abrir um pickle **roda o código que estiver dentro**. Este é inofensivo, e já assusta:

# %%
import pickle


class Gift:
    def __reduce__(self):  # what pickle is told to call when it opens the file
        return print, ("este código rodou só porque você abriu o arquivo",)


pickle.loads(pickle.dumps(Gift()))

# %% [markdown] id="adapter-files"
# Um safetensors só tem números: não há o que rodar. Por isso o curso não abre outra coisa, e nunca usa `trust_remote_code`.
#
# ### O adaptador
#
# O mesmo leitor, agora no outro arquivo. `read_header` é o que você acabou de fazer, com os erros tratados:

# %%
from afina.serve.hosting import read_header

pieces = read_header(adapter / "adapter_model.safetensors")
about = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
base_name = about["base_model_name_or_path"]
print(f"base {base_name}, posto {about['r']}, escala {about['lora_alpha']}")
for key in list(pieces)[:2]:
    print(key.removeprefix("base_model.model.model."), pieces[key]["shape"])
total = sum(np.prod(of["shape"]) for of in pieces.values())
print(f"{total} pesos, {total / by_hand:.0%} dos da base")

# %% [markdown] id="chat-template"
# Repare na linha `base`: o adaptador guarda um **caminho**. Mude a base de lugar, ou mande só o adaptador a um colega, e ele não abre, até alguém dizer onde ela está (`afina serve --base`). O fundido não depende de ninguém.
#
# ### A conversa
#
# Uma API de chat recebe mensagens; o modelo lê texto. Quem traduz é o molde, um pequeno programa que viaja com o tokenizador:

# %%
messages = [{"role": "user", "content": exam["marca"][1][0]}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
print(text)
ids = tokenizer(text)["input_ids"]
print(len(ids), "tokens:", [tokenizer.decode([i]) for i in ids[:9]], "…")

# %% [markdown] id="reopen"
# ## 3. Reabrir e perguntar
#
# Três modelos, a mesma pergunta: a base sozinha, a base com o adaptador, o fundido. A base responde do seu jeito; os outros dois, do jeito que foi ensinado. **Prova**: no exame inteiro, adaptador e fundido dizem o mesmo.

# %%
from afina.serve.improve import answers
from afina.tune.export import reopen
from afina.tune.load import load_base

pairs = [pair for kind in TAUGHT for pair in exam[kind]]
people = {"base": load_base(base)[0], "adaptador": reopen(adapter)[0], "fundido": opened}
told = {name: answers(one, tokenizer, pairs) for name, one in people.items()}
for name, texts in told.items():
    print(f"{name:<10} {texts[41]}")
same = np.mean([a == b for a, b in zip(told["adaptador"], told["fundido"], strict=True)])
assert same > rt.pick(cpu=0.99, gpu=0.9)

# %% [markdown] id="quantised"
# ## 4. Quantizar, ou não
#
# Menos bits por peso, menos memória. O que se perde? Só medindo: tamanho, nota no exame, e velocidade escrevendo para uma conversa e para 16 juntas.

# %%
import time


def speed(model, conversations, new=40):
    """Tokens a second, written greedily for so many conversations in one batch."""
    batch = torch.tensor([ids] * conversations, device=model.device)
    start = time.perf_counter()
    model.generate(
        batch,
        attention_mask=torch.ones_like(batch),
        min_new_tokens=new,
        max_new_tokens=new,
        do_sample=False,
    )
    return conversations * new / (time.perf_counter() - start)


# %%
# NBVAL_IGNORE_OUTPUT
import pandas as pd

kinds = {
    "fp32": opened,
    "bf16": AutoModelForCausalLM.from_pretrained(merged, dtype="bfloat16"),
    "nf4": load_base(merged, load_in_4bit=True)[0],
}
rows = {}
for name, one in kinds.items():
    speed(one, 1, 4)  # the first call warms up
    marks = score(one, tokenizer, {kind: exam[kind] for kind in TAUGHT})
    rows[name] = {"KB": one.get_memory_footprint() / 1000, "nota": np.mean(list(marks.values()))}
    rows[name] |= {f"tokens/s ({n})": max(speed(one, n) for _ in range(3)) for n in (1, 16)}
precisions = pd.DataFrame(rows).T
assert precisions.loc["nf4", "KB"] < precisions.loc["bf16", "KB"] < precisions.loc["fp32", "KB"]
assert precisions["nota"].min() > precisions["nota"].max() - 0.1
precisions.style.format(
    {**dict.fromkeys(precisions, "{:,.0f}"), "nota": "{:.2f}"}, thousands=".", decimal=","
)

# %% [markdown] id="quantised-verdict"
# - **Tamanho**: a metade em bf16, um terço em NF4. Não um oitavo, porque os embeddings ficam inteiros, e num modelo pequeno eles são um quarto de tudo. Num de 8 bilhões, quase somem.
# - **Qualidade**: aqui a diferença é de uma ou outra resposta. Em tarefas mais difíceis pode não ser: meça na sua.
# - **Velocidade**: nesta CPU os 4 bits são mais **lentos**, porque cada peso é desempacotado antes da conta. Quantizar compra memória. Só compra velocidade onde ler os pesos é o gargalo e há código feito para isso, como em GPUs.
# - **Lote**: a coluna da direita é a surpresa. Dezesseis conversas juntas rendem muito mais por segundo que uma, e é disso que vive um servidor.

# %% [markdown] id="serve"
# ## 5. Servir
#
# Servir é deixar o modelo carregado num processo, atrás de um endereço. Em um terminal, na pasta do curso:
#
# ```bash
# afina serve build/17_atendente_v1
# ```
#
# O comando serve qualquer modelo do curso: `load_checkpoint` reconhece a pasta. Aqui, de dentro do notebook, `serving` faz o mesmo: um processo filho, numa porta livre, só nesta máquina, com uma chave sorteada.

# %%
# NBVAL_IGNORE_OUTPUT
from afina.serve import load_checkpoint, serving

for place in (adapter, merged, rt.models / "gpt-pt"):
    found = load_checkpoint(place)
    print(f"{found.name:<24} {type(found.model).__name__:<17} até {found.context} tokens")
folder = rt.build / "17_retorno"
folder.mkdir(exist_ok=True)
(folder / "v1.sqlite").unlink(missing_ok=True)
server = serving(adapter, feedback=folder / "v1.sqlite")

# %% [markdown] id="curl"
# ### Por curl
#
# A API fala HTTP e JSON, como a da OpenAI. Qualquer programa pergunta, até o `curl` do terminal. O cabeçalho `Authorization` leva a chave:

# %%
# NBVAL_IGNORE_OUTPUT
import shutil
import subprocess

question = {"model": server.model, "messages": messages, "temperature": 0}
command = ["curl", "-s", f"{server.base_url}/chat/completions", "-d", json.dumps(question)]
command += ["-H", "Content-Type: application/json"]
command += ["-H", f"Authorization: Bearer {server.api_key}"]
if shutil.which("curl"):
    reply = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)
    print(reply.stdout)
else:
    print("não há curl aqui; o comando seria:", *command[:3])

# %% [markdown] id="openai-client"
# ### Pelo cliente da OpenAI
#
# Se a API é a mesma, o cliente também é: troca-se o endereço, e o código da aula 15 serve sem mudança.
#
# **Em pedaços** (*streaming*), o servidor manda cada token assim que o escreve. A resposta inteira demora o mesmo, mas quem espera começa a ler logo. Aqui são milissegundos; num modelo grande, é a diferença entre meio segundo e dez.

# %%
from openai import OpenAI

client = OpenAI(base_url=server.base_url, api_key=server.api_key)
print([found.id for found in client.models.list()])


def ask(client, name, question, **more):
    """The server's whole answer to one question."""
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=name, messages=messages, temperature=0, **more)


asked, right = exam["tamanho"][2]
print(asked, "→", ask(client, server.model, asked).choices[0].message.content)

# %% id="stream"
# NBVAL_IGNORE_OUTPUT
start = time.perf_counter()
for event in ask(client, server.model, exam["material"][3][0], stream=True):
    if event.choices and event.choices[0].delta.content:
        print(f"{1000 * (time.perf_counter() - start):5.0f} ms  {event.choices[0].delta.content!r}")

# %% [markdown] id="page"
# ### Pela página
#
# O mesmo endereço, aberto no navegador, é uma página de conversa. Cada resposta tem dois polegares e um campo para escrever a resposta certa. É por ali que o modelo vai melhorar.

# %%
from afina.teach.figures import show_picture

show_picture(
    rt.root / "docs" / "chat_page.png",
    alt="Página de conversa: a marca saiu certa e ganhou o polegar para cima; a cor saiu errada, e a pessoa escreve a certa.",
    width=560,
)

# %% [markdown] id="api-errors"
# ### Quando algo não serve
#
# Um servidor recebe de tudo. Cada recusa vem na forma da OpenAI, para que o cliente a entenda:

# %%
import openai

stranger = OpenAI(base_url=server.base_url, api_key="outra-chave", max_retries=0)
for who, attempt in (
    ("sem a chave", lambda: ask(stranger, server.model, "oi")),
    ("outro modelo", lambda: ask(client, "gpt-9", "oi")),
    ("longo demais", lambda: ask(client, server.model, "oi " * 2000)),
    (
        "temperatura",
        lambda: client.chat.completions.create(
            model=server.model, messages=messages, temperature=9
        ),
    ),
):
    try:
        attempt()
    except openai.APIStatusError as error:
        print(f"{who:<13} {error.status_code} {type(error).__name__}: {error.body['message']}")

# %% [markdown] id="load"
# ## 6. Muita gente ao mesmo tempo
#
# Um modelo escreve um token por vez, e a maior parte do tempo de cada passo não depende de quantas conversas há no lote: você viu na parte 4. Por isso o servidor não atende um de cada vez. A cada passo ele junta quem está
# esperando (*continuous batching*): quem chega entra, quem termina sai.
#
# Medimos com 1, 4 e 16 clientes, cada um perguntando sem parar. Para comparar, toda resposta tem 80 tokens: `ignore_eos`, que o vLLM também conhece, manda seguir depois do fim.

# %%
from concurrent.futures import ThreadPoolExecutor


def one_client(pairs):
    """Seconds and tokens of each answer, one question after the other."""
    seen = []
    for asked, _ in pairs:
        start = time.perf_counter()
        reply = ask(client, server.model, asked, max_tokens=80, extra_body={"ignore_eos": True})
        seen.append((time.perf_counter() - start, reply.usage.completion_tokens))
    return seen


def crowd(clients, each=5):
    """(seconds of every answer, tokens a second in all) with so many clients at once."""
    shares = [taught[n * each : (n + 1) * each] for n in range(clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seen = [pair for part in pool.map(one_client, shares) for pair in part]
    return [s for s, _ in seen], sum(t for _, t in seen) / (time.perf_counter() - start)


# %%
# NBVAL_IGNORE_OUTPUT
crowd(2, 2)  # warms up
loads = {clients: crowd(clients) for clients in (1, 4, 16)}
for clients, (seconds, rate) in loads.items():
    middle, slow = np.percentile(seconds, [50, 95]) * 1000
    print(f"{clients:>2}: {rate:5.0f} tokens/s; metade em {middle:.0f} ms, 95% em {slow:.0f} ms")

# %%
# NBVAL_IGNORE_OUTPUT
from afina.teach.figures import BLUE, GREEN, ORANGE, RED, SKY, figure, show

counts = list(loads)
fig, (left, right) = figure(height=3, columns=2)
for percent, color, mark in ((50, BLUE, "o-"), (95, ORANGE, "s--")):
    line = [np.percentile(loads[n][0], percent) * 1000 for n in counts]
    left.plot(counts, line, mark, color=color, label=f"{percent}%")
left.set(title="Espera", xlabel="clientes", ylabel="ms por resposta", ylim=(0, None), xticks=counts)
left.legend(title="respondidos até")
right.plot(counts, [loads[n][1] for n in counts], "o-", color=GREEN)
right.set(title="Trabalho", xlabel="clientes", ylabel="tokens/s", ylim=(0, None), xticks=counts)
told = {n: (round(np.median(s) * 1000), round(rate)) for n, (s, rate) in loads.items()}
show(
    fig,
    alt=f"À esquerda a espera, à direita os tokens por segundo; clientes: (ms, tokens/s) = {told}.",
)

# %% [markdown] id="load-verdict"
# Com dezesseis clientes, cada um espera mais que sozinho, e o servidor rende muito mais: são os dois lados do lote. Os números são desta máquina, onde os clientes disputam os mesmos dois núcleos com o servidor; a forma das curvas é o que se leva.
# A comparação com `generate()`, um pedido de cada vez, está em `benchmarks/serve.py`.

# %% [markdown] id="improves"
# ## 7. O modelo melhora com o uso?
#
# A resposta curta: **sozinho, não**. Responder não muda peso nenhum. A prova, com a soma do arquivo e a mesma pergunta, depois de tudo o que ele já respondeu:

# %%
import hashlib


def fingerprint(folder):
    """The first digits of the SHA-256 of a folder's weights."""
    files = sorted(folder.glob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


before = fingerprint(adapter)
asked, right = exam[ASKED][1]
first = ask(client, server.model, asked).choices[0].message.content
print(asked, "→", first, f"  (certo: {right})")
assert first != right

# %% [markdown] id="complain"
# Aí está o tipo de pergunta que ninguém previu. Clientes de verdade perguntam a cor em português, recebem outra coisa, põem o polegar para baixo e escrevem o certo. Simulamos quarenta deles, com a mesma chamada que a página faz. O que dizem vai para um arquivo SQLite, um banco de dados que vem com o Python:


# %%
def complain(asked, right):
    """What a customer does on the page: asks, reads, and corrects what is wrong."""
    answer = ask(client, server.model, asked).choices[0].message.content
    note = {
        "model": server.model,
        "messages": [{"role": "user", "content": asked}],
        "answer": answer,
    }
    note |= {"rating": "up"} if answer == right else {"rating": "down", "correction": right}
    client.post("/feedback", body=note, cast_to=object)


customers = questions(ASKED, 40, seed=11)
for asked_then, right_then in customers:
    complain(asked_then, right_then)

# %%
from afina.serve.feedback import Feedback

store = Feedback(folder / "v1.sqlite")
notes = pd.DataFrame(store.rows())
print(len(notes), "opiniões;", (notes["rating"] == "down").sum(), "polegares para baixo")
again = ask(client, server.model, asked).choices[0].message.content
assert again == first and fingerprint(adapter) == before
print("e depois de todas elas, o modelo ainda diz:", again)
notes[["answer", "rating", "correction"]].tail(3)

# %% [markdown]
# As correções são **dados**, não aprendizado. Viram aprendizado quando alguém as revisa, treina de novo, e confere.
#
# ### Exportar e validar
#
# `afina feedback export` (aqui, `store.export`) escreve dois arquivos: `chat.jsonl`, com o que se queria ouvir, para um SFT; e `dpo.jsonl`, com pares de correção e resposta recusada, para o DPO da aula 15. O validador da aula 03 confere os dois.

# %%
export = store.export(folder / "exportado")
print(export.counts)
print(export.chat.read_text(encoding="utf-8").splitlines()[0])
print(export.pairs.read_text(encoding="utf-8").splitlines()[0])
assert export.ok

# %% [markdown] id="second-tuning"
# ### O segundo ajuste
#
# Partimos do adaptador que está no ar, e o treinamos de dois modos. **Só as correções**: é o que se tem à mão. **Com ensaio** (aula 12): duas partes de exemplos antigos para uma de correções.

# %%
from afina.cloud.train import read_rows
from afina.gpt.instruct import mix

corrections = read_rows(export.chat, "openai-chat", tokenizer)
old = as_rows(taught, tokenizer)


def tune_again(rows, steps):
    """The model on the air, trained on these rows: (model, its marks)."""
    model, _ = reopen(adapter, load_in_4bit=rt.pick(cpu=False, gpu=True), to_train=True)
    train(model, tokenizer, rows, replace(settings, max_steps=steps))
    return model, score(model, tokenizer, exam)


forgetful, alone = tune_again(corrections, steps=20)
second, rehearsed = tune_again(mix(corrections, old, share=2 / 3), steps=40)
table = pd.DataFrame({"no ar": launch, "só correções": alone, "com ensaio": rehearsed})

# %%
fig, ax = figure(height=3)
for n, (name, color) in enumerate(zip(table, (SKY, RED, GREEN), strict=True)):
    places = [x + 0.27 * n - 0.27 for x in range(len(table))]
    bars = ax.bar(places, table[name], 0.25, label=name, color=color)
    ax.bar_label(bars, [f"{v:.2f}".rstrip("0").rstrip(".").replace(".", ",") for v in table[name]])
ax.set_xticks(range(len(table)), table.index)
ax.set(title="Respostas certas, por tipo de pergunta", ylabel="parte", ylim=(0, 1.3))
ax.grid(visible=False, axis="x")
ax.legend(ncols=3)
show(
    fig, alt=f"Barras por tipo e por treino, parte de respostas certas: {table.round(2).to_dict()}."
)

# %% [markdown] id="forgetting"
# Olhe as barras do meio. Treinado só com as correções, o modelo acerta a pergunta nova e **esquece as outras**. Pergunte a ele:

# %%
for kind in TAUGHT:
    asked_now, right_now = exam[kind][1]
    print(
        f"{asked_now.split('?')[0]}? → {answers(forgetful, tokenizer, exam[kind][1:2])[0]}   (certo: {right_now})"
    )

# %% [markdown]
# É o esquecimento catastrófico da aula 12, agora feito de boas intenções. Quem olhasse só a nota das correções publicaria um desastre. Com ensaio, o tipo corrigido sobe, e os outros ficam.
#
# Mas uma rodada pode ser sorte. Mais dois grupos de clientes, outras quarenta perguntas cada um. Em cada linha, primeiro só com as correções, depois com ensaio:

# %%
rounds = [(alone, rehearsed)]
for seed in (12, 13):
    group = as_rows(questions(ASKED, 40, seed), tokenizer)
    rounds.append((tune_again(group, 20)[1], tune_again(mix(group, old, 2 / 3), 40)[1]))
for without, having in rounds:
    kept = [np.mean([marks[kind] for kind in TAUGHT]) for marks in (without, having)]
    print(
        f"corrigido {without[ASKED]:.2f} e {having[ASKED]:.2f}; os outros {kept[0]:.2f} e {kept[1]:.2f}"
    )
    assert without[ASKED] > 0.7 and having[ASKED] > 0.7  # the corrected kind rises, both ways
    assert all(having[kind] > launch[kind] - 0.15 for kind in TAUGHT)  # rehearsed: the others stay
    assert np.mean([without[kind] for kind in TAUGHT]) < 0.5  # alone: they fall

# %% [markdown] id="publish"
# ### Publicar, ou não
#
# A decisão não é de gosto, é uma regra escrita antes: o tipo corrigido melhora, e nenhum outro cai mais que a folga. O modelo do meio é barrado por ela, e o outro vai ao ar.


# %%
def may_publish(now, new, corrected, slack=0.15):
    """Is every kind at least as good as now, within the slack, and the corrected one better?"""
    return new[corrected] > now[corrected] and all(new[kind] >= now[kind] - slack for kind in now)


candidates = {"só correções": alone, "com ensaio": rehearsed}
verdicts = {name: may_publish(launch, marks, ASKED) for name, marks in candidates.items()}
print({name: "publica" if good else "não publica" for name, good in verdicts.items()})
assert verdicts == {"só correções": False, "com ensaio": True}

# %%
next_version = save(merge(second), tokenizer, rt.build / "17_atendente_v2")
newer = serving(next_version, feedback=folder / "v2.sqlite", show=False)
improved = ask(newer.client(), newer.model, asked).choices[0].message.content
server.close()
print("v1:", first)
print("v2:", improved, f"  (certo: {right})")

# %% [markdown] id="loop"
# É o ciclo inteiro que a [aula 01](01_core_concepts.ipynb) desenhou: uso, registro, revisão, exemplos, ajuste, exame, publicação. Três cuidados que a simulação esconde:
#
# - **Revise antes de treinar.** Clientes erram, brincam e sabotam. Correção que ninguém leu é porta aberta para envenenar o modelo.
# - **Peça licença e apague.** Conversas têm dados pessoais. Diga que guarda, guarde pouco, e atenda a quem pedir para apagar (LGPD).
# - **O exame não sai das correções.** Os títulos do exame nunca estiveram em treino nenhum: é o que faz da nota uma prova.

# %% [markdown] id="hosting"
# ## 8. Onde hospedar, e quanto custa
#
# "Pôr na nuvem" são coisas diferentes, e só metade delas **roda** um modelo:
#
# | opção | exemplos | roda o modelo? | boa para | cuidado |
# | --- | --- | --- | --- | --- |
# | servidor próprio | Apache, Nginx ou IIS na frente, `afina serve` ou vLLM atrás | sim | controle, dados que não saem de casa, uso constante | quem conserta às três da manhã é você; paga-se em anos |
# | máquina na nuvem | EC2, Compute Engine, Hugging Face Endpoints | sim | GPU por hora, crescer e diminuir | parada também cobra |
# | armazenamento de objetos | S3, Cloud Storage, Blob Storage | não: guarda os arquivos | versões do modelo, cópias, entrega às máquinas | bucket público por engano |
# | API gateway | API Gateway, Apigee, API Management | não: fica na porta | chaves, limites por cliente, registro | o tempo-limite: a API HTTP da AWS corta em [30 segundos](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html) |
# | banco de dados | PostgreSQL, MongoDB, SQLite | não: guarda conversas e correções | o registro da parte 7 | dados pessoais; não ponha pesos dentro |
# | funções | Lambda, Cloud Functions | sim, modelos pequenos, em CPU | uso raro: parada é grátis | até [10 GB e 15 minutos](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html) na Lambda; a primeira chamada espera carregar |
#
# Na prática elas se somam: objetos guardam, uma máquina roda, o gateway protege, o banco anota.
#
# ### Cabe?
#
# A memória é aritmética: **pesos** (quantos, vezes os bytes de cada), **cache** (chaves e valores de cada token de cada conversa aberta, aula 09) e uma folga. `afina.serve.hosting` faz a conta. Antes de confiar, confira-a no modelo que está aqui; depois, use-a em tamanhos de verdade, com oito conversas de dois mil tokens abertas:

# %%
from afina.serve import hosting

size = hosting.read_size(merged)
print(size)
predicted, held = (
    hosting.weight_bytes(size, "nf4", rest="fp32"),
    kinds["nf4"].get_memory_footprint(),
)
print(f"NF4: conta {predicted / 1000:.0f} KB, medido {held / 1000:.0f} KB")
assert hosting.weight_bytes(size, "fp32") == sum(p.numel() * 4 for p in opened.parameters())
assert rt.profile == "gpu" or abs(predicted / held - 1) < 0.05

# %%
sizes = (hosting.TINYLLAMA, hosting.FOUR_BILLION, hosting.EIGHT_BILLION, hosting.SEVENTY_BILLION)
needs = pd.DataFrame(index=[one.name for one in sizes])
for kind in ("fp32", "bf16", "int8", "nf4"):
    needs[kind] = [hosting.memory(one, kind, conversations=8).total for one in sizes]
needs.style.format("{:.1f} GB", decimal=",")

# %% [markdown] id="seed-claim"
# Um texto que circula diz: para **treinar** um modelo de 4 bilhões de pesos, basta uma RTX 3080, de 10 GB. (Em Portugal se lê "4 mil milhões"; lá, *bilião* é mil vezes mais.) A conta da aula 14, sem as ativações:

# %%
for method in ("full", "lora", "qlora"):
    need = hosting.training_memory(hosting.FOUR_BILLION, method)
    verdict = "cabe, com folga" if need < 5 else "cabe apertado" if need < 10 else "não cabe"
    print(f"{method:<6} {need:5.1f} GB  {verdict} em {hosting.RTX_3080.memory_gb} GB")

# %% [markdown] id="cost"
# Meia verdade: treinar tudo pede mais de seis placas dessas. Com QLoRA, uma basta.
#
# ### Quanto por mês?
#
# O custo é a hora da máquina, vezes as horas, vezes quantas. Quantas, depende do tráfego **no pico** e de quantos tokens por segundo **uma** escreve. Esse número ninguém sabe por você. Para o nosso atendente, você acabou de medir. Para um de 8 bilhões, com respostas longas, não temos a placa: **suponha** que você mediu 600 tokens por segundo na L4 e 2.500 na A100.

# %%
# NBVAL_IGNORE_OUTPUT
traffic = hosting.Traffic(requests_a_day=50_000, prompt_tokens=40, answer_tokens=10, peak=5)
print(f"no pico, {traffic.peak_tokens_a_second:.0f} tokens/s; preços lidos em {hosting.READ_ON}")
measured = {"CPU, 4 núcleos": loads[16][1]}  # measured on yours: rent one and measure there
print(hosting.plan(size, "fp32", traffic, measured, answer_seconds=1)[0])

traffic = hosting.Traffic(requests_a_day=50_000, prompt_tokens=300, answer_tokens=200, peak=5)
print(f"\no de 8 bilhões: no pico, {traffic.peak_tokens_a_second:.0f} tokens/s")
for choice in hosting.plan(hosting.EIGHT_BILLION, "nf4", traffic, {"L4": 600, "A100": 2500}):
    print(choice)

# %% [markdown] id="prices"
# Cinquenta mil perguntas por dia numa máquina de cem dólares por mês: um modelo pequeno e bem ajustado é barato. O preço por milhão de tokens não parece, porque ela passa quase o tempo todo parada, e paga-se do mesmo modo: encher a máquina é o que barateia.
# E caber não é servir: onde ninguém mediu, a calculadora não inventa um custo.
#
# Os preços por hora são de uma [tabela do Hugging Face](https://huggingface.co/docs/inference-endpoints/support/pricing), lida numa cópia do fim de 2025: confira a de hoje antes de decidir. Os que não são por hora, cada um com a sua certeza, e a sua placa, em casa (ponha os seus números):

# %%
for price in hosting.PRICES:
    print(f"{price.what:<32} {price}")
mine = hosting.own_month(price_usd=700, watts=350, usd_a_kwh=0.17)  # an example: put yours
print(f"{'a sua placa, paga em 36 meses':<32} US$ {mine:.0f} por mês, ligada sempre")

# %% [markdown] id="break-even"
# Função ou máquina ligada? A função cobra por pedido e dorme de graça; a máquina cobra sempre. Para um modelo pequeno (2 GB, 4 segundos por resposta em CPU, sem contar a franquia gratuita), com poucos pedidos a função custa centavos; depois do cruzamento, a máquina vence:

# %%
days = np.logspace(1, 4.5, 30)
function = [hosting.function_month(hosting.Traffic(n), memory_gb=2, answer_seconds=4) for n in days]
machine = hosting.MACHINES[0].usd_an_hour * hosting.HOURS
crossing = days[np.searchsorted(function, machine)]
print(f"cruzam-se perto de {crossing:,.0f} pedidos por dia".replace(",", "."))
fig, ax = figure(height=3)
ax.loglog(days, function, color=BLUE, label="função, por pedido")
ax.axhline(machine, color=ORANGE, label="máquina de 4 núcleos, sempre ligada")
ax.set(title="Custo por mês", xlabel="pedidos por dia", ylabel="US$")
ax.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1.000", "10.000"])
ax.set_yticks([0.1, 1, 10, 100], ["0,10", "1", "10", "100"])
ax.legend()
show(
    fig,
    alt=f"Custo mensal contra pedidos por dia: a função sobe em linha reta e passa a máquina, de US$ {machine:.0f}, perto de {crossing / 1000:.0f} mil pedidos por dia.",
)

# %% [markdown] id="security"
# ## 9. Segurança: antes de abrir a porta
#
# A lista que importa para quem serve um modelo, com o que você já tem aqui. Os nomes são os da [OWASP, 2026](https://genai.owasp.org/resource/owasp-genai-llm-top-10-2026/), a referência da área:
#
# | pergunta | risco | neste curso |
# | --- | --- | --- |
# | O arquivo do modelo pode rodar código? | cadeia de suprimentos | só safetensors, nunca `trust_remote_code` (parte 2) |
# | Quem pode perguntar? | consumo sem limite | chave sorteada; sem ela, 401 (parte 5) |
# | De onde se chega à porta? | exposição | só desta máquina, a menos que você diga outra coisa |
# | E se mandarem um pedido enorme, ou mil? | consumo sem limite | limite de tamanho, de fila e de tempo |
# | A conversa viaja aberta? | vazamento | na rede, ponha HTTPS na frente (Nginx, Caddy, gateway) |
# | O que fica guardado? | dados pessoais | só a opinião que a pessoa mandou; peça licença, apague |
# | Quem escreve as correções? | dados envenenados | gente revisa antes do treino; exame separado |
# | O que se faz com a resposta? | saída sem tratamento | a página a mostra como texto, nunca como HTML ou código |
# | O texto do usuário pode dar ordens? | injeção de instruções | o modelo não tem ferramentas nem segredos: nada a roubar |
# | A chave está no código? | segredo exposto | não: variável de ambiente, nunca em célula |
#
# A injeção merece atenção: não há remédio certo contra ela. O que funciona é não dar ao modelo nada que não possa cair em mãos erradas.

# %% [markdown] id="vllm"
# ## 10. Crescer
#
# O servidor do curso é para aprender e para poucos. Para muitos, use um motor pronto, como o [vLLM](https://docs.vllm.ai): o mesmo lote contínuo da parte 6, com a memória do cache em páginas e código próprio de GPU. Ele lê a mesma pasta e fala a mesma API:
#
# ```bash
# pip install vllm
# vllm serve minha-pasta/atendente_fundido --port 8000 --api-key "$CHAVE"
# vllm serve TinyLlama/TinyLlama-1.1B-Chat-v1.0 --enable-lora --lora-modules atendente=minha-pasta/atendente
# ```
#
# A segunda forma deixa uma base na placa e troca adaptadores por pedido: o nome do adaptador vai no campo `model`. **Não rodamos o vLLM aqui**: ele pede uma GPU NVIDIA, e os comandos são os da [documentação dele](https://docs.vllm.ai/en/v0.8.5/features/lora.html). Use o modelo que você treinou no perfil `gpu`.
#
# O cliente é o mesmo, linha por linha. Só o endereço muda: para o vLLM, `connect("http://127.0.0.1:8000/v1", os.environ["CHAVE"])`.


# %%
def connect(url, key):
    """The same client for the course's server, vLLM, or a paid service."""
    return OpenAI(base_url=url, api_key=key)


here = connect(newer.base_url, newer.api_key)
print(ask(here, newer.model, exam["marca"][3][0]).choices[0].message.content)
newer.close()

# %% [markdown]
# ## Sua vez
#
# **1.** Um modelo de 8 bilhões em NF4, com 32 conversas de 4.096 tokens. Quantos GB ao todo? Use `hosting.memory`, e depois procure na parte 8 uma máquina em que caibam.

# %%
gigabytes = ...

# %%
from afina.teach.check import check

wanted = hosting.memory(hosting.EIGHT_BILLION, "nf4", 32, 4096).total
hint = "são 32 conversas de 4.096 tokens: o cache pesa mais que os pesos. Use .total"
check(gigabytes, lambda gb: abs(float(gb) - wanted) < 0.1 or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `gigabytes = hosting.memory(hosting.EIGHT_BILLION, "nf4", conversations=32, tokens=4096).total`, 24,5 GB: por pouco não cabe em uma L4 de 24. O cache sozinho são 17.
#
# </details>
#
# **2.** Sem carregar o modelo: quantos bytes ocupam os tensores da **primeira camada** (`model.layers.0.`) em `model.safetensors`? O dicionário `header` da parte 2 tem o lugar de cada um.

# %%
first_layer_bytes = ...

# %%
layer = [of for key, of in header.items() if key.startswith("model.layers.0.")]
wanted = sum(np.prod(of["shape"]) * 4 for of in layer)
check(
    first_layer_bytes,
    lambda n: n == wanted or "some fim menos começo de data_offsets, só dos nomes model.layers.0.",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# ```python
# first_layer_bytes = sum(
#     of["data_offsets"][1] - of["data_offsets"][0]
#     for key, of in header.items()
#     if key.startswith("model.layers.0.")
# )
# ```
#
# </details>
#
# **3.** Com que **parte** de ensaio o esquecimento some? Treine com `mix(corrections, old, share=…)`, 40 passos, e ache uma parte menor que 2/3 que ainda passe em `may_publish`. Escreva-a aqui.

# %%
my_share = ...


# %%
def is_enough(share):
    """Tune with this share of old rows, and ask the rule."""
    if not 0 <= share < 0.66:
        return "procure entre 0 e 0,65"
    marks = tune_again(mix(corrections, old, share), 40)[1]
    return (
        may_publish(launch, marks, ASKED)
        or f"a regra barrou: {pd.Series(marks).round(2).to_dict()}"
    )


check(my_share, is_enough)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `my_share = 0.5`, um exemplo antigo para cada correção, costuma bastar. Tente `0.2` e veja quem cai primeiro.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Um modelo é uma pasta: desenho, tokenizador, conversa e pesos. O adaptador precisa da base; o fundido, de ninguém.
# - Quantizar compra memória; qualidade e velocidade, só medindo.
# - Servidor bom junta conversas num lote: cada um espera um pouco mais, todos recebem muito mais.
# - Responder não ensina. Correções são dados: revise, misture com exemplos antigos, e só publique o que passa no exame inteiro.
# - Memória se calcula, velocidade se mede, preço tem data.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("17")

# %% [markdown]
# {{quiz 17}}

# %% [markdown]
# ## Próximo passo
#
# Você fechou o ciclo: do arquivo bruto ao modelo servido, e de volta, com o que as pessoas ensinaram. Volte ao [mapa](00_start_here.ipynb) e escolha o que refazer com os **seus** dados: a [aula 02](02_dataset_prep.ipynb) é sempre o começo.
