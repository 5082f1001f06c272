# %% [markdown] id="cover"
# # 14 · TinyLlama com QLoRA: do título à descrição
#
# Entra uma pergunta com o título de um produto; sai a descrição que o modelo aprendeu a escrever. Você carrega um modelo de fundação em 4 bits, treina
# um adaptador pequeno ao lado dele e mede, em produtos que ele nunca viu, se aprendeu mesmo.
#
# **Ao final você vai saber**
#
# - carregar um modelo em 4 bits e pôr um adaptador LoRA ao lado dele
# - montar o molde do pedido, com EOS, e dizer o que conta na perda
# - explicar cada argumento do `SFTTrainer` e prever tempo e memória antes de uma rodada longa
# - avaliar descrições com honestidade, contra três referências
# - fundir, salvar, reabrir e exportar o resultado
#
# **Antes desta aula**: [02 · Preparar os dados](02_dataset_prep.ipynb) e [13 · Afinar um BERT](13_bert_finetuning.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="dataset"
# ## 1. Os dados: um fragmento do catálogo
#
# O desafio usa o AmazonTitles-1.3MM: `title` é a pergunta, `content` é a resposta. A limpeza é a da aula 02, feita pelo mesmo motor: entidades HTML, tags, sinais, linhas vazias e
# repetidas. A divisão é pelo hash do título, então nenhum título do teste está no treino. Saem fragmentos (*shards*); treinamos com **um**.

# %%
# NBVAL_IGNORE_OUTPUT
import torch

from afina.data.prep import prep
from afina.tune.rows import read_shard

torch.set_num_threads(1)  # matrices this small gain nothing from a second thread
out = rt.build / "14_catalogo"
report = prep(
    rt.data / "amazon_sample.json.gz", out, shard_rows=10_000, formats=["jsonl"], force=True
)
print(str(report).partition("Linhas quebradas")[0])

# %%
shard = read_shard(out / "train-00000.jsonl")
unseen = read_shard(out / "test-00000.jsonl")
assert not {row["title"] for row in shard} & {row["title"] for row in unseen}
print(len(shard), "para treinar,", len(unseen), "para medir")

# %% [markdown] id="two-roads"
# ## 2. O modelo de fundação
#
# Uma chamada, dois caminhos. Com GPU, `load_for_sft` usa o **Unsloth** (`FastLanguageModel`) e o TinyLlama de 1,1 bilhão de pesos. Sem GPU, usa transformers, **PEFT** e bitsandbytes, e
# um Llama de 1,2 milhão de pesos que o curso pré-treinou em fichas e perguntas sobre produtos. Ele nunca viu uma descrição, nem os títulos de teste: veja o
# [cartão dele](../models/llama-base/README.md). As células são as mesmas.
#
# | argumento | o que faz | sem GPU | com GPU |
# | --- | --- | --- | --- |
# | `model` | o modelo de onde partir | `llama-base` | `unsloth/tinyllama-chat-bnb-4bit` |
# | `max_seq_length` | quantos tokens uma sequência pode ter | 160 | 512 |
# | `load_in_4bit` | guarda os pesos congelados em 4 bits (NF4) | sim | sim |
# | `lora` | o adaptador: posto `r`, escala `alpha`, `dropout`, `target_modules` | posto 16, todas as matrizes, e os vetores das palavras | posto 16, todas as matrizes |
# | `gradient_checkpointing` | recalcula em vez de guardar: menos memória, mais tempo | não | sim |
#
# O `dtype` se escolhe sozinho: `bfloat16` onde a placa tem, senão `float16`; na CPU, `float32`.

# %%
from afina.tune.load import LoraSettings, load_for_sft

base = rt.pick(cpu=rt.models / "llama-base", gpu="unsloth/tinyllama-chat-bnb-4bit")
max_seq_length = rt.pick(cpu=160, gpu=512)
lora = LoraSettings(r=16, alpha=16, modules_to_save=rt.pick(cpu=("embed_tokens",), gpu=()))
settings_to_load = {
    "max_seq_length": max_seq_length,
    "load_in_4bit": True,
    "gradient_checkpointing": rt.pick(cpu=False, gpu=True),
}

# %%
model, tokenizer = load_for_sft(base, lora=lora, **settings_to_load)
print(type(model).__name__, "·", len(tokenizer), "pedaços no vocabulário")

# %% [markdown] id="lora-formula"
# ### LoRA, por dentro
#
# **LoRA** (*Low-Rank Adaptation*) não mexe na matriz `W`. Põe ao lado duas matrizes estreitas, `A` (r × entrada) e `B` (saída × r), e soma o que elas dizem:
#
# `y = W x + (alpha / r) · B A x`
#
# Só `A` e `B` treinam. `B` nasce com zeros: no começo, o modelo é exatamente o de antes. As duas coisas, provadas:

# %%
rt.seed_everything()
layer = model.get_base_model().model.layers[0].self_attn.q_proj
x = torch.randn(
    5, layer.in_features, device=model.device, dtype=layer.lora_A["default"].weight.dtype
)
with torch.no_grad():
    assert torch.equal(layer(x), layer.base_layer(x))  # B is zero
    layer.lora_B["default"].weight.normal_(std=0.1)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    by_hand = layer.base_layer(x) + lora.alpha / lora.r * (x @ a.T @ b.T)
    assert torch.allclose(layer(x), by_hand, atol=1e-4)
    layer.lora_B["default"].weight.zero_()
