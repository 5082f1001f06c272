# %% [markdown] id="cover"
# # 09 · Pré-treino
#
# O seu GPT lê português pela primeira vez. Você dá um passo de treino à mão, escreve o laço inteiro, mata uma corrida no meio e a continua, e faz o modelo escrever.
#
# **Ao final você vai saber**
#
# - dar os quatro passos do treino à mão e olhar cada um
# - escrever o laço com aquecimento, cosseno, corte, avaliação e ponto salvo
# - reconhecer o sobreajuste na curva, e curá-lo
# - gerar texto com *greedy* (guloso), temperatura, *top-k*, *top-p* e cache
# - gravar, carregar e trazer os pesos de um GPT-2, e decidir entre treinar do zero e partir de um pronto
#
# **Antes desta aula**: [08 · A arquitetura de um GPT](08_gpt_architecture.ipynb).
#
# {{ficha}}

# %% id="setup"

# %% [markdown] id="objective"
# ## 1. O que se aprende, e de quê
#
# Pré-treinar é ler muito texto e, em cada posição, dizer o próximo token. Ninguém rotula nada: a resposta é o próprio texto. O nosso são historinhas em português, já divididas em treino e validação.
# O tokenizador é o BPE da aula 04, e as janelas são as da aula 05.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from afina.gpt.loader import read_documents
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.train import windows

torch.set_num_threads(rt.pick(cpu=1, gpu=4))  # matrices this small gain little from more
tokenizer = load_tokenizer(rt.models / "gpt-pt" / "tokenizer.json")

# %%
documents = read_documents(rt.data / "prose_train.txt.gz")
rows = windows(tokenizer, documents, context=64)
validation = windows(tokenizer, read_documents(rt.data / "prose_validation.txt.gz")[:250], 64)
print(
    f"{len(documents)} documentos, {len(rows)} janelas de 64 tokens; validação: {len(validation)}"
)

# %%
from afina.gpt.model import GPT, GPTConfig, count_parameters, next_token_loss

config = GPTConfig(len(tokenizer), context=64, d_model=96, n_heads=4, n_layers=3)


def newborn():
    torch.manual_seed(rt.seed)
    return GPT(config).to(rt.device)


print(f"{count_parameters(config):,} pesos".replace(",", "."))

# %% [markdown] id="four-steps"
# ## 2. Os quatro passos, à mão
#
# Um lote, um passo de cada vez. **Primeiro, para a frente** (*forward*): ids entram, notas saem.

# %%
model = newborn()
inputs, targets = (
    torch.stack(part).to(rt.device) for part in zip(*(rows[n] for n in range(4)), strict=True)
)
logits = model(inputs)
print("entrada", tuple(inputs.shape), "-> notas", tuple(logits.shape))

first = slice(0, 8)
print("lê   :", [tokenizer.decode([i]) for i in inputs[0, first].tolist()])
print("deve :", [tokenizer.decode([i]) for i in targets[0, first].tolist()])
print("disse:", [tokenizer.decode([i]) for i in logits[0, first].argmax(-1).tolist()])

# %% [markdown] id="cross-entropy"
# **Segundo, a perda** (*loss*). A softmax transforma as notas em chances. A perda de uma posição é menos o logaritmo da chance dada ao token certo: zero para quem tem certeza e acerta, enorme para
# quem tem certeza e erra. É a **entropia cruzada** (*cross-entropy*).

# %%
chances = logits.softmax(dim=-1)
of_the_right_one = chances.gather(-1, targets[..., None]).squeeze(-1)
by_hand = -of_the_right_one.log().mean()
print(f"à mão {by_hand.item():.4f}, PyTorch {next_token_loss(logits, targets).item():.4f}")
assert torch.allclose(by_hand, next_token_loss(logits, targets), atol=1e-5)

# %% [markdown]
# `e` elevado à perda é a **perplexidade**: entre quantos tokens igualmente prováveis é como se ele hesitasse. O recém-nascido hesita entre todos:

# %%
print(f"perplexidade {by_hand.exp().item():.0f}, vocabulário {len(tokenizer)}")

# %% [markdown] id="backward"
# **Terceiro, para trás** (*backward*). Para cada peso: se ele subir um nada, quanto muda a perda? É o **gradiente**. `backward()` calcula todos de uma vez. Conferimos um deles do jeito mais bobo possível: mexendo no peso.

# %%
loss = next_token_loss(model(inputs), targets)
loss.backward()
gradient = model.blocks[0].attention.qkv.weight.grad[0, 0].item()

exact, nudge = newborn().double(), 1e-4  # double: a difference this small needs more digits
around = []
for step in (nudge, -2 * nudge):
    with torch.no_grad():
        exact.blocks[0].attention.qkv.weight[0, 0] += step
        around.append(next_token_loss(exact(inputs), targets).item())
measured = (around[0] - around[1]) / (2 * nudge)
print(f"backward: {gradient:.3e}; mexendo no peso: {measured:.3e}")
assert math.isclose(gradient, measured, rel_tol=1e-2, abs_tol=1e-7)

# %% [markdown] id="update"
# **Quarto, a atualização.** Cada peso anda um pouco **contra** o seu gradiente. A forma mais simples, a descida do gradiente, é uma linha; repita os quatro passos no mesmo lote, e a perda cai.

# %%
falling = []
for _ in range(30):
    loss = next_token_loss(model(inputs), targets)
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.2 * parameter.grad
    falling.append(loss.item())
print("perda:", [round(value, 2) for value in falling[::6]])
assert falling[-1] < falling[0] - 1

# %% [markdown] id="adamw"
# O **AdamW** guarda, para cada peso, uma média do gradiente (a direção) e uma do quadrado dele (o tamanho de costume), e anda pela razão das duas: pesos de gradiente pequeno também andam. Um passo à mão, igual ao do PyTorch:

# %%
weight = torch.randn(5, requires_grad=True)
weight.grad = torch.tensor([1.0, 0.1, 0.001, -2.0, 0.0])
mean, square = 0.1 * weight.grad, 0.05 * weight.grad**2  # from zero, with betas 0.9 and 0.95
direction = (mean / 0.1) / ((square / 0.05).sqrt() + 1e-8)
expected = weight.detach() * (1 - 0.01 * 0.1) - 0.01 * direction

# %%
torch.optim.AdamW([weight], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1).step()
print("andou na direção:", [round(value, 3) for value in direction.tolist()])
assert torch.allclose(weight.detach(), expected, atol=1e-6)

# %% [markdown] id="loop"
# ## 3. O laço
#
# Os mesmos quatro passos, milhares de vezes, com alguns cuidados. A receita os reúne:

# %%
from afina.gpt.train import Recipe

recipe = Recipe(steps=rt.pick(cpu=400, gpu=4000), learning_rate=4e-3, precision=rt.precision)
print(recipe)

# %% [markdown] id="warmup"
# **Aquecimento e cosseno.** No começo, as médias do AdamW ainda não sabem nada: a taxa sobe aos poucos. No fim, passos menores assentam os pesos.


