"""The READMEs' measured section, from benchmarks/results/. `make bench` ends with it.

    python benchmarks/table.py

A number stands in a row only as {path.in.the.result:format}, so none can be typed. A row whose result file is not there is left
out. To add a claim, add a Row to ROWS (or a Growth to GROWTHS, for benchmarks/growth.py); the texts are (Portuguese, English).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import read

ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", ROOT / "README.en.md")
START, END = "<!-- benchmarks/table.py -->", "<!-- /benchmarks/table.py -->"
BUSY = 0.1  # share of the processors that others used just before: above it the row says so
BUSY_LOAD = 1.0  # the same of the load average, for results that do not have the share
LINEAR = 1.1  # an exponent above this, beyond two standard errors, has to be explained

Texts = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """One claim: what was measured, against whom, and how it came out, with the peer that wins where it does."""

    result: str
    what: Texts
    peer: Texts
    outcome: Texts


@dataclass(frozen=True)
class Growth:
    """One path of growth.json: its sizes and why its exponent is what it is. `above` says that more than linear is explained."""

    name: str
    what: Texts
    sizes: Texts
    why: Texts
    above: bool = False


ALONE = ("—", "—")

# --- the claims: the one place to add to -----------------------------------------------------------------------------

PREP = (
    "limpar, deduplicar e dividir {comparison.lines:,} linhas",
    "clean, dedupe and split {comparison.lines:,} lines",
)
SPEED = "**{%s:.1f} ×** a velocidade", "**{%s:.1f} ×** the speed"
TIME = "**{%s:.2f} ×** o tempo", "**{%s:.2f} ×** the time"


def speed_of(path: str) -> Texts:
    return SPEED[0] % path, SPEED[1] % path


def time_of(path: str) -> Texts:
    return TIME[0] % path, TIME[1] % path


ROWS = (
    Row("data_prep", PREP, ("um laço em Python, um processo", "a Python loop, one process"),
        speed_of("comparison.engines.naive.times_afina")),
    Row("data_prep", PREP, ("`pandas`, em pedaços", "`pandas`, in chunks"), speed_of("comparison.engines.pandas.times_afina")),
    Row("data_prep", PREP, ("`datasets`, dois processos", "`datasets`, two processes"),
        speed_of("comparison.engines.datasets.times_afina")),
    Row("data_prep", ("o mesmo, {scaling.points.-1.lines:,} linhas", "the same, {scaling.points.-1.lines:,} lines"), ALONE,
        ("{scaling.points.-1.wall_s:.1f} s, {scaling.points.-1.peak_mb:.0f} MB de memória",
         "{scaling.points.-1.wall_s:.1f} s, {scaling.points.-1.peak_mb:.0f} MB of memory")),
    Row("data_scale", ("o mesmo, {sizes.-1.lines:,} linhas", "the same, {sizes.-1.lines:,} lines"), ALONE,
        ("{sizes.-1.roads.local.prep_s:.0f} s, {sizes.-1.roads.local.peak_mb:,.0f} MB de memória",
         "{sizes.-1.roads.local.prep_s:.0f} s, {sizes.-1.roads.local.peak_mb:,.0f} MB of memory")),
    Row("data_scale", ("o mesmo, {sizes.-1.lines:,} linhas", "the same, {sizes.-1.lines:,} lines"),
        ("Daft e Ray, dois trabalhadores nos mesmos núcleos", "Daft and Ray, two workers on the same cores"),
        speed_of("sizes.-1.times_cluster")),
    Row("validator", ("validar {lines:,} linhas de JSONL", "validate {lines:,} lines of JSONL"),
        ("um laço com `pydantic`, menos regras", "a `pydantic` loop, fewer rules"), time_of("speed.afina.times_pydantic")),
    Row("validator", ("validar {lines:,} linhas de JSONL", "validate {lines:,} lines of JSONL"),
        ("`orjson`, que só lê", "`orjson`, which only parses"), time_of("speed.afina.times_orjson")),
    Row("validator", ("validar um arquivo de {memory.-1.mb:,} MB", "validate a file of {memory.-1.mb:,} MB"), ALONE,
        ("{memory.-1.peak_mb:.0f} MB de memória", "{memory.-1.peak_mb:.0f} MB of memory")),
    Row("bpe", ("treinar o BPE à mão, prosa em português", "train the hand-written BPE, Portuguese prose"),
        ("`tokenizers` (Rust)", "`tokenizers` (Rust)"), time_of("corpora.portuguese.0.train.times_tokenizers")),
    Row("bpe", ("o mesmo, palavras inventadas: o pior caso", "the same, made-up words: its worst case"),
        ("`tokenizers` (Rust)", "`tokenizers` (Rust)"), time_of("worst_training_ratio")),
    Row("gpt", ("treinar o GPT à mão, {weights:,} pesos", "train the hand-written GPT, {weights:,} weights"),
        ("`GPT2LMHeadModel`", "`GPT2LMHeadModel`"), speed_of("training.times.peer")),
    Row("gpt", ("o mesmo", "the same"), ("`GPT2LMHeadModel`, ativação fundida", "`GPT2LMHeadModel`, fused activation"),
        speed_of("training.times.peer_fused")),
    Row("gpt", ("gerar texto, um por vez", "write text, one at a time"), ("`generate()` do Transformers", "Transformers' `generate()`"),
        speed_of("generation.batch_1.times.peer")),
    Row("gpt", ("gerar texto, oito por vez", "write text, eight at a time"),
        ("`generate()` do Transformers", "Transformers' `generate()`"), speed_of("generation.batch_8.times.peer")),
    Row("bert", ("ajustar o BERT, lotes por tamanho", "tune BERT, batches by length"),
        ("`Trainer`, tudo com {fixed_tokens} tokens", "`Trainer`, all at {fixed_tokens} tokens"), speed_of("times_plain")),
    Row("sft", ("memória do QLoRA, no Llama pequeno do curso", "memory of QLoRA, on the course's small Llama"),
        ("ajuste completo: {peak_mb.full:.0f} MB", "full tuning: {peak_mb.full:.0f} MB"),
        ("{peak_mb.qlora:.0f} MB", "{peak_mb.qlora:.0f} MB")),
    Row("train", ("`afina train` em dois processos: GPT mais largo, GPT da aula 09, QLoRA, BERT",
                  "`afina train` in two processes: wider GPT, lesson 09's GPT, QLoRA, BERT"),
        ("um processo", "one process"),
        ("**{gpt_wide.times_faster:.1f}**, {gpt.times_faster:.1f}, {sft.times_faster:.1f} e {bert.times_faster:.1f} × a velocidade",
         "**{gpt_wide.times_faster:.1f}**, {gpt.times_faster:.1f}, {sft.times_faster:.1f} and {bert.times_faster:.1f} × the speed")),
    Row("cloud", ("um job no gêmeo da OpenAI, que acabou de subir", "a job on the OpenAI twin, just started"),
        ("o mesmo treino, sem o gêmeo", "the same training, without the twin"), time_of("times_direct")),
    Row("serve", ("servir o Llama a oito clientes", "serve the Llama to eight clients"),
        ("`generate()`, um por vez", "`generate()`, one at a time"),
        speed_of("checkpoints.llama-base.times_8_clients.stream_over_generate")),
    Row("serve", ("servir o GPT à mão a oito clientes", "serve the hand-written GPT to eight clients"),
        ("a geração da aula 09, um por vez", "lesson 09's generation, one at a time"),
        speed_of("checkpoints.gpt-pt.times_8_clients.stream_over_generate_by_hand")),
    Row("serve", ("a primeira palavra, um cliente", "the first word, one client"), ALONE,
        ("{checkpoints.llama-base.first_token_ms.median:.1f} ms", "{checkpoints.llama-base.first_token_ms.median:.1f} ms")),
    Row("grade", ("corrigir {submissions} entregas, {hang_in_an_answer} delas travadas",
                  "grade {submissions} submissions, {hang_in_an_answer} of which hang"), ALONE,
        ("{seconds:.0f} s", "{seconds:.0f} s")),
)  # fmt: skip

GROWTHS = (
    Growth("prep", ("`afina prep`", "`afina prep`"), ("linhas", "lines"),
           ("linear; abaixo de um porque começar o processo custa o mesmo em todo tamanho",
           "linear; below one because starting the process costs the same at every size")),
    Growth("validate", ("`afina validate`", "`afina validate`"), ("linhas", "lines"),
           ("linear: cada linha é lida uma vez", "linear: each line is read once")),
    Growth("train_step", ("um passo de treino do GPT", "one training step of the GPT"),
           ("tokens na sequência, mesmo número delas", "tokens in a sequence, the same number of them"),
           ("as matrizes crescem com o tamanho, e a atenção com o seu quadrado: {train_step.quadratic_share.-1:.0%} do passo no maior",
           "matrices grow with the length, and attention with its square: {train_step.quadratic_share.-1:.0%} of the largest step"),
           above=True),
    Growth("serve", ("`afina serve`, até a última resposta", "`afina serve`, until the last answer"),
           ("clientes, quatro respostas cada", "clients, four answers each"),
           ("abaixo de um: as respostas de um mesmo instante são um lote só", "below one: answers of the same moment are one batch")),
    Growth("bpe", ("treinar o BPE à mão, pior caso", "train the hand-written BPE, worst case"), ("bytes", "bytes"),
           ("as operações crescem com expoente {bpe.operations.exponent:.2f}; o resto é que cada uma demora mais em tabelas maiores",
           "the operations grow with exponent {bpe.operations.exponent:.2f}; the rest is that each takes longer in larger tables"),
           above=True),
    Growth("grade", ("`afina grade`, dois por vez", "`afina grade`, two at a time"), ("entregas", "submissions"),
           ("linear: cada entrega em sua sala", "linear: each submission in a room of its own")),
)  # fmt: skip

WORDS = {
    "head": (
        ("o que", "contra quem", "quanto", "para repetir", "quando"),
        ("what", "against", "how much", "to repeat it", "when"),
    ),
    "growth": (("caminho", "de … a …", "expoente", "por quê"), ("path", "from … to …", "exponent", "why")),
    "to": ("a", "to"),
    "cores": ("núcleos", "cores"),
    "machine": ("Medido em {}.", "Measured on {}."),
    "busy": (
        " † Com a máquina ocupada por outros: as razões vêm de rodadas alternadas, mas espere outros números em uma máquina quieta.",
        " † While others used the machine: the ratios come from interleaved rounds, yet expect other figures on a quiet one.",
    ),
    "exponents": (
        "Como o tempo cresce (`python benchmarks/growth.py`, {date}): expoente 1 é linear, 2 é quadrático; depois do ±, um erro-padrão.",
        "How time grows (`python benchmarks/growth.py`, {date}): exponent 1 is linear, 2 quadratic; after ±, one standard error.",
    ),
}


# --- text ------------------------------------------------------------------------------------------------------------

PLACE = re.compile(r"\{([\w.\-]+?)(?::([^{}]*))?\}")


def value_at(result: dict, path: str) -> float:
    """The number at a path of keys and list positions: "memory.-1.mb"."""
    place = result
    for step in path.split("."):
        place = place[int(step)] if isinstance(place, list) else place[step]
    return place


def number(value: float, how: str, language: int) -> str:
    """`value` under a format of Python's, with Portuguese's comma and point where the language is 0."""
    text = format(value, how)
    return text if language else text.translate(str.maketrans(",.", ".,"))


def filled(template: str, result: dict, language: int) -> str:
    return PLACE.sub(lambda found: number(value_at(result, found[1]), found[2] or "", language), template)


def taken(result: dict) -> dict:
    """Date and machine; results of November 2026 may have them one level down."""
    return result if "date" in result else result["machine"] | {"machine": result["machine"]}


def was_busy(result: dict) -> bool:
    said = taken(result)
    if "busy_before" in said:
        return said["busy_before"] > BUSY
    load = said.get("load_before") or 0
    return (load if isinstance(load, int | float) else load[0]) > BUSY_LOAD


def machine_of(result: dict, language: int) -> str:
    machine = taken(result)["machine"]
    cpu = machine.get("cpu") or machine["arch"]
    return f"{machine.get('cpus') or machine['cores']} {WORDS['cores'][language]} ({cpu}), Python {taken(result)['python']}"


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def when(result: dict) -> str:
    return taken(result)["date"] + (" †" if was_busy(result) else "")


def section(language: int) -> str:
    """What stands between the marks in a README: language 0 is Portuguese, 1 English."""
    results = {row.result: read(row.result) for row in ROWS}
    growth = read("growth")
    shown = [row for row in ROWS if results[row.result]]
    head = WORDS["head"][language]
    lines = [line(*head), line(*["---"] * len(head))]
    for row in shown:
        result = results[row.result]
        texts = [filled(texts[language], result, language) for texts in (row.what, row.peer, row.outcome)]
        lines.append(line(*texts, f"`python benchmarks/{row.result}.py`", when(result)))
    paths = [path for path in GROWTHS if path.name in growth]
    if paths:
        head = WORDS["growth"][language]
        lines += [
            "",
            WORDS["exponents"][language].format(date=when(growth)),
            "",
            line(*head),
            line(*["---"] * len(head)),
        ]
        for path in paths:
            found = growth[path.name]
            ends = [number(found["points"][end]["size"], ",", language) for end in (0, -1)]
            exponent = " ± ".join(number(found[name], ".2f", language) for name in ("exponent", "standard_error"))
            sizes = f" {WORDS['to'][language]} ".join(ends) + " " + path.sizes[language]
            lines.append(line(path.what[language], sizes, exponent, filled(path.why[language], growth, language)))
    used = [results[row.result] for row in shown] + ([growth] if paths else [])
    machines = dict.fromkeys(machine_of(result, language) for result in used)
    note = WORDS["machine"][language].format("; ".join(machines))
    if any(map(was_busy, used)):
        note += WORDS["busy"][language]
    return "\n".join([*lines, "", note])


def parts(text: str) -> tuple[str, str, str]:
    """A README as (before, section, after)."""
    before, rest = text.split(START + "\n", 1)
    inside, after = rest.split("\n" + END, 1)
    return before, inside, after


def renewed(text: str, language: int) -> str:
    before, _, after = parts(text)
    return f"{before}{START}\n{section(language)}\n{END}{after}"


# --- the check -------------------------------------------------------------------------------------------------------

CODE, DAY = re.compile(r"`[^`]*`"), re.compile(r"\d{4}-\d\d-\d\d")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?: ?%)?")


def leaves(place) -> Iterator[float]:
    """Every number of a result file."""
    if isinstance(place, dict | list):
        for inner in place.values() if isinstance(place, dict) else place:
            yield from leaves(inner)
    elif isinstance(place, int | float) and not isinstance(place, bool):
        yield place


def traced(shown: str, result: dict, language: int) -> bool:
    """Whether a number as shown is some number of the result, rounded to as many digits."""
    plain = shown.rstrip(" %").translate(str.maketrans(".,", ",.") if not language else {}).replace(",", "")
    digits = len(plain.partition(".")[2])
    percent = 100 if shown.endswith("%") else 1
    return any(abs(value * percent - float(plain)) <= 0.5 * 10**-digits + 1e-9 for value in leaves(result))


def untraced(inside: str, language: int) -> list[str]:
    """Numbers of a section's table rows that the row's result file does not hold, each with its row."""
    found = []
    for row in inside.splitlines():
        if not row.startswith("| ") or row.startswith("| ---"):
            continue
        command = re.search(r"`python benchmarks/(\w+)\.py`", row)
        result = read(command[1] if command else "growth")
        bare = DAY.sub("", CODE.sub("", row))
        words = re.sub(r"[^\W\d]+\d+|(?:aula|lesson) \d+|\d+'s", "", bare)  # names: GPT2, lesson 09's
        found += [f"{shown}: {row}" for shown in NUMBER.findall(words) if not traced(shown, result, language)]
        days = DAY.findall(row)
        if days and days != [taken(result)["date"]]:
            found.append(f"{days}: {row}")
    return found


def unexplained() -> list[str]:
    """Paths that grow faster than LINEAR, beyond two standard errors, with no explanation."""
    growth, explained = read("growth"), {path.name for path in GROWTHS if path.above}
    return [
        f"{name}: {found['exponent']} ± {found['standard_error']}"
        for name, found in growth.items()
        if isinstance(found, dict) and "exponent" in found and name not in explained
        if found["exponent"] - 2 * found["standard_error"] > LINEAR
    ]


def main() -> int:
    for language, path in enumerate(READMES):
        path.write_text(renewed(path.read_text(encoding="utf-8"), language), encoding="utf-8")
    for problem in unexplained():
        print(f"grows faster than linear, unexplained: {problem}", file=sys.stderr)
    return bool(unexplained())


if __name__ == "__main__":
    sys.exit(main())