print("à mão = PEFT")

# %% [markdown]
# Quanto treina? Cada matriz de `entrada × saída` ganha `r × (entrada + saída)` pesos. Em um modelo pequeno isso pesa; em um grande, quase some. A conta para os dois (o TinyLlama é
# montado só com as formas, sem ocupar memória):

# %% id="trainable-share"
from transformers import LlamaConfig, LlamaForCausalLM

with torch.device("meta"):
    tiny_llama = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=2048,
            num_hidden_layers=22,
            num_attention_heads=32,
            num_key_value_heads=4,
            intermediate_size=5632,
        )
    )


def lora_weights(network, r):
    """Weights that LoRA of rank r adds to every matrix of the blocks of `network`."""
    return sum(
        r * (module.in_features + module.out_features)
        for name, module in network.named_modules()
        if name.endswith("_proj")
    )


# %%
from afina.tune.measure import trainable

tiny = lora_weights(tiny_llama, 16), tiny_llama.num_parameters()
for name, (learn, every) in (("aqui", trainable(model)), ("TinyLlama", tiny)):
    print(f"{name:<10} {learn:>10,} de {every:,} ({100 * learn / every:.0f} %)".replace(",", "."))

# %% [markdown] id="new-words"
# Aqui treinamos também uma cópia dos **vetores das palavras** (`modules_to_save`). O TinyLlama já leu inglês de sobra; o nosso só leu fichas, e nunca viu uma frase como "a shade that does
# not fade". Sem isso, o adaptador teria de ensinar palavras novas com os vetores delas parados. Na parte 8 você mede quanto faz falta.
#
# ### QLoRA: a base em 4 bits
#
# O **QLoRA** guarda `W` em **NF4**: blocos de 64 pesos, cada peso trocado pelo mais próximo de 16 valores, e uma escala por bloco. Na hora da conta, ele volta a ser um número de
# 32 bits. Um bom retrato, não o original:

# %%
from bitsandbytes.functional import dequantize_4bit

packed = layer.base_layer.weight
back = dequantize_4bit(packed.data, packed.quant_state).float()
print("bytes da matriz:", packed.numel(), "em 4 bits,", back.numel() * 4, "em 32 bits")
print("valores diferentes em um bloco de 64:", back.flatten()[:64].unique().numel())
assert back.flatten()[:64].unique().numel() <= 16

# %% [markdown] id="template"
# ## 3. O molde do pedido (*template*)
#
# O modelo só vê texto corrido. O **Alpaca** marca as partes com três títulos: instrução, entrada, resposta. O mesmo texto tem de servir no treino e no uso, até a quebra de linha.

# %%
from datasets import Dataset, disable_progress_bars

ALPACA = "### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n{}"
INSTRUCTION = "Describe the product"
EOS_TOKEN = tokenizer.eos_token
disable_progress_bars()


def add_instruction_column(example):
    """The seed's column: the same instruction for every product."""
    return {"instruction": INSTRUCTION}


def formatting_prompts_func(examples, eos_token):
    """A batch with instruction, title and content gets three columns: prompt, completion (which ends in EOS), and both as text."""
    columns = (examples["instruction"], examples["title"])
    prompts = [
        ALPACA.format(instruction, title, "") for instruction, title in zip(*columns, strict=True)
    ]
    completions = [content + eos_token for content in examples["content"]]
    texts = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    return {"prompt": prompts, "completion": completions, "text": texts}


# %%
def formatted(rows):
    """Rows with title and content, as a Dataset in the alpaca form."""
    data = Dataset.from_list(rows).map(add_instruction_column)
    return data.map(formatting_prompts_func, batched=True, fn_kwargs={"eos_token": EOS_TOKEN})


print(formatted(shard[:1])[0]["text"])

# %% [markdown] id="eos"
# O `</s>` no fim é o **EOS** (*end of sequence*, fim da sequência). É ele que ensina a parar; sem ele o modelo não sabe que a descrição acabou. Você vai ver isso acontecer na parte 7.
#
# ### O que conta na perda
#
# O que queremos é a resposta. O pedido é dado: não faz sentido punir o modelo por não adivinhar o título. `prepare` marca com 1 o que conta, e conta também o que não coube:

# %%
from afina.tune.rows import prepare

row = prepare(formatted(shard[:1]), tokenizer, 512).rows[0]
answer = [i for i, counts in zip(row["input_ids"], row["completion_mask"], strict=True) if counts]
print("tokens:", len(row["input_ids"]), "· contam:", len(answer))
print("o que conta:", tokenizer.decode(answer[:6]), "…", tokenizer.decode(answer[-7:]))
print(prepare(formatted(shard[:2_000]), tokenizer, max_seq_length))

# %% [markdown] id="truncation"
# Um exemplo cortado perde o fim, e o EOS com ele. Com um fragmento deste tamanho dá para escolher: ficamos com as descrições que cabem inteiras. (Com `max_seq_length` maior, cabe mais
# e demora mais.)