# %% id="rate-code"
def learning_rate_at(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


# %%
from afina.teach.figures import BLUE, RED, SLATE, figure, show

fig, ax = figure(height=2.3)
ax.plot([learning_rate_at(step, recipe) for step in range(recipe.steps)])
ax.set(title="Sobe em linha reta, desce em cosseno", xlabel="passo", ylabel="taxa")
show(
    fig,
    alt="Taxa de aprendizado por passo: sobe em linha reta até o máximo e desce em meio cosseno até um décimo.",
)

# %% [markdown]
# **Decaimento só nas matrizes.** O AdamW encolhe os pesos um pouco a cada passo. Vieses e normas ficam de fora.


# %% id="optimizer-code"
def make_optimizer(model: GPT, recipe: Recipe) -> torch.optim.AdamW:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


# %% [markdown] id="batches"
# **Lotes que não dependem do passado.** A ordem de cada **época** (uma passada por todos os dados) sai da semente e do número da época. Assim, saber o passo basta para saber o lote, e uma corrida interrompida pode continuar.


# %% id="batch-code"
from collections.abc import Iterator, Sequence


def batch_of(step: int, rows: Sequence, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    a_pass, place = divmod(step, max(1, len(rows) // recipe.batch_size))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed + a_pass))
    chosen = order[place * recipe.batch_size : (place + 1) * recipe.batch_size].tolist()
    inputs, targets = zip(*(rows[number] for number in chosen), strict=True)
    return torch.stack(inputs), torch.stack(targets)


# %% [markdown] id="clipping"
# **Corte do gradiente** (*clipping*). Um lote esquisito pode dar um gradiente gigante e estragar tudo. Se o tamanho do gradiente inteiro passa de 1, ele é encolhido até 1; a direção não muda.

# %%
weight.grad = torch.tensor([30.0, 40.0, 0.0, 0.0, 0.0])
before = nn.utils.clip_grad_norm_([weight], 1.0)
print(f"tamanho {before:.0f} ->", [round(value, 2) for value in weight.grad.tolist()])

# %% [markdown]
# **Avaliação** em textos separados, sem dropout e sem gradiente. E o **ponto salvo** (*checkpoint*), logo adiante. O laço inteiro, o mesmo do pacote. Ele é um gerador: a cada passo entrega uma linha do diário.

# %%
from pathlib import Path

from afina.errors import CourseError
from afina.gpt.train import evaluate, load_checkpoint, save_checkpoint


# %% id="train-code"
def train(
    model: GPT, rows: Sequence, validation: Sequence, recipe: Recipe, checkpoint: Path | None = None
) -> Iterator[dict[str, float]]:
    if not len(rows) or not len(validation):
        raise CourseError(
            "não há nenhuma janela de texto.",
            "O corpus está vazio ou é curto demais.",
            where="train",
        )
    device = model.tokens.weight.device
    optimizer = make_optimizer(model, recipe)
    saved = checkpoint is not None and checkpoint.exists()
    start = load_checkpoint(checkpoint, model, optimizer, recipe) if saved else 0
    for step in range(start, recipe.steps):
        torch.manual_seed(recipe.seed + step)
        model.train()
        inputs, targets = (part.to(device) for part in batch_of(step, rows, recipe))
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = next_token_loss(model(inputs), targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        rate = learning_rate_at(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        entry = {
            "step": step + 1,
            "loss": loss.item(),
            "learning_rate": rate,
            "gradient": norm.item(),
        }
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
            entry["validation_loss"] = evaluate(model, validation)
            if checkpoint:
                save_checkpoint(checkpoint, model, optimizer, step + 1, recipe)
        yield entry


# %% [markdown] id="run"
# ### Um minuto de português
#
# Enquanto treina, guardamos o que o modelo escreveria em três momentos.

# %%
import time

from afina.gpt import generate as writer
from afina.runtime import progress


def continuation(model, prompt, new=24, **how):
    ids = torch.tensor(
        [[tokenizer.end, *tokenizer.encode(prompt)]], device=model.tokens.weight.device
    )
    return tokenizer.decode(writer.generate(model.eval(), ids, new, **how)[0], specials=False)


model, diary, samples = newborn(), [], {}
start = time.perf_counter()
for entry in progress(train(model, rows, validation, recipe), total=recipe.steps):
    diary.append(entry)
    if entry["step"] in (1, recipe.steps // 4, recipe.steps):
        samples[entry["step"]] = continuation(model, "O Porto joga no")
seconds = time.perf_counter() - start

# %%
for step, text in samples.items():
    print(f"{step:>5} passos: {text}")
print(f"{len(diary) * 16 * 64 / seconds:,.0f} tokens por segundo".replace(",", "."))


# %% id="curves"
def curves(ax, diary, color, name):
    steps, losses = zip(*((e["step"], e["loss"]) for e in diary), strict=True)
    ax.plot(steps, losses, color=color, alpha=0.4, linewidth=1.2, label="treino")
    checks = [(e["step"], e["validation_loss"]) for e in diary if "validation_loss" in e]
    ax.plot(*zip(*checks, strict=True), "o-", color=color, label=name)
    return checks


fig, ax = figure(height=2.9)
checks = curves(ax, diary, BLUE, "validação")
ax.set(title="As duas curvas descem juntas", xlabel="passos", ylabel="perda", ylim=(0, 8))
ax.legend()
show(
    fig,
    alt=f"Perda de treino e de validação caindo juntas; a de validação chega a {checks[-1][1]:.2f}.",
)

# %%
print(
    f"validação: {checks[0][1]:.2f} -> {checks[-1][1]:.2f}; perplexidade {math.exp(checks[-1][1]):.1f}"
)
assert checks[-1][1] < checks[0][1] - 1 and abs(checks[-1][1] - diary[-1]["loss"]) < 0.5

# %% [markdown] id="overfitting"
# ## 4. Sobreajuste, e a cura
#
# O mesmo modelo, mas só com 40 documentos, lidos muitas vezes.

# %%
few = windows(tokenizer, documents[:40], context=64)
short = Recipe(steps=160, batch_size=8, learning_rate=4e-3, evaluate_every=20)
some = [validation[n] for n in range(0, len(validation), 3)]
overfit = list(train(newborn(), few, some, short))

# %%
fig, ax = figure(height=2.9)
checks = curves(ax, overfit, RED, "validação, 40 documentos")
best = min(checks, key=lambda check: check[1])
ax.axvline(best[0], color=SLATE, linestyle=":", linewidth=1.4)
ax.set(
    title="O treino desce, a validação sobe: ele decora",
    xlabel="passos",
    ylabel="perda",
    ylim=(0, 9),
)
ax.legend()
show(
    fig,
    alt=f"Com 40 documentos, a perda do treino vai quase a zero e a de validação desce até {best[1]:.1f}, no passo {best[0]}, e depois sobe até {checks[-1][1]:.1f}.",
)
print(
    f"melhor validação {best[1]:.2f} no passo {best[0]}; no fim {checks[-1][1]:.2f}, treino {overfit[-1]['loss']:.2f}"
)
assert checks[-1][1] > best[1] + 0.5 and overfit[-1]["loss"] < best[1] - 2

# %% [markdown] id="cures"
# Três remédios, com os mesmos passos: **parar** no melhor ponto, **regularizar** (dropout), e **mais dados**.

# %%
torch.manual_seed(rt.seed)
with_dropout = GPT(GPTConfig(len(tokenizer), 64, 96, 4, 3, dropout=0.3)).to(rt.device)
regular = list(train(with_dropout, few, some, short))
plenty = list(train(newborn(), rows, some, short))
cures = {
    "nada": checks[-1][1],
    "parar no melhor": best[1],
    "dropout 0,3": regular[-1]["validation_loss"],
    "200 vezes mais dados": plenty[-1]["validation_loss"],
}
for name, loss in cures.items():
    print(f"{name:<22} {loss:.2f}")
assert (
    cures["nada"]
    > max(cures["parar no melhor"], cures["dropout 0,3"])
    > cures["200 vezes mais dados"]
)

# %% [markdown]
# Parar a tempo contém o estrago, e o dropout o diminui. Só dados novos ensinam o que faltava.

# %% [markdown] id="checkpoint"
# ## 5. Matar uma corrida, e continuá-la
#
# Um ponto salvo tem os pesos, as médias do AdamW, o passo e a receita, em um arquivo safetensors: só números, nada executável. Uma corrida inteira, para comparar; outra, morta no passo 50; e um modelo novo que continua dela.

# %%
brief = Recipe(steps=60, batch_size=8, learning_rate=4e-3, warmup=10, evaluate_every=20)
tiny = [validation[n] for n in range(8)]
whole = [entry["loss"] for entry in train(newborn(), rows, tiny, brief)]

place = rt.build / "aula09" / "ponto.safetensors"
place.unlink(missing_ok=True)
for entry in train(newborn(), rows, tiny, brief, checkpoint=place):
    if entry["step"] == 50:
        break  # the power goes out: steps 41 to 50 are lost

# %%
resumed = list(train(newborn(), rows, tiny, brief, checkpoint=place))
print("continuou do passo", resumed[0]["step"])
assert [entry["loss"] for entry in resumed] == whole[40:]
print("as 20 perdas que faltavam são as mesmas, bit a bit")

# %% [markdown]
# E um ponto que não serve? De outra receita, ou cortado no meio por um disco cheio: nada é carregado pela metade.

# %%
cut = place.with_name("cortado.safetensors")
cut.write_bytes(place.read_bytes()[:100_000])
for wrong, its in ((place, Recipe(steps=99)), (cut, brief)):
    try:
        next(train(newborn(), rows, tiny, its, checkpoint=wrong))
    except CourseError as error:
        print(error, "\n")

# %% [markdown] id="sampling"
# ## 6. Escolher o próximo token
#
# O modelo dá chances; alguém tem de escolher. Daqui em diante usamos o `gpt-pt`, a mesma receita por mais tempo e com mais texto ([o cartão](../models/gpt-pt/README.md) diz quanto).

# %%
from afina.gpt.weights import load_gpt

gpt = load_gpt(rt.models / "gpt-pt").to(rt.device)
print(continuation(gpt, "O Porto joga no"))


# %% id="sampling-code"
def next_token_probabilities(
    logits: torch.Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> torch.Tensor:
    if (
        temperature < 0
        or (top_k is not None and top_k < 1)
        or (top_p is not None and not 0 < top_p <= 1)
    ):
        raise CourseError(
            f"temperature={temperature}, top_k={top_k}, top_p={top_p} não servem juntos.",
            "temperature vai de 0 para cima, top_k de 1 para cima, top_p fica entre 0 e 1.",
            where="generate",
        )
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.size(-1)).to(logits.dtype)
    logits = logits / temperature
    if top_k is not None:
        worst_kept = logits.topk(min(top_k, logits.size(-1))).values[..., -1:]
        logits = logits.masked_fill(logits < worst_kept, -torch.inf)
    probabilities = logits.softmax(-1)
    if top_p is not None:
        ordered, order = probabilities.sort(descending=True, stable=True)
        beyond = ordered.cumsum(-1) - ordered >= top_p
        probabilities = probabilities.masked_fill(beyond.scatter(-1, order, beyond), 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


# %% [markdown]
# - ***Greedy*** (guloso; temperatura 0): sempre a maior. Sem surpresa.
# - **Temperatura**: divide as notas. Abaixo de 1, aposta no favorito; acima, arrisca.
# - **Top-k**: só as `k` melhores concorrem.
# - **Top-p**: só as melhores que, juntas, chegam a `p`. Poucas quando ele tem certeza, muitas quando não.
#
# As chances do que vem depois de "Ana", em cinco modos:

# %%
ids = [tokenizer.end, *tokenizer.encode("Ana")]
with torch.no_grad():
    logits = gpt(torch.tensor([ids], device=rt.device))[0, -1].cpu()
ways = {
    "temperatura 0,5": {"temperature": 0.5},
    "temperatura 1": {},
    "temperatura 2": {"temperature": 2.0},
    "top-k 2": {"top_k": 2},
    "top-p 0,9": {"top_p": 0.9},
}

# %%
best = logits.topk(6).indices
shown = {name: next_token_probabilities(logits, **how)[best] for name, how in ways.items()}
fig, ax = figure(height=3)
for n, (name, chances) in enumerate(shown.items()):
    ax.bar([x + 0.16 * (n - 2) for x in range(6)], chances, width=0.15, label=name)
ax.set_xticks(range(6), [repr(tokenizer.decode([i])) for i in best.tolist()])
ax.set(title="As mesmas notas, cinco modos: o que vem depois de 'Ana'", ylabel="chance")
ax.grid(visible=False, axis="x")
ax.legend()
show(
    fig,
    alt="Barras com a chance dos seis tokens mais prováveis em cinco modos: a temperatura baixa concentra, a alta espalha, top-k e top-p cortam a cauda.",
)

# %%
for name, how in {"greedy": {"temperature": 0.0}, **ways}.items():
    how = {"temperature": 1.0, **how}
    print(f"{name:<16}", continuation(gpt, "Ana", new=24, seed=5, stop=tokenizer.end, **how))

# %% [markdown]
# Um detalhe que engana muita gente: com a mesma semente (`seed`), sai sempre o mesmo texto. Sorteio não é o contrário de reproduzível.

# %%
how = {"temperature": 1.0, "seed": 7}
assert continuation(gpt, "Marina", **how) == continuation(gpt, "Marina", **how)

# %% [markdown] id="cache"
# ## 7. O cache de chaves e valores
#
# Para cada token novo, o modelo relê tudo. Mas as chaves e os valores dos tokens antigos não mudam: a máscara causal garante. Guarde-os (*KV cache*), e passe só o token novo. O laço do pacote:

# %% id="generate-code"
from afina.gpt.generate import check_request


@torch.no_grad()
def generate(
    model: GPT,
    ids: torch.Tensor,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    seed: int | None = None,
    use_cache: bool = True,
) -> torch.Tensor:
    check_request(ids, max_new_tokens, model.config.context)
    generator = None if seed is None else torch.Generator(ids.device).manual_seed(seed)
    cache = model.new_cache() if use_cache else None
    done = torch.zeros(ids.size(0), dtype=torch.bool, device=ids.device)
    for step in range(max_new_tokens):
        new = ids[:, -1:] if use_cache and step else ids
        logits = F.linear(model.hidden(new, cache)[:, -1], model.tokens.weight)
        if temperature == 0:
            chosen = logits.argmax(-1, keepdim=True)
        else:
            chances = next_token_probabilities(logits, temperature, top_k, top_p)
            chosen = torch.multinomial(chances, 1, generator=generator)
        if stop is not None:
            chosen = chosen.masked_fill(done[:, None], stop)
            done |= chosen[:, 0] == stop
        ids = torch.cat((ids, chosen), dim=1)
        if done.all():
            break
    return ids


# %%
prompt = torch.tensor([[tokenizer.end, *tokenizer.encode("— Bom dia! Você tem")]], device=rt.device)
taken = {}
for use_cache in (False, True, False, True):
    start = time.perf_counter()
    written = generate(gpt, prompt, 110, use_cache=use_cache)
    taken[use_cache] = min(time.perf_counter() - start, taken.get(use_cache, math.inf))
    assert torch.equal(written, generate(gpt, prompt, 110))
print(f"o mesmo texto: {taken[False]:.2f} s sem cache, {taken[True]:.2f} s com ele")
print(
    f"{taken[False] / taken[True]:.1f} vezes mais rápido; {110 / taken[True]:.0f} tokens por segundo"
)

# %% [markdown]
# O preço é memória: duas tabelas (chaves e valores) por camada, que crescem com o texto. E pedir mais do que cabe no contexto é erro, dito antes de começar:

# %%
numbers = 2 * gpt.config.n_layers * gpt.config.context * gpt.config.d_model
print(f"cache cheio: {4 * numbers / 1e6:.1f} MB por texto".replace(".", ","))
try:
    generate(gpt, prompt, 10_000)
except CourseError as error:
    print(error)

# %% [markdown] id="weights"
# ## 8. Gravar, carregar, importar
#
# `save_gpt` grava a configuração e os pesos; `load_gpt` os traz de volta, ou recusa.

# %%
from afina.gpt.weights import from_gpt2, save_gpt, to_gpt2

folder = rt.build / "aula09" / "meu-gpt"
save_gpt(model, folder)
again = load_gpt(folder).to(rt.device)
assert torch.equal(model.eval()(inputs), again(inputs))
print(sorted(path.name for path in folder.iterdir()))

# %%
(folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
try:
    load_gpt(folder)
except CourseError as error:
    print(error)

# %% [markdown] id="gpt2"
# Os pesos de um `GPT2LMHeadModel` entram no seu modelo. No perfil `gpu`, baixa-se o GPT-2 de verdade, da OpenAI: 124 milhões de pesos, e escreve inglês. No perfil `cpu`, sem rede, o GPT-2 é o `gpt-pt`
# gravado no formato dele. O caminho é o mesmo.

# %%
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

from afina.tune.quiet import captured_log

exported = rt.build / "aula09" / "gpt-pt-no-formato-gpt2"
with captured_log():  # and its progress bar
    to_gpt2(gpt.cpu()).save_pretrained(exported)
its_file = str(rt.models / "gpt-pt" / "tokenizer.json")
written_files = PreTrainedTokenizerFast(tokenizer_file=its_file).save_pretrained(exported)

# %%
source = rt.pick(cpu=exported, gpu="openai-community/gpt2")
start_of_text = rt.pick(cpu="<|fim|>O Sporting joga no", gpu="The capital of Portugal is")
with captured_log():
    gpt2, its_tokenizer = (
        GPT2LMHeadModel.from_pretrained(source),
        AutoTokenizer.from_pretrained(source),
    )
ours = from_gpt2(gpt2)
ids = its_tokenizer(start_of_text, return_tensors="pt")["input_ids"]

# %%
with torch.no_grad():
    assert torch.allclose(ours(ids), gpt2.eval()(ids).logits, atol=rt.pick(cpu=1e-4, gpu=1e-2))
print(its_tokenizer.decode(generate(ours, ids, 20)[0]))

# %% [markdown] id="scratch-or-pretrained"
# ## 9. Do zero, ou a partir de um pronto?
#
# O primeiro material do curso dá cinco motivos para treinar do zero. Um deles se mede aqui: **dados limitados**. Temos 200 mensagens de celular, com frases que o `gpt-pt` não leu. De onde é melhor partir?

# %%
import gzip
import json

with gzip.open(rt.data / "messages.jsonl.gz", "rt", encoding="utf-8") as file:
    short_messages = [row["text"] for row in map(json.loads, file) if row["split"] == "validation"]
mine = windows(tokenizer, short_messages[:200], context=64)
unseen = windows(tokenizer, short_messages[200:], context=64)

# %%
gentle = Recipe(steps=60, batch_size=8, learning_rate=1e-3, warmup=5, evaluate_every=15)
torch.manual_seed(rt.seed)
starts = {"do zero": GPT(gpt.config), "do gpt-pt": load_gpt(rt.models / "gpt-pt")}
paths = {}
for name, starting in starts.items():
    starting.to(rt.device)
    losses = [(0, evaluate(starting, unseen))]
    losses += [
        (e["step"], e["validation_loss"])
        for e in train(starting, mine, unseen, gentle)
        if "validation_loss" in e
    ]
    paths[name] = losses

# %%
fig, ax = figure(height=2.8)
for (name, losses), color, mark in zip(paths.items(), (RED, BLUE), ("s--", "o-"), strict=True):
    ax.plot(*zip(*losses, strict=True), mark, label=name, color=color)
ax.set(
    title="200 mensagens, dois pontos de partida",
    xlabel="passos",
    ylabel="perda em mensagens novas",
)
ax.legend()
ends = "; ".join(f"{name}, de {its[0][1]:.1f} a {its[-1][1]:.1f}" for name, its in paths.items())
show(fig, alt=f"Perda em mensagens novas por passo: {ends}. A do gpt-pt fica sempre abaixo.")
lowest = {name: min(loss for _, loss in losses) for name, losses in paths.items()}
print({name: f"{loss:.2f}" for name, loss in lowest.items()})
assert lowest["do gpt-pt"] < lowest["do zero"] - 0.3
assert all(
    ready < new for (_, ready), (_, new) in zip(paths["do gpt-pt"], paths["do zero"], strict=True)
)

# %% [markdown] id="decision"
# Com poucos dados é ao contrário do que o material diz: o pronto ganha. Os cinco motivos, um a um:
#
# | motivo para treinar do zero | quando vale | quando não vale |
# | --- | --- | --- |
# | **tarefa muito específica** | o "texto" não é língua: proteínas, notas musicais, registros de máquina | é língua, mesmo técnica: ajuste um pronto (aulas 10 a 14) |
# | **poucos dados** | quase nunca | você acabou de medir: parta do pronto |
# | **desempenho: rapidez, memória** | precisa de um modelo minúsculo, ou de um tokenizador seu (aula 04) | um pronto pequeno, ou em 4 bits, já cabe (aula 08) |
# | **propriedade intelectual** | precisa saber e provar a origem de cada texto | a licença do pronto permite o seu uso: leia-a |
# | **aprendizado contínuo** | quer o controle de tudo, sempre | continuar o treino de um pronto faz o mesmo, mais barato |
#
# E os dois preços: do zero custa dados e computação; do pronto, aceitar o que ele aprendeu sem você.

# %% [markdown]
# ## Sua vez
#
# **1.** Um modelo dá chance 0,25 ao token certo em todas as posições. Qual é a perda, em nats?

# %%
loss_at_a_quarter = ...

# %%
from afina.teach.check import check

check(
    loss_at_a_quarter,
    lambda loss: abs(loss - math.log(4)) < 1e-3 or "é menos o logaritmo natural da chance",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `loss_at_a_quarter = -math.log(0.25)`, cerca de 1,386. A perplexidade é 4: como hesitar entre quatro.
#
# </details>
#
# **2.** Com `recipe`, em que passo (contando de zero) a taxa chega ao máximo pela primeira vez?

# %%
first_peak = ...

# %%
rates = [learning_rate_at(step, recipe) for step in range(recipe.steps)]
check(
    first_peak,
    lambda step: (
        step == rates.index(max(rates))
        or f"no passo {step} a taxa é {learning_rate_at(step, recipe):.5f}"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `first_peak = recipe.warmup - 1`, o último do aquecimento.
#
# </details>
#
# **3.** Quantos tokens sobrevivem ao top-p de 0,9 depois de "O Porto joga no"? Use `next_token_probabilities` e `gpt`.

# %%
survivors = ...

# %%
ids = torch.tensor([[tokenizer.end, *tokenizer.encode("O Porto joga no")]])
right = int((next_token_probabilities(gpt.cpu()(ids)[0, -1].detach(), top_p=0.9) > 0).sum())
check(
    survivors,
    lambda n: n == right or "comece com tokenizer.end e conte as chances maiores que zero",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `ids = torch.tensor([[tokenizer.end, *tokenizer.encode("O Porto joga no")]])` e
# `survivors = int((next_token_probabilities(gpt(ids)[0, -1], top_p=0.9) > 0).sum())`
#
# </details>

# %% [markdown]
# ## Para levar
#
# - Quatro passos: para a frente, perda, para trás, atualização. O resto são cuidados.
# - Olhe as duas curvas. Treino descendo e validação subindo é sobreajuste; a melhor cura são dados.
# - Um ponto salvo guarda também o otimizador e o passo: a corrida continua como se nada fosse.
# - Temperatura, top-k e top-p mexem na escolha, não no modelo. O cache muda a pressa, não o texto.
# - Quase sempre, parta de um modelo pronto.

# %% [markdown]
# ## Quiz
#
# Oito perguntas sobre a aula. Cada resposta, certa ou errada, vem explicada.

# %%
from afina.teach.quiz import quiz

quiz("09")

# %% [markdown]
# {{quiz 09}}

# %% [markdown]
# ## Próximo passo
#
# O `gpt-pt` sabe escrever. Nas próximas aulas do [mapa do curso](../README.md) ele aprende tarefas, treinando só uma fração dos pesos, com LoRA.
#
# O mesmo treino também é um comando, em um processo ou em vários: `afina train gpt --config train/gpt.yaml`, na raiz do curso. Morto no meio, o mesmo
# comando continua de onde parou.
