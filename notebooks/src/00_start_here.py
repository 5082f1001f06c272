# %% [markdown] id="cover"
# # 00 · Comece aqui
#
# Em dois minutos você treina um modelo de linguagem neste computador, conversa com ele e vê o mapa do curso inteiro.
#
# **Ao final você vai saber**
#
# - achar seu caminho pelas aulas e rodar qualquer uma delas
# - ler o quadro que diz onde você está e o que esta máquina pode
# - reconhecer os quatro passos que todo treino repete
# - medir, com um número, se um modelo aprendeu
#
# **Antes desta aula**: saber rodar uma célula de um notebook (Shift+Enter) e um pouco de Python.
#
# {{ficha}}

# %% [markdown]
# ## Onde você está
#
# Toda aula abre com a célula abaixo, sempre igual. Ela prepara o curso e diz o que há nesta máquina. Rode-a.

# %% id="setup"

# %% [markdown] id="profile"
# Leia o quadro de cima para baixo:
#
# - **Dispositivo** é quem faz as contas, e com que precisão. Em CPU usamos `fp32`, números de 32 bits. Uma GPU trabalha com metade
#   disso: `fp16` na T4 do Colab, `bf16` nas mais novas.
# - **Perfil** é o botão de tamanho do curso. Em `cpu` as aulas usam modelos pequenos, feitos aqui mesmo, e nenhuma internet. Em `gpu`,
#   *as mesmas células* usam os modelos de verdade.
# - **Semente** fixa o acaso, para que você veja os números que nós vimos.
#
# O botão é este método: entram dois valores, sai o do perfil em que você está.

# %%
steps = rt.pick(cpu=300, gpu=3000)
print(f"No perfil {rt.profile}, o modelo desta aula vai treinar {steps} passos.")

# %% [markdown] id="map"
# ## O mapa
#
# O curso segue os dados. Um arquivo bruto entra pela esquerda; à direita sai um modelo que responde. O que as pessoas dizem das
# respostas volta ao começo e vira dado novo. É assim que um modelo melhora com o uso: ele não aprende sozinho enquanto responde.

# %%
from afina.teach.figures import MAP_ALT, course_map, show

show(course_map(), alt=MAP_ALT)

# %% [markdown]
# Três jeitos de caminhar:
#
# | você quer | faça |
# | --- | --- |
# | entender tudo, do chão ao teto | as aulas em ordem |
# | ajustar um modelo para o seu trabalho | 00, 02 e 03; depois, a do caminho que escolher |
# | dar aula com este material | leia o [guia de contribuição](../docs/CONTRIBUTING.md) |
#
# Em cada aula há um **Sua vez**, com exercícios que se corrigem sozinhos, e um **Quiz** no fim. Errar ali não custa nada e ensina
# bastante: cada resposta, certa ou errada, vem com o seu porquê. Uma palavra estranha? Está no [glossário](../docs/glossario.md).

# %% [markdown]
# ## Um gostinho: treinar e perguntar
#
# Um modelo de linguagem faz uma coisa só: lê um pedaço de texto e diz qual pedaço deve vir a seguir. Vamos fazer um, do zero.
#
# Primeiro, o texto. O curso traz um livrinho de histórias, diálogos e fatos em português, escrito por um programa
# ([de onde vem cada arquivo](../data/README.md)).

# %%
import gzip

text = gzip.open(rt.data / "prose_train.txt.gz", "rt", encoding="utf-8").read()
documents = text.strip().split("\n\n")
print(f"{len(documents)} documentos, {len(text)} caracteres\n")
print(documents[7])

# %% [markdown]
# ### Do texto aos números
#
# Uma rede neural só conhece números. O *tokenizer* (tokenizador) corta o texto em *tokens* (pedaços frequentes) e dá um número a
# cada um. Ele também é treinado: aprende com o texto quais pedaços vale a pena ter.

# %%
from tokenizers import ByteLevelBPETokenizer

tokenizer = ByteLevelBPETokenizer()
tokenizer.train_from_iterator(documents, vocab_size=1000, show_progress=False)

encoding = tokenizer.encode("O time joga em casa.")
print([tokenizer.decode([number]) for number in encoding.ids])
print(encoding.ids)

# %% [markdown] id="held-out"
# Agora o livro inteiro vira uma fila de números. Um segundo arquivo, escrito do mesmo jeito, fica para a prova final: são dados
# **separados** (*held-out*), que o treino nunca vê. Sem eles não há como saber se o modelo aprendeu ou decorou.

# %%
import torch


def read_ids(name):
    """All token ids of one file of data/, as one long tensor."""
    pieces = gzip.open(rt.data / name, "rt", encoding="utf-8").read().split("\n\n")
    return torch.tensor(
        [i for piece in tokenizer.encode_batch(pieces) for i in [*piece.ids, newline]]
    )