# %%
def that_fit(rows):
    """Formatted rows whose tokens all fit, end token included."""
    lengths = [len(ids) for ids in tokenizer(list(formatted(rows)["text"]))["input_ids"]]
    return [row for row, n in zip(rows, lengths, strict=True) if n <= max_seq_length]


fitting, test = that_fit(shard), that_fit(unseen)[:60]
assert prepare(formatted(fitting), tokenizer, max_seq_length).cut == 0
print(len(fitting), "de", len(shard), "cabem inteiras")

# %% [markdown] id="questions"
# ### A pergunta do usuário
#
# O enunciado pede que o modelo responda **perguntas** sobre um título. Então cada linha do treino pergunta de um jeito, em inglês ou português, em rodízio; a resposta é a mesma descrição.

# %%
from afina.tune.rows import QUESTIONS, add_question_column

n_rows = rt.pick(cpu=2_400, gpu=8_000)
asked = Dataset.from_list(fitting[:n_rows]).map(add_question_column, with_indices=True)
asked = asked.map(formatting_prompts_func, batched=True, fn_kwargs={"eos_token": EOS_TOKEN})
print(*QUESTIONS, sep=" · ")
print(asked[3]["prompt"])

# %% [markdown] id="arguments"
# ## 4. O treino, argumento por argumento
#
# O `SFTTrainer`, da TRL, é o `Trainer` da aula 13 com o preparo dos textos por conta dele. `TrainSettings` guarda os argumentos do desafio; alguns mudaram de nome desde então.
#
# | argumento | no desafio | o que faz |
# | --- | --- | --- |
# | `per_device_train_batch_size` | 2 | exemplos por vez na memória |
# | `gradient_accumulation_steps` | 22 | quantas vezes somar gradientes antes de andar: o passo vê 44 exemplos |
# | `warmup_steps` | 5 | passos em que a taxa sobe de zero |
# | `num_train_epochs` | 1 | épocas: passadas pelos dados |
# | `learning_rate` | 2e-4 | tamanho do passo; o nosso modelo, mil vezes menor, pede mais |
# | `fp16` / `bf16` | o que a placa tem | precisão das contas; na CPU, nenhum |
# | `max_grad_norm` | 0,6 | corta gradientes grandes demais |
# | `optim` | `adamw_8bit` | AdamW com as médias em 8 bits |
# | `weight_decay` | 0,01 | puxa os pesos para zero, contra o sobreajuste |
# | `lr_scheduler_type` | `linear` | como a taxa cai até o fim |
# | `group_by_length` | sim | junta textos de comprimento parecido; hoje `train_sampling_strategy` |
# | `packing` | não | cola exemplos curtos até encher a sequência |
# | `max_seq_length` | 2048 | hoje `max_length` |
# | `dataset_text_field` | `text` | a coluna do texto; com `prompt` e `completion`, a TRL sabe onde começa a resposta |
# | `dataset_num_proc` | 2 | processos para preparar; aqui preparamos nós, e contamos |

# %%
from afina.tune.sft import TrainSettings, sft_config

settings = TrainSettings(
    batch_size=rt.pick(cpu=8, gpu=2),
    accumulation=rt.pick(cpu=1, gpu=22),
    learning_rate=rt.pick(cpu=5e-3, gpu=2e-4),
    warmup_steps=rt.pick(cpu=10, gpu=5),
    max_seq_length=max_seq_length,
)
config = sft_config(settings, rt.build / "14_sft", checkpoints=False)
print(config.optim, config.lr_scheduler_type, config.train_sampling_strategy, config.max_grad_norm)

# %% [markdown] id="accumulation"
# Acumular é mesmo igual a um lote maior? Dois passos de 44 exemplos, de duas formas: 2 × 22 e 22 × 2. A perda tem de ser a mesma. E o tempo?

# %%
from dataclasses import replace

from afina.tune.sft import train

two_steps = replace(settings, max_steps=2, sampling="sequential", warmup_steps=0)
ways = {}
for size, times in ((2, 22), (22, 2)):
    fresh, _ = load_for_sft(base, lora=lora, **settings_to_load)
    ways[size] = train(
        fresh,
        tokenizer,
        asked.select(range(88)),
        replace(two_steps, batch_size=size, accumulation=times),
    )
    print(
        f"{size:>2} × {times:<2} perdas {[f'{x:.4f}' for x in ways[size].losses]}, {ways[size].seconds:.1f} s"
    )
assert torch.allclose(
    torch.tensor(ways[2].losses), torch.tensor(ways[22].losses), atol=rt.pick(cpu=2e-3, gpu=5e-2)
)

# %% [markdown] id="forecast"
# ### Antes de gastar: a previsão
#
# Uma rodada longa se prevê. `forecast` dá poucos passos de verdade, devolve os pesos como estavam e multiplica. O preço por hora é você quem diz; aqui, 2 por hora, só para a conta.
# Depois, a rodada inteira: `on_step` recebe cada passo; dá para mostrar uma barra, ou parar antes.

# %%
from afina.tune.sft import fingerprints, forecast, peak_memory_mb

