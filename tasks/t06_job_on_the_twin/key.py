"""The answer key of task 06: scripted services see what each function asks; the one real job is judged from its answers."""

from pathlib import Path
from random import Random

import jupytext

from afina.jsonl import estimate
from afina.runtime import course_root
from workshop.tasks import Hidden, Wrong

# the given cell, once more: a student's notebook may have changed its own copy
CELLS = jupytext.read(Path(__file__).with_name("src.py"), fmt="py:percent").cells
PRETEND = next(cell.source for cell in CELLS if cell.metadata.get("id") == "pretend")
PARTS = """
import json, pathlib, tempfile

folder = pathlib.Path(tempfile.mkdtemp())
exam = prepare([tuple(pair) for pair in inputs], folder)
output = []
for name in ("train", "validation"):
    rows = [json.loads(line)["messages"] for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    output.append([[m["content"] for m in row] for row in rows])
output.append([list(pair) for pair in exam])
"""
SEND = (
    PRETEND
    + """
import pathlib, tempfile

output = []
for names in inputs:
    paths = [pathlib.Path(tempfile.mkdtemp()) / name for name in names]
    for path in paths:
        path.write_text("{}")
    service = Pretend()
    send(service, *paths)
    job = [entry[1] for entry in service.log if entry[0] == "job"][0]
    fields = [job.get(name) for name in ("model", "training_file", "validation_file", "suffix", "seed")]
    epochs = job["method"]["supervised"]["hyperparameters"]["n_epochs"]
    output.append([sorted(entry[1:] for entry in service.log if entry[0] == "upload"), fields, epochs])
"""
)
WAIT = (
    PRETEND
    + """
output = []
for statuses, deadline in inputs:
    service = Pretend(statuses)
    try:
        said = wait(service, NS(id="job-1"), deadline, pause=0.01).status
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    output.append([said, ("cancel", "job-1") in service.log])
"""
)
CURVE = (
    PRETEND
    + """
import base64

output = []
for text in inputs:
    service = Pretend(results=base64.b64encode(text.encode()))
    output.append(curve(service, service.look("job-1")))
"""
)
ANSWERS = (
    PRETEND
    + """
class Echo(Pretend):
    def say(self, **request):
        super().say(**request)
        return NS(choices=[NS(message=NS(content=request["messages"][-1]["content"].upper()))])

service = Echo()
texts = answers(service, "outro-modelo", [tuple(pair) for pair in inputs])
asked = [entry[1] for entry in service.log if entry[0] == "say"]
output = [texts, sorted([r["model"], r["temperature"], r["messages"][0], r["messages"][-1]["content"]] for r in asked)]
"""
)
CLEAN = (
    PRETEND
    + """
output = []
for status, names in inputs:
    service = Pretend([status])
    job = service.look("job-1")
    job.training_file, job.validation_file, job.result_files = names[0], names[1], names[2:]
    count = clean_up(service, job)
    output.append([count, sorted(entry[1] for entry in service.log if entry[0] == "delete")])
"""
)
SYSTEM = "You write one honest sentence about a product for a shop."