newline = tokenizer.encode("\n").ids[0]
train_ids, held_out_ids = read_ids("prose_train.txt.gz"), read_ids("prose_validation.txt.gz")
print(f"{len(train_ids)} tokens para treinar, {len(held_out_ids)} separados para a prova")

# %% [markdown]
# ### O modelo
#
# Este é um GPT-2 em miniatura: a mesma arquitetura do modelo de 2019, cuja menor versão tinha 124 milhões de **parâmetros**, os números que
# o treino ajusta. O nosso tem meio milhão, e eles começam sorteados.

# %%
from transformers import GPT2Config, GPT2LMHeadModel

size = {"vocab_size": 1000, "n_positions": 64, "n_embd": 128, "n_layer": 2, "n_head": 4}
config = GPT2Config(**size, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(config).to(rt.device)
print(f"{model.num_parameters()} parâmetros")

# %% [markdown]
# Para perguntar, damos um começo e deixamos o modelo continuar, um token por vez. Antes do treino, sai isto:


# %%
def ask(beginning, tokens=40):
    """Continue `beginning` with `tokens` sampled tokens."""
    start = torch.tensor([tokenizer.encode(beginning).ids], device=rt.device)
    settings = {"do_sample": True, "top_k": 20, "temperature": 0.7, "pad_token_id": 0}
    out = model.generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=tokens, **settings
    )
    return tokenizer.decode(out[0].tolist())


print(ask("O time de Lisboa"))

# %% [markdown] id="loss"
# Ruído, como devia ser: o � é meio caractere. Quanto ruído, exatamente? A *loss* (perda) responde: ela é pequena quando o modelo dá
# boa probabilidade ao token que de fato vem a seguir. Quem chuta entre 1000 tokens iguais tem perda de ln(1000), perto de 6,91.


# %%
def loss_on(windows):
    """Mean cross-entropy, nats per token, of (batch, 64) windows: each token against its prediction."""
    logits = model(windows).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def held_out_loss():
    """The loss on 128 held-out windows of 64 tokens."""
    return loss_on(held_out_ids[: 128 * 64].view(128, 64).to(rt.device)).item()


loss_before = held_out_loss()
print(f"perda nos dados separados, antes: {loss_before:.2f}")

# %% [markdown] id="four-steps"
# ### Os quatro passos
#
# Treinar é repetir quatro passos. Estão todos na célula abaixo, na ordem:
#
# 1. **ida** (*forward*): o modelo lê um lote de trechos e prevê cada próximo token;
# 2. **perda**: um número diz quanto ele errou;
# 3. **volta** (*backward*): a conta é refeita de trás para a frente e diz, a cada parâmetro, para que lado mexer;
# 4. **atualização**: cada parâmetro anda um pouquinho nessa direção.

# %%
from afina.runtime import progress

optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
losses = []
for _step in progress(range(steps), desc="treinando"):
    starts = torch.randint(len(train_ids) - 64, (16,))
    batch = torch.stack([train_ids[s : s + 64] for s in starts]).to(rt.device)
    loss = loss_on(batch)  # 1 and 2: forward, loss
    loss.backward()  # 3: backward
    optimizer.step()  # 4: update
    optimizer.zero_grad()
    losses.append(loss.item())
print(
    f"perda no treino: {losses[0]:.2f} no primeiro passo, {sum(losses[-20:]) / 20:.2f} nos últimos"
)

# %% [markdown]
# O caminho da perda conta a história: cai depressa enquanto o modelo descobre quais tokens são comuns, depois devagar, enquanto
# aprende quem anda com quem.

# %%
import math

from afina.teach.figures import ORANGE, figure

fig, ax = figure(height=3)
ax.plot(losses)
ax.axhline(math.log(1000), color=ORANGE, linestyle="--")
ax.annotate(
    "chute entre 1000 tokens",
    (steps, math.log(1000)),
    (0, 5),
    textcoords="offset points",
    ha="right",
)
ax.set(title="A perda cai enquanto o modelo treina", xlabel="passo", ylabel="perda", ylim=(0, 7.8))
show(
    fig,
    alt=f"Curva da perda no treino em {steps} passos: começa perto do chute ao acaso, 6,9, "
    f"cai depressa no primeiro terço e termina perto de {losses[-1]:.1f}.",
)

# %% [markdown]
# E a prova, nos dados separados:

# %%
loss_after = held_out_loss()
print(f"perda nos dados separados: {loss_before:.2f} antes, {loss_after:.2f} depois")
assert loss_after < 0.6 * loss_before

# %% [markdown]
# ### Pergunte
#
# A mesma pergunta de antes, e mais duas:

# %%
for beginning in ("O time de Lisboa", "A bicicleta", "— Você viu"):
    print("•", ask(beginning).replace("\n", " "), "\n")

# %% [markdown]
# Em segundos ele aprendeu a cara do português destas histórias: palavras inteiras, concordância, pontuação. E não sabe nada do mundo: ele
# imita. Um modelo grande faz a mesma coisa, com o mesmo laço de quatro passos, muito mais parâmetros e muito mais texto.
#
# Nas próximas aulas você abre cada peça: os dados (02 e 03), o modelo por dentro (04 a 09), e o *fine-tuning* (ajuste fino), que parte de
# um modelo pronto em vez de um sorteado (10 em diante).

# %% [markdown]
# ## Se algo der errado
#
# - Leia a última linha do erro: os erros do Afina dizem onde foi e o que fazer.
# - Rode as células de cima para baixo, sem pular: no menu, *Kernel › Restart Kernel and Run All Cells*.
# - Peça o retrato do ambiente com `afina doctor`, no terminal, e cole-o em uma issue. Ele não mostra seu nome nem suas senhas.

# %% [markdown]
# ## Sua vez
#
# **1.** A perda tem uma tradução mais amigável, a *perplexity* (perplexidade): `e` elevado à perda. Ela diz entre quantos tokens, em média, o modelo
# ainda hesita. Calcule a perplexidade do modelo depois do treino, nos dados separados.

# %%
perplexity = ...

# %%
from afina.teach.check import check

check(
    perplexity,
    lambda p: (
        abs(p - math.exp(loss_after)) < 0.01
        or f"{p:.2f} não é e elevado a {loss_after:.2f}; use math.exp"
    ),
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `perplexity = math.exp(loss_after)`. Antes do treino ele hesitava entre uns mil tokens; agora, entre poucos.
#
# </details>
#
# **2.** Quantos dos parâmetros estão na tabela que dá um vetor de 128 números a cada um dos 1000 tokens? Responda com uma conta.

# %%
embedding_parameters = ...

# %%
check(
    embedding_parameters,
    lambda n: n == 1000 * 128 or f"a tabela tem 1000 linhas de 128 números, e você respondeu {n}",
)

# %% [markdown]
# <details><summary>Uma solução</summary>
#
# `embedding_parameters = 1000 * 128`, isto é, 128 mil. Confira com `model.transformer.wte.weight.numel()`.
#
# </details>
#
# **3.** Sem conferência: mude `steps` para 50 lá em cima, rode tudo de novo e leia as respostas. Depois tente `temperature` 0.1 e 1.5 em `ask`.
# O que muda no texto?

# %% [markdown]
# ## Para levar
#
# - Um modelo de linguagem prevê o próximo token, e só.
# - Treinar é repetir ida, perda, volta e atualização.
# - A perda em dados separados é o que diz se ele aprendeu.
# - O perfil `cpu` e o `gpu` rodam as mesmas células, em tamanhos diferentes.
# - Usar o modelo não o treina: para melhorar, o uso precisa virar dado.

# %% [markdown]
# ## Quiz
#
# Responda com o mouse ou com o teclado (Tab anda, Enter responde). Cada opção, certa ou errada, explica o seu porquê.

# %%
from afina.teach.quiz import quiz

quiz("00")

# %% [markdown]
# {{quiz 00}}

# %% [markdown]
# Além do quiz de cada aula há quatro avulsos, para quando você já tiver andado: um sobre *fine-tuning* e três sobre os assuntos dos
# capítulos 1, 2 e 3 do curso da Hugging Face. Volte aqui e chame-os pelo nome; ou abra-os abaixo, só para ler.

# %%
quiz("fine_tuning")

# %% [markdown]
# <details><summary><b>fine_tuning: ajuste fino, Bedrock, modelos pequenos, transformer e BERT (depois da aula 01)</b></summary>
#
# {{quiz fine_tuning}}
#
# </details>

# %% [markdown]
# <details><summary><b>hf1: o que fazem os modelos de linguagem (depois das aulas 01 e 13)</b></summary>
#
# {{quiz hf1}}
#
# </details>

# %% [markdown]
# <details><summary><b>hf2: tokenizador, modelo, cabeça e preenchimento (depois da aula 13)</b></summary>
#
# {{quiz hf2}}
#
# </details>

# %% [markdown]
# <details><summary><b>hf3: o ajuste fino com Datasets, Trainer e Accelerate (depois da aula 13)</b></summary>
#
# {{quiz hf3}}
#
# </details>

# %% [markdown]
# ## Próximo passo
#
# [01 · Conceitos centrais](01_core_concepts.ipynb): as seis ideias em que o curso se apoia, cada uma com desenho e exemplo. Com pressa? Vá direto
# para [02 · Preparar os dados](02_dataset_prep.ipynb).