before = {part: fingerprints(model, part) for part in ("lora_B", "base_layer", "original_module")}
expected = forecast(model, tokenizer, asked, settings, price_per_hour=2, steps=8)
print(expected)
hours = expected.seconds / len(asked) * 100_000 / 3600
print(f"100 mil linhas como estas: {hours:.1f} h neste dispositivo")

# %%
# NBVAL_IGNORE_OUTPUT
from afina.runtime import progress

with progress(total=expected.steps, desc="QLoRA") as bar:
    trained = train(model, tokenizer, asked, settings, on_step=lambda *step: bar.update())
peak = peak_memory_mb()
speed = trained.tokens / trained.seconds
print(f"tempo    previsto {expected.seconds:.0f} s, levou {trained.seconds:.0f} s")
print(f"ritmo    {speed:.0f} tokens/s")
print(f"memória  prevista {expected.peak_mb:.0f} MB, chegou a {peak:.0f} MB")
print(f"custo    previsto {expected.cost:.2f}, foi {trained.seconds / 3600 * 2:.2f}")

# %%
from afina.teach.figures import BLUE, GREEN, ORANGE, figure, show

fig, ax = figure(height=2.8)
ax.plot(range(1, trained.steps + 1), trained.losses, linewidth=1.2)
ax.set(title="A perda cai depressa, depois devagar", xlabel="passos", ylabel="perda da resposta")
ax.set(ylim=(0, None))
show(
    fig,
    alt=f"Curva da perda por passo: de {trained.losses[0]:.1f} a {trained.losses[-1]:.1f}, quase toda a queda no primeiro quarto.",
)

# %% [markdown] id="evidence"
# ### Treinou mesmo?
#
# Uma perda finita não prova nada. Três provas: **B** mudou em todas as camadas, a **base** ficou bit a bit igual, e os passos do otimizador foram os previstos. (Em `fp16`, em uma T4, os
# primeiros passos podem ser pulados até a escala se acertar: contam como passos, mas não movem peso nenhum. `skipped` diz quantos.)

# %%
after = {part: fingerprints(model, part) for part in before}
assert all(after["lora_B"][name] != digest for name, digest in before["lora_B"].items())
assert all(after[part] == before[part] for part in ("base_layer", "original_module"))
assert trained.steps == expected.steps and trained.skipped < 10
print(len(after["lora_B"]), "matrizes B mudaram;", len(after["base_layer"]), "da base, iguais")
print(trained.steps, "passos,", trained.skipped, "pulados")

# %% [markdown] id="inference"
# ## 5. Escrever, palavra por palavra
#
# Para usar, o pedido é o mesmo, com a resposta em branco. O `TextStreamer` mostra cada palavra quando ela sai. Com o Unsloth, `for_inference` liga as contas mais rápidas; aqui, só desliga
# o *dropout*.

# %%
from transformers import TextStreamer

from afina.tune.evaluate import generate
from afina.tune.load import for_inference

for_inference(model)
streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
print("título:", test[0]["title"])
prompt = ALPACA.format(INSTRUCTION, test[0]["title"], "")
written = generate(model, tokenizer, [prompt], 128, streamer=streamer)

# %% [markdown] id="honest-evaluation"
# ## 6. A avaliação honesta
#
# Muita solução deste desafio termina em uma perda de treino perto de 2,0 e não mede mais nada. O que diz esse número? Que, **nos textos que treinou**, o modelo hesita entre `e² ≈ 7` tokens por vez. Não
# diz se decorou, não diz o que escreve, e não se compara com outro tokenizador: pedaços menores dão perdas menores. A perda em dados separados, por caractere, se compara.

# %%
from afina.tune.evaluate import finished, held_out, judge

test_rows = formatted(test)
tuned_loss = held_out(model, tokenizer, test_rows, max_seq_length)
with model.disable_adapter():
    untuned_loss = held_out(model, tokenizer, test_rows, max_seq_length)

# %%
for name, loss in (("sem ajuste", untuned_loss), ("ajustado", tuned_loss)):
    print(
        f"{name:<10} perda {loss.loss:.2f}, perplexidade {loss.perplexity:.1f}, {loss.bits_per_character:.2f} bits por caractere"
    )
assert tuned_loss.loss < untuned_loss.loss / 3

# %% [markdown] id="rivals"
# A perda ainda não diz se a descrição **fala do produto certo**. Os títulos do curso permitem conferir: marca, produto, cor, material, tamanho e série que o título diz, um a um, e a **categoria**, que o
# título não diz e só se sabe aprendendo. "Tudo certo" pede tudo isso junto; "inventou" conta atributos que o título não tem. chrF compara letras com a descrição de verdade.
#
# E três rivais, que qualquer um faria em cinco minutos: o modelo **sem ajuste**, a descrição do título **mais parecido** do treino, e um **texto pronto** com o título dentro.

# %%
from afina.tune.evaluate import NAMES, nearest_descriptions, template_descriptions

titles, true = [row["title"] for row in test], [row["content"] for row in test]
prompts = list(test_rows["prompt"])
said = {"ajustado": generate(model, tokenizer, prompts, 128)}
with model.disable_adapter():
    said["sem ajuste"] = generate(model, tokenizer, prompts, 128)
said = {name: [finished(text, EOS_TOKEN)[0] for text in texts] for name, texts in said.items()}
said["mais parecido"] = nearest_descriptions(titles, [(r["title"], r["content"]) for r in shard])
said["texto pronto"] = template_descriptions(titles)