def hidden(rng: Random) -> dict[str, Hidden]:
    numbers = rng.sample(range(1000), 240)
    pairs = [[f"Describe the product: Item {n}", f"An item with number {n}."] for n in numbers]
    twice = pairs + [[question, "Said again."] for question, _ in rng.sample(pairs, 120)]
    names = [[f"a{rng.randint(1, 99)}.jsonl", f"b{rng.randint(1, 99)}.jsonl"] for _ in range(2)]
    file = str(course_root() / "data" / "train.jsonl")
    price = estimate(file, "gpt-4.1-mini-2025-04-14", epochs=1).usd
    budgets = [[n, round(price * n * share, 6)] for n in (1, 2, 5) for share in (0.9, 1.1)]
    waits = [
        (["queued"] * rng.randint(1, 4) + ["running", "succeeded"], 5, ["succeeded", False]),
        (["validating_files"] * 3 + ["succeeded"], 5, ["succeeded", False]),
        (["queued"], 0.1, ["TimeoutError", True]),
        (["running"], 0, ["TimeoutError", True]),
    ]
    losses = [round(rng.uniform(1, 3), 2) for _ in range(3)]
    table = "step,train_loss,valid_loss\n" + "".join(
        f"{n},1.5,{losses[n // 4 - 1] if n % 4 == 0 else ''}\n" for n in range(1, 13)
    )
    things = [
        [status, [f"file-{rng.randint(1, 999)}{side}" for side in "tvrs"]]
        for status in ("succeeded", "failed", "cancelled")
    ]

    def prepare_judge(found: list) -> bool | str:
        train, validation, exam = found
        sizes = [len(train), len(validation), len(exam)]
        if sum(sizes) != len(pairs) or sizes[0] < sum(sizes) / 2 or min(sizes) < 5:
            return f"esperava perto de 70, 10 e 20% de {len(pairs)} pares, encontrei {sizes}"
        rows = [row[1:] for row in train + validation] + exam
        if sorted(rows) != sorted(pairs) or any(row[0] != SYSTEM for row in train + validation):
            return f"esperava os pares inteiros, com SYSTEM, encontrei {(train + validation)[0]}"
        return True

    def leak_judge(found: list) -> bool | str:
        train, validation, exam = ({row[-2] for row in part} for part in found)
        both = (train & validation) | (train & exam) | (validation & exam)
        return (
            not both
            or f"esperava nenhuma pergunta em duas partes, encontrei {len(both)}, como {min(both)!r}"
        )

    def wait_judge(found: list) -> bool | str:
        for (statuses, deadline, wanted), one in zip(waits, found, strict=True):
            if not (one[0].startswith(wanted[0]) and one[1] == wanted[1]):
                return f"com os estados {statuses} e prazo {deadline}, esperava {wanted}, encontrei {one}"
        return True

    def failure_judge(found: list) -> bool | str:
        wanted = [
            ("RuntimeError: ", "linha 3"),
            ("RuntimeError: ", "cancelled"),
            ("RuntimeError: ", "failed"),
        ]
        for one, (start, word) in zip(found, wanted, strict=True):
            if not one[0].startswith(start) or word not in one[0]:
                return f"esperava RuntimeError com {word!r}, encontrei {one[0]!r}"
        return True

    def better_judge(found: list) -> bool | str:
        from afina.tune.evaluate import judge  # brings torch, which the other criteria do without

        exam, said = found
        titles = [question.removeprefix("Describe the product: ") for question, _ in exam]
        scores = {
            name: judge(titles, texts, [sentence for _, sentence in exam])
            for name, texts in said.items()
        }
        gain = scores["tuned"]["attributes"] - scores["base"]["attributes"]
        if scores["tuned"]["chrf"] > 95:
            return "as frases do ajustado são as da loja, letra por letra: esperava as do modelo"
        return gain > 0.3 or f"esperava um ganho de 30 pontos sobre o base, encontrei {gain:.0%}"

    return {
        "prepare": Hidden(PARTS, pairs, prepare_judge),
        "leak": Hidden(PARTS, twice, leak_judge),
        "budget": Hidden(
            "[fits(rt.data / 'train.jsonl', *pair) for pair in inputs]",
            budgets,
            [share > 1 for _ in (1, 2, 5) for share in (0.9, 1.1)],
        ),
        "send": Hidden(
            SEND,
            names,
            [
                [
                    [[a, "fine-tune"], [b, "fine-tune"]],
                    ["gpt-4.1-mini-2025-04-14", f"file-{a}", f"file-{b}", "vitrine", 7],
                    2,
                ]
                for a, b in names
            ],
        ),
        "wait": Hidden(WAIT, [[statuses, deadline] for statuses, deadline, _ in waits], wait_judge),
        "failure": Hidden(
            WAIT,
            [[["running", "failed"], 5], [["queued", "cancelled"], 5], [["failed"], 5]],
            failure_judge,
        ),
        "curve": Hidden(CURVE, [table], [[[4 * (i + 1), loss] for i, loss in enumerate(losses)]]),
        "answers": Hidden(
            ANSWERS,
            pairs[:12],
            [
                [question.upper() for question, _ in pairs[:12]],
                sorted(
                    ["outro-modelo", 0, {"role": "system", "content": SYSTEM}, q]
                    for q, _ in pairs[:12]
                ),
            ],
        ),
        "clean": Hidden(
            CLEAN,
            things,
            [
                [4 + (s == "succeeded"), sorted([*n, *(["ft:modelo"] if s == "succeeded" else [])])]
                for s, n in things
            ],
        ),
        "better": Hidden("result", [], better_judge),
    }


# Those that break the real job too lose `better` as well: a job trained on the wrong file, or never finished, proves nothing.
WRONG = [
    Wrong("a prova sai do treino", {'return sides["test"]': 'return sides["train"][:20] + sides["test"]'}, loses=["prepare", "leak"]),
    Wrong("divisão pela posição, e o título vaza",
          {'places = assign_splits([question for question, _ in pairs], shares=(0.7, 0.1, 0.2))':
           'places = [("train", "validation", "test")[(n % 10 > 6) + (n % 10 > 7)] for n in range(len(pairs))]'}, loses=["leak"]),
    Wrong("custo de uma época só", {"epochs=epochs": "epochs=1"}, loses=["budget"]),
    Wrong("arquivos trocados", {"training_file=files[0].id": "training_file=files[1].id", "validation_file=files[1].id":
                               "validation_file=files[0].id"}, loses=["send", "better"]),
    Wrong("sem arquivo de validação", {"        validation_file=files[1].id,\n": ""}, loses=["send", "better"]),
    Wrong("espera só enquanto running", {"        time.sleep(pause)": '        if job.status != "running":\n            return job\n        time.sleep(pause)'},
          loses=["wait", "failure", "better"]),
    Wrong("espera sem prazo", {"if time.monotonic() > end:": "if False:"}, loses=["wait"]),
    Wrong("prazo que não cancela o job", {"            client.fine_tuning.jobs.cancel(job.id)\n": ""}, loses=["wait"]),
    Wrong("falha tomada por fim feliz", {'if job.status == "succeeded":': 'if job.status in ("succeeded", "failed", "cancelled"):'},
          loses=["failure"]),
    Wrong("CSV lido sem decodificar", {"base64.b64decode(client.files.content(job.result_files[0]).read())": "client.files.content(job.result_files[0]).read()"},
          loses=["curve"]),
    Wrong("passo sem medida vira zero", {'for row in rows if row["valid_loss"]]': "for row in rows]", 'float(row["valid_loss"])': 'float(row["valid_loss"] or 0)'},
          loses=["curve"]),
    Wrong("resposta sorteada", {"temperature=0": "temperature=1"}, loses=["answers"]),
    Wrong("prova sem a mensagem system", {'messages = [{"role": "system", "content": SYSTEM}, {"role"': 'messages = [{"role"'}, loses=["answers"]),
    Wrong("modelo deixado no serviço", {"        client.models.delete(job.fine_tuned_model)\n": "        pass\n"}, loses=["clean", "better"]),
    Wrong("arquivos de resultado esquecidos", {", *job.result_files]": "]"}, loses=["clean", "better"]),
]  # fmt: skip