# %%
import pandas as pd

scores = pd.DataFrame({name: judge(titles, texts, true) for name, texts in said.items()}).T
columns = ["attributes", "category", "all", "invented", "chrf"]
assert scores.loc["ajustado", "all"] > scores["all"].drop("ajustado").max() + 0.1
scores[columns].rename(columns=NAMES).round(2)

# %%
fig, ax = figure(height=3.2)
shown = scores[["attributes", "category", "all"]].rename(columns=NAMES)
shown.plot.bar(ax=ax, rot=0, color=[BLUE, ORANGE, GREEN])
ax.set(
    title="Cada rival acerta uma parte; só o ajuste junta as duas", ylabel="acerto", ylim=(0, 1.18)
)
ax.grid(visible=False, axis="x")
ax.legend(loc="upper center", ncols=3)
show(fig, alt=f"Barras com atributos, categoria e tudo certo: {shown.round(2).to_dict('index')}.")

# %% [markdown]
# Leia a tabela com desconfiança. O texto pronto acerta **todos** os atributos, porque repete o título; o vizinho acerta quase toda categoria, e o chrF dele é alto, porque é uma descrição de verdade, de
# outro produto. Uma métrica só elegeria um deles. Agora, atributo por atributo e lado a lado: procure o que ele inventa e o que esquece. A série, um código que aparece em poucos títulos, é o que lhe falta aprender.

# %% id="by-attribute"
from afina.tune.evaluate import ATTRIBUTES, says

shares = scores.loc["ajustado", [name for name in ATTRIBUTES if name in scores]]
print({NAMES[name]: round(float(share), 2) for name, share in shares.items()})
verdicts = [says(title, text) for title, text in zip(titles, said["ajustado"], strict=True)]
good = [all(v for k, v in verdict.items() if k != "invented") for verdict in verdicts]
for i in (good.index(True), good.index(False)):
    print("✔" if good[i] else "✘", titles[i])
    for name, texts in (*said.items(), ("de verdade", true)):
        print(f"   {name:<13} {texts[i][:160]}")

# %% [markdown] id="ask"
# ### Perguntar de outro jeito
#
# Seis formas de perguntar estavam no treino. E as que não estavam?

# %%
from afina.tune.rows import NEW_QUESTIONS

few = titles[:20]
for question in (*QUESTIONS[::3], *NEW_QUESTIONS):
    answers = generate(model, tokenizer, [ALPACA.format(question, t, "") for t in few], 128)
    answers = [finished(text, EOS_TOKEN)[0] for text in answers]
    figures = judge(few, answers, true[:20])
    mark = "nova" if question in NEW_QUESTIONS else "    "
    print(
        f"{question:<40} {mark} atributos {figures['attributes']:.2f}, categoria {figures['category']:.2f}"
    )
print("\n" + answers[0])

# %% [markdown] id="without-eos"
# ## 7. Sem EOS, ele não para
#
# Dois treinos curtos e iguais, com uma diferença: em um, as respostas não terminam em EOS. Quantas descrições acabam sozinhas antes de 128 tokens?


# %%
def short_run(rows, lora=lora, four_bits=True, steps=30, **changes):
    """A fresh model after a few steps on `rows`; returns it with what the training logged."""
    fresh, _ = load_for_sft(base, max_seq_length, four_bits, lora)
    return fresh, train(fresh, tokenizer, rows, replace(settings, max_steps=steps, **changes))


def share_that_end(network):
    """Share of 16 answers that end by themselves."""
    texts = generate(network, tokenizer, prompts[:16], 128)
    return sum(finished(text, EOS_TOKEN)[1] for text in texts) / len(texts)


# %%
described = formatted(fitting[:240])
open_ended = [{**row, "completion": row["completion"].removesuffix(EOS_TOKEN)} for row in described]
ending, endless = short_run(described)[0], short_run(open_ended, add_eos=False)[0]
without, with_eos = share_that_end(endless), share_that_end(ending)
print(f"terminam sozinhas: sem EOS {without:.0%}, com EOS {with_eos:.0%}")
assert without < with_eos

# %% [markdown]
# ## 8. Escolhas, medidas
#
# Cada corrida abaixo tem poucos passos: serve para ver o mecanismo, não para decidir. Quem decide é a tabela ao lado, de `benchmarks/sft.py`: mais passos, três sementes, sempre os mesmos produtos separados.

# %% id="tables"
import json

from afina.tune.evaluate import benchmark_means

tables = json.loads((rt.data / "sft_tables.json").read_text(encoding="utf-8"))
MEASURES = ["held_out_loss", "attributes", "category", "all"]
print(tables["steps"], "passos,", tables["seeds"], "sementes, medido em", tables["date"])

# %% [markdown] id="full-lora-qlora"
# ### Tudo, LoRA ou QLoRA?
#
# Quanto cada jeito precisa guardar? Pesos, um gradiente por peso que aprende, e as duas médias do Adam. (As ativações vêm por cima.) Em bytes:

# %%
from afina.tune.measure import training_bytes

plain = LoraSettings(r=16, alpha=16)
kinds = {"LoRA": (plain, False), "QLoRA": (plain, True), "QLoRA + palavras": (lora, True)}
kinds |= rt.pick(cpu={"tudo": (None, False)}, gpu={})  # a T4 has no room for all of TinyLlama
held = {}
for name, (adapter, four_bits) in kinds.items():
    fresh, _ = short_run(described, adapter, four_bits, steps=10)
    loss = held_out(fresh, tokenizer, test_rows, max_seq_length).loss
    held[name] = {"treinam": trainable(fresh)[0], **training_bytes(fresh), "perda": round(loss, 2)}

# %%
held = pd.DataFrame(held).T
held = held.rename(columns={"weights": "pesos", "gradients": "gradientes", "optimizer": "Adam"})
assert held.loc["QLoRA", "pesos"] < held.loc["LoRA", "pesos"]
held.style.format({**dict.fromkeys(held, "{:,.0f}"), "perda": "{:.2f}"}, thousands=".", decimal=",")

# %%
methods = benchmark_means(tables, "methods", [*MEASURES, "cpu_seconds"])
assert methods.loc["qlora_words", "held_out_loss"] < methods.loc["qlora", "held_out_loss"]
methods.assign(peak_mb=pd.Series(tables["peak_mb"])).rename(columns=NAMES, index=NAMES).round(2)

# %% [markdown] id="answer-only"
# Leia linha por linha. Na perda, treinar tudo ganha: o modelo é pequeno, e as palavras da tarefa são novas para ele. Os 4 bits quase não mudam o resultado (compare LoRA e QLoRA). O adaptador
# sozinho copia o título, mas mal aprende a frase e a categoria; os vetores das palavras recuperam a maior parte. Com mais passos, como na parte 4, a cópia volta a subir.
#
# Repare também no pico de memória: aqui ele é feito de ativações, e o adaptador acrescenta as dele. (É a mediana de cinco processos, que diferem em dezenas de
# MB: entre os três adaptadores, a diferença cabe no ruído.) A economia dos 4 bits e do adaptador está nas colunas de bytes, e só manda no total quando os pesos são muitos.
#
# ### Perda na resposta, ou em tudo?
#
# `answer_only=False` conta também o pedido. O benchmark treinou dos dois modos:

# %%
both = tables["summary"]["loss"]
assert both["answer"]["held_out_loss"]["max"] < both["everything"]["held_out_loss"]["min"]
shown = benchmark_means(tables, "loss", ["last_training_loss", *MEASURES])
shown.rename(columns=NAMES, index=NAMES).round(2)

# %% [markdown] id="packing"
# As perdas de treino enganam: a de "tudo" é menor porque conta também o pedido, que é fácil. Nas separadas, que contam só a resposta, ganha quem treinou só nela, por pouco e nas três sementes.
#
# ### Empacotar (*packing*)
#
# Em vez de preencher com `[PAD]`, cole exemplos até encher a sequência. Os textos colados não se enxergam: as posições recomeçam e a atenção é cortada entre eles (um teste do curso o prova).

# %%
some = described.select(range(120))
_, packed = short_run(some, steps=-1, packing=True, max_seq_length=512, batch_size=2)
full = packed.tokens / (packed.steps * 2 * 512)
print(f"{len(some)} exemplos em {packed.steps} passos de 2 sequências, {full:.0%} cheias")

# %%
packing = benchmark_means(tables, "packing", ["tokens", "cpu_seconds", *MEASURES])
assert packing.loc["on", "cpu_seconds"] > packing.loc["off", "cpu_seconds"]
packing.rename(columns=NAMES, index=NAMES).round(2)

# %% [markdown] id="choosing-rows"
# Os mesmos tokens, e na CPU saiu mais caro: agrupar por comprimento já quase não deixa `[PAD]`, e uma sequência longa custa mais atenção. A perda melhorou, mas os lotes também mudaram:
# misturam comprimentos. Em uma GPU, com textos de tamanhos muito diferentes, a conta é outra: meça na sua.
#
# ### Que linhas escolher?
#
# Ninguém treina com 1,3 milhão de linhas em uma aula. Três cortes: **ao acaso**, **estratificado** por comprimento (partes iguais de dez faixas), ou **as mais longas**, como quem quer "aproveitar" o limite de linhas.

# %%
from afina.tune.rows import choose

lengths = [len(row["content"]) for row in shard]
for how in ("random", "stratified", "longest"):
    rows = [shard[i] for i in choose(lengths, 400, how)]
    counted = prepare(formatted(rows), tokenizer, 256)
    mean = sum(len(row["content"]) for row in rows) / len(rows)
    print(f"{NAMES[how]:<14} {mean:.0f} letras em média; {counted.cut} de {len(rows)} cortados")

# %%
rows_table = benchmark_means(tables, "rows", ["cut", *MEASURES])
longest = tables["summary"]["rows"]["longest"]["held_out_loss"]["min"]
assert longest > tables["summary"]["rows"]["random"]["held_out_loss"]["max"]
rows_table.rename(columns=NAMES, index=NAMES).round(2)

# %% [markdown]
# As mais longas saem todas cortadas, sem EOS, e a perda em produtos quaisquer piora nas três sementes. Entre acaso e estratos, a diferença cabe no ruído.

# %% [markdown] id="duplicates"
# ### E se houver repetidas dos dois lados?
#
# A aula 02 mostrou o vazamento. O que ele faz com a perda? O benchmark treina tudo por seis épocas em poucas linhas, e mede em linhas que **têm um gêmeo no treino** e em linhas que não têm. O teste de gêmeos repete a perda de treino, e por
# isso agrada; o outro conta o que vai acontecer com o próximo produto.

# %%
names = ["training_loss", "twin_in_training", "never_seen"]
split = benchmark_means(tables, "split", names).loc["random"]
print(f"perda de treino {split['training_loss']:.2f}")
print(f"teste com gêmeo no treino {split['twin_in_training']:.2f}")
print(f"teste de verdade {split['never_seen']:.2f}")
assert split["twin_in_training"] < split["never_seen"]

# %% [markdown] id="resume"
# ## 9. A luz caiu no meio
#
# Com uma pasta para `checkpoints`, o treino guarda pesos, otimizador, taxa e sorteios a cada tantos passos. Paramos no sétimo passo e chamamos a mesma função de novo: ela parte do último ponto salvo, e as
# perdas são as de quem nunca parou. (Um teste do curso faz o mesmo com `kill -9`.)

# %%
import shutil

folder = rt.build / "14_pontos"
shutil.rmtree(folder, ignore_errors=True)
short = replace(settings, max_steps=10, save_every=4)
straight = train(load_for_sft(base, lora=lora, **settings_to_load)[0], tokenizer, described, short)
seen = []
for last in (7, 99):
    half, _ = load_for_sft(base, lora=lora, **settings_to_load)
    calls = {
        "on_step": lambda step, *_: seen.append(step),
        "should_stop": lambda n=last: seen[-1] >= n,
    }
    resumed = train(half, tokenizer, described, short, checkpoints=folder, **calls)
print("passos dados:", seen)
gaps = [abs(a - b) for a, b in zip(resumed.losses, straight.losses, strict=True)]
assert max(gaps) < rt.pick(cpu=1e-6, gpu=5e-2)

# %% [markdown] id="export"
# ## 10. Levar o modelo embora
#
# O **adaptador** sozinho é pequeno, mas só serve junto da base. **Fundir** (*merge*) soma `(alpha / r) B A` em cada `W`: um modelo comum, sem PEFT. As respostas têm de ser as mesmas.

# %%
from afina.tune.export import merge, save

merged = merge(model)
ids = tokenizer(prompts[:1], return_tensors="pt")["input_ids"].to(model.device)
with torch.no_grad():
    difference = (model(ids).logits - merged(ids).logits).abs().max().item()
print(f"maior diferença entre os logits: {difference:.1e}")
assert difference < rt.pick(cpu=1e-3, gpu=0.5)

# %%
adapter_folder = save(model, tokenizer, rt.build / "14_adaptador")
merged_folder = save(merged, tokenizer, rt.build / "14_fundido")
for folder in (adapter_folder, merged_folder):
    for path in sorted(folder.glob("*.safetensors")):
        print(f"{folder.name:<14} {path.name:<28} {path.stat().st_size / 1000:>6.0f} KB")

# %% [markdown]
# Um modelo só está salvo quando outro programa o abre. Em um processo novo, que nunca ouviu falar deste notebook:

# %%
import subprocess
import sys

command = [sys.executable, "-m", "afina.cli", "describe", str(merged_folder)]
command += ["--title", titles[0], "--tokens", "128"]
done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=240)
assert done.returncode == 0, done.stderr[-2000:]
print(json.loads(done.stdout)[0])
assert json.loads(done.stdout)[0] == said["ajustado"][0] or rt.profile == "gpu"

# %% [markdown] id="card"
# O cartão conta de onde o modelo veio e o que mediu. `model_card` preenche tudo com números **desta** rodada, e se recusa a escrever um cartão pela metade:

# %%
from afina.tune.export import model_card

card = model_card(
    name="descreve-produtos",
    base=rt.pick(cpu="llama-base", gpu=base),
    purpose="Descreve um produto a partir do título, em inglês. Exercício de curso.",
    data={
        "treino": f"{len(asked)} linhas de data/amazon_sample.json.gz",
        "teste": f"{len(test)} títulos nunca vistos",
    },
    settings={
        "adaptador": f"posto {lora.r}, NF4",
        "passos": trained.steps,
        "lote": settings.batch_size * settings.accumulation,
        "taxa": settings.learning_rate,
        "semente": settings.seed,
    },
    scores={name: row[columns].to_dict() for name, row in scores.iterrows()},
    limits="Só conhece produtos inventados. Inventa atributos que o título não diz: veja a coluna.",
    licence=rt.pick(cpu="cc-by-4.0", gpu="apache-2.0"),  # the weights follow their base
    library="transformers",
)

# %%
(merged_folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
print(card[: card.index("Feito em")])

# %% [markdown] id="gguf"
# ### GGUF e Ollama
#
# Para rodar fora do Python, o formato é o **GGUF**, do llama.cpp. `write_gguf` grava pesos, tamanhos e tokenizador em um arquivo só. Não rodamos o Ollama aqui; conferimos o arquivo do jeito que dá: outro leitor, o do
# transformers, abre-o, e os logits têm de ser os mesmos.

# %%
from afina.errors import CourseError
from afina.tune.export import modelfile, read_gguf, write_gguf

path = merged_folder / "descreve.gguf"
try:
    write_gguf(merged, tokenizer, path)
except CourseError as error:  # TinyLlama's tokenizer is of another kind
    assert rt.profile == "gpu"
    print(error)
else:
    read, _ = read_gguf(path)
    with torch.no_grad():
        assert torch.allclose(read(ids.cpu()).logits, merged(ids).logits.cpu(), atol=1e-4)
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, mesmos logits")

# %%
(merged_folder / "Modelfile").write_text(modelfile(path, EOS_TOKEN, 128), encoding="utf-8")
print((merged_folder / "Modelfile").read_text(encoding="utf-8"))

# %% [markdown] id="what-sets-time"
# ## 11. O que manda no tempo
#
# **Dados e épocas**: o tempo cresce com os tokens lidos; o dobro de linhas ou de épocas é o dobro do tempo. **Lote**: o mesmo passo em pedaços maiores só é mais rápido se o processador estava ocioso; compare os dois
# tempos da parte 4. **Máquina**: aqui entra a **lei de Amdahl**. Se só a parte `p` do trabalho fica `n` vezes mais rápida, o todo fica `1 / (1 - p + p / n)` vezes. Com os tempos desta aula:

# %%
import time

from afina.tune.measure import amdahl

start = time.perf_counter()
prepare(asked, tokenizer, max_seq_length)
load_for_sft(base, lora=lora, **settings_to_load)
around = time.perf_counter() - start  # what a faster chip for training would not shorten
part = trained.seconds / (trained.seconds + around)
print(
    f"uma época, {trained.tokens} tokens: {trained.seconds:.0f} s; três: {3 * trained.tokens / speed:.0f} s"
)
print(f"{part:.1%} do tempo é treino; preparar e carregar levam {around:.1f} s")
for times in (2, 10, 100):
    print(f"treino {times:>3} vezes mais rápido → tudo {amdahl(part, times):.1f} vezes")
assert amdahl(part, 100) < 100

# %% [markdown] id="bad-input"
# ### Quando algo não serve
#
# Erros de entrada vêm com lugar e remédio. Alguns que você vai encontrar:

# %%
empty = rt.build / "14_vazio.jsonl"
empty.write_text("", encoding="utf-8")
for attempt in (
    lambda: read_shard(empty),
    lambda: prepare([{"prompt": "a", "completion": "b"}, {"title": "a"}], tokenizer, 64),
    lambda: load_for_sft(base, 100_000, False),
    lambda: load_for_sft("alguem/modelo-que-nao-existe", 64, False),
):
    try:
        attempt()
    except CourseError as error:
        print("•", error)

# %% [markdown]
# ## Sua vez
#
# **1.** Um adaptador de posto 8 em todas as matrizes: quantos pesos ele acrescenta ao TinyLlama? Use `lora_weights`.

# %%
rank_eight = ...

# %%
from afina.teach.check import check

hint = "a função pede a rede e o posto; o posto 8 dá a metade do 16"
check(rank_eight, lambda n: n == lora_weights(tiny_llama, 8) or hint)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `rank_eight = lora_weights(tiny_llama, 8)`
#
# </details>
#
# **2.** Escreva um título que o modelo descreva com "tudo certo". Use marca, cor e produto do catálogo; `shard` tem muitos para copiar o jeito.

# %%
my_title = ...


# %%
def described_right(title):
    """Does the tuned model say all that the title says, and the category?"""
    text = finished(
        generate(model, tokenizer, [ALPACA.format(INSTRUCTION, title, "")], 128)[0], EOS_TOKEN
    )[0]
    wrong = [
        NAMES[name] for name, right in says(title, text).items() if not right and name != "invented"
    ]
    return not wrong or f"faltou {', '.join(wrong)} em: {text}"


check(my_title, described_right)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# Procure entre os que ele já acertou: `my_title = titles[good.index(True)]`. Depois troque a cor, e veja se ele acompanha.
#
# </details>

# %% [markdown]
# ## Para levar
#
# - QLoRA congela a base em 4 bits e treina um adaptador; se as palavras são novas, treine também os vetores delas.
# - O pedido do treino e o do uso são o mesmo texto. Sem EOS, o modelo não para.
# - A perda de treino não diz o que o modelo escreve. Meça em títulos nunca vistos, com rivais simples ao lado.
# - Preveja antes de gastar, salve pontos, prove que treinou.
# - Um modelo só está salvo quando outro processo o abre e diz o mesmo.

# %% [markdown]
# ## Quiz
#
# Sete perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("14")

# %% [markdown]
# {{quiz 14}}

# %% [markdown]
# ## Próximo passo
#
# Aqui o treino foi na sua máquina. As próximas aulas do [mapa do curso](../README.md) fazem o mesmo em um serviço pago, com um gêmeo dele que não custa nada.
#
# Este ajuste como um comando, para várias GPUs ou um cluster: `afina train sft --config train/sft.yaml`, com os ajustes de `train/accelerate/` e as receitas
# `train/job.slurm` e `train/job_ray.py`.
