"""Lessons 09, 13 and 14 as one command each, in as many processes as `accelerate launch` starts (`afina train`).

`batch_size` is that of all processes together, and so are the losses. Checkpoints lie in `<out>.partial/`: killed, the same command
goes on from the last whole one. `out` appears at the end, with `training.json`: what was asked, in how many processes, each loss.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType

from afina import compat, whole
from afina.errors import require
from afina.gpt.loader import read_documents
from afina.gpt.model import GPT, GPTConfig, next_token_loss
from afina.gpt.tokenizer import load_tokenizer, save_tokenizer
from afina.gpt.train import Recipe, batch_of, evaluate, learning_rate_at, make_optimizer, windows
from afina.gpt.weights import save_gpt
from afina.ptbr import decimal
from afina.runtime import Runtime, course_root
from afina.scale.job import BertJob, GPTJob, Job, SftJob

KEPT = 2  # checkpoints
FSDP_WRAPS = ["Block"]  # what FSDP wraps one by one in our GPT


def _place(name: str) -> str:
    """A file or folder here or in the course; else the name as it is, which may be a model's on the hub."""
    return next((str(path) for path in (Path(name), course_root() / name) if path.exists()), name)


def _share(name: str, total: int, processes: int) -> int:
    problem = f"{name} é {total}, e {processes} processos não o dividem em partes iguais."
    remedy = f"Use um múltiplo de {processes}: ele é o total de todos os processos."
    require(total % processes == 0, problem, remedy, "afina train")
    return total // processes


def run(kind: str, job: Job, force: bool = False) -> Path:
    """Do the job in the processes that were launched; returns `job.out`, which the first of them makes."""
    out = Path(job.out)
    work = out.with_name(out.name + ".partial")
    ours = not torch.distributed.is_initialized()  # Ray brings its own process group
    on_cpu = Runtime.here(show=False).device == "cpu"
    if on_cpu:  # else process 1 works on "cpu:1", a name that torch.load does not know when Trainer resumes
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    state = PartialState(cpu=on_cpu)
    if os.path.lexists(whole.mend(out)):
        require(force, "este treino já terminou.", "Use outro out, ou --force para refazê-lo.", out)
        ours_too = (out / "training.json").is_file()
        require(ours_too, "isto não é um treino, e não vou apagá-lo.", "Use outro out.", out)
    asked = {"kind": kind} | asdict(job)
    road, last_part = _ROADS[kind]
    try:
        with state.main_process_first():
            if state.is_main_process:
                _open(work, asked)
                _whole_checkpoints(work / "checkpoints", last_part)
        state.wait_for_everyone()
        start = time.perf_counter()
        report = road(job, work, state)
        if state.is_main_process:
            seconds, processes = time.perf_counter() - start, state.num_processes
            machine = {"processes": processes, "threads": torch.get_num_threads(), "device": state.device.type}
            about = {"job": asked} | machine | report | {"seconds": round(seconds, 2)}
            whole.write(work / "model" / "training.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
            whole.put(work / "model", out, marks=("training.json",))
            whole.discard(work)
            print(f"pronto em {seconds:.0f} s, {processes} processo(s): {out}", flush=True)
        state.wait_for_everyone()
    finally:
        if ours and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # left open, its threads now and then abort the process at exit
    return out


def _open(work: Path, asked: dict) -> None:
    """Make the folder of a new run, or check that the one there was begun by the same job."""
    note = whole.mend(work) / "job.json"
    if not os.path.lexists(work):
        with whole.new_folder(work) as aside:
            whole.write(aside / note.name, json.dumps(asked, indent=1) + "\n")
    problem = "os pontos salvos ficariam aqui, e já há outra coisa com este nome."
    require(note.is_file(), problem, "Tire-a daqui, ou use outro out.", work)
    begun = json.loads(note.read_text(encoding="utf-8"))
    changed = [f"{key} era {begun.get(key)!r}, agora é {asked[key]!r}" for key in asked if begun.get(key) != asked[key]]
    problem = f"há pontos salvos de outra corrida: {', '.join(changed)}."
    remedy = "Volte à configuração dela, apague a pasta para começar de novo, ou use outro out."
    require(not changed, problem, remedy, work)


def _whole_checkpoints(folder: Path, last_part: str) -> list[Path]:
    """Checkpoints from old to new. A part written last is missing from one that was cut off: that one is removed."""
    found = sorted(folder.glob("checkpoint-*[0-9]"), key=lambda path: int(path.name.rpartition("-")[2]))
    good = []
    for path in found:
        try:
            json.loads((path / last_part).read_text(encoding="utf-8"))
            good.append(path)
        except (OSError, ValueError):
            whole.discard(path)
    return good


def _gpt(job: GPTJob, work: Path, state: PartialState) -> dict:
    precision = {"fp32": "no"}.get(Runtime.here(show=False).precision, Runtime.here(show=False).precision)
    accelerator = Accelerator(cpu=state.device.type == "cpu", mixed_precision=precision)
    tokenizer = load_tokenizer(Path(_place(job.tokenizer)))
    texts = [read_documents(Path(_place(name))) for name in (job.corpus, job.validation)]
    rows, held_out = (windows(tokenizer, documents, job.context) for documents in texts)
    problem = f"há {len(rows)} janelas de treino e {len(held_out)} de validação: poucas."
    enough = len(held_out) >= job.validation_rows and len(rows) >= job.batch_size
    require(enough, problem, "Dê mais texto, ou diminua context, batch_size ou validation_rows.", job.corpus)
    share = _share("batch_size", job.batch_size, state.num_processes)
    measured = _share("validation_rows", job.validation_rows, state.num_processes)
    my_held_out = [held_out[n] for n in range(state.process_index * measured, (state.process_index + 1) * measured)]
    recipe = Recipe(job.steps, job.batch_size, job.learning_rate, job.warmup, seed=job.seed)
    torch.manual_seed(job.seed)
    config = GPTConfig(len(tokenizer), job.context, job.d_model, job.n_heads, job.n_layers, job.dropout)
    model = GPT(config)
    compat.wrap_by_fsdp(model, FSDP_WRAPS)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:  # it reads the batch from a loader, and we have none
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = share
    model, optimizer = accelerator.prepare(model, make_optimizer(model, recipe))
    found, diary = _whole_checkpoints(work / "checkpoints", "diary.json"), []
    if found:  # model and optimizer as they were then
        accelerator.load_state(str(found[-1]))
        diary = json.loads((found[-1] / "diary.json").read_text(encoding="utf-8"))
    begun = len(diary)
    mine = slice(state.process_index * share, (state.process_index + 1) * share)
    for entry in _steps(accelerator, model, optimizer, rows, recipe, begun, mine):
        diary.append(entry)
        if entry["step"] % job.save_every == 0 or entry["step"] == job.steps:
            loss = torch.tensor(evaluate(accelerator.unwrap_model(model), my_held_out), device=state.device)
            entry["validation_loss"] = accelerator.reduce(loss, "mean").item()
            _save(accelerator, work, diary)
            if state.is_main_process:
                losses = f"perda {decimal(entry['loss'])}, validação {decimal(entry['validation_loss'])}"
                print(f"passo {entry['step']} de {job.steps}: {losses}", flush=True)
    weights = accelerator.get_state_dict(model)  # whole, also where FSDP cut them
    if state.is_main_process:
        one = GPT(config)
        one.load_state_dict({name: tensor.cpu() for name, tensor in weights.items()})
        save_gpt(one, work / "model")
        save_tokenizer(tokenizer, work / "model" / "tokenizer.json")
    return {
        "losses": [entry["loss"] for entry in diary],
        "validation_losses": {entry["step"]: entry["validation_loss"] for entry in diary if "validation_loss" in entry},
        "resumed_after": begun,
        "examples": (job.steps - begun) * job.batch_size,
    }


def _steps(accelerator, model, optimizer, rows, recipe: Recipe, begun: int, mine: slice) -> Iterator[dict]:
    """The loop of lesson 09, in which each process takes its part of the batch and Accelerate averages the gradients."""
    for step in range(begun, recipe.steps):
        torch.manual_seed(recipe.seed + step + 1_000_003 * accelerator.process_index)  # dropout: its own in each part
        model.train()
        inputs, targets = (part[mine].to(accelerator.device) for part in batch_of(step, rows, recipe))
        loss = next_token_loss(model(inputs), targets)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, recipe)
        optimizer.step()
        optimizer.zero_grad()
        yield {"step": step + 1, "loss": accelerator.reduce(loss.detach().clone(), "mean").item()}


def _save(accelerator: Accelerator, work: Path, diary: list[dict]) -> None:
    """Everything that training needs, aside; then the first process gives it its name."""
    place = work / "checkpoints" / f"checkpoint-{len(diary)}"
    aside = place.with_name(place.name + ".partial")
    if accelerator.is_main_process:
        whole.discard(aside)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        whole.write(aside / "diary.json", json.dumps(diary))
        whole.put(aside, place)
        for old in _whole_checkpoints(place.parent, "diary.json")[:-KEPT]:
            whole.discard(old)


def _places(work: Path) -> dict:
    """Where both trainers of `afina.tune` keep and say things."""
    from afina.tune.bert import Teller  # the GPT by hand needs none of this, and starts in half the time

    return {"checkpoints": work / "checkpoints", "save_to": work / "model", "callbacks": [Teller()]}


def _bert(job: BertJob, work: Path, state: PartialState) -> dict:
    from transformers import BertTokenizerFast

    from afina.tune import bert

    source = _place(job.model)
    model, tokenizer = bert.classifier(source, seed=job.seed), BertTokenizerFast.from_pretrained(source)
    texts, labels = (column[: job.examples or None] for column in bert.read_reviews("train"))
    settings: dict = {name: getattr(job, name) for name in ("epochs", "learning_rate", "seed")}
    settings["per_device_train_batch_size"] = _share("batch_size", job.batch_size, state.num_processes)
    settings |= {"logging_steps": 1, "save_steps": job.save_every, **_places(work)}
    # grouping by length would group the part of each process: another order for each number of them
    settings["sampling"] = "random"
    tuned = bert.fine_tune(model, tokenizer, (texts, labels), bert.read_reviews("validation"), **settings)
    scores = [row["eval_accuracy"] for row in tuned.history if "eval_accuracy" in row]
    losses = [row["loss"] for row in tuned.history if "loss" in row]
    return {"losses": losses, "validation_accuracy": scores, "resumed_after": tuned.resumed_after}


def _sft(job: SftJob, work: Path, state: PartialState) -> dict:
    from afina.tune import sft

    four_bits_cut = job.load_in_4bit and os.environ.get("ACCELERATE_USE_FSDP") == "true"
    problem = "o FSDP reparte pesos de 16 ou 32 bits, e load_in_4bit os guarda em 4."
    remedy = "Use load_in_4bit: false, ou train/accelerate/processes.yaml."
    require(not four_bits_cut, problem, remedy, "afina train sft")
    lora = sft.LoraSettings(job.rank, job.alpha, modules_to_save=("embed_tokens",) if job.train_embeddings else ())
    model, tokenizer = sft.load_for_sft(_place(job.model), job.max_seq_length, job.load_in_4bit, lora, seed=job.seed)
    share = _share("batch_size", job.batch_size, state.num_processes)
    known = {field.name for field in fields(sft.TrainSettings)} & asdict(job).keys()
    given = {name: getattr(job, name) for name in known} | {"batch_size": share, "sampling": "random"}
    rows, settings = _asked(job, work, state, tokenizer), sft.TrainSettings(**given)
    trained = sft.train(model, tokenizer, rows, settings, **_places(work))
    return {"losses": trained.losses, "resumed_after": trained.resumed_after, "rows": str(trained.prepared)}


def _asked(job: SftJob, work: Path, state: PartialState, tokenizer) -> list[dict[str, str]]:
    """The first `rows` of the shard that fit whole, each asked in the phrasing whose turn it is, as in lesson 14."""
    from afina.data.prep import prep
    from afina.tune import sft

    place = Path(_place(job.data))
    if place.suffix != ".jsonl":
        with state.main_process_first():  # the others find it done
            prep(place, work / "catalogue", shard_rows=10_000_000, formats=["jsonl"], progress=False)
        place = work / "catalogue" / "train-00000.jsonl"
    fitting: list[dict[str, str]] = []
    for row in sft.read_shard(place):
        row |= sft.add_question_column(row, len(fitting))
        columns = sft.formatting_prompts_func({name: [row[name]] for name in row}, tokenizer.eos_token)
        if len(tokenizer(columns["text"][0], verbose=False)["input_ids"]) <= job.max_seq_length:
            fitting.append({"prompt": columns["prompt"][0], "completion": columns["completion"][0]})
        if len(fitting) == job.rows:
            break
    return fitting


_ROADS: dict[str, tuple[Callable[..., dict], str]] = {  # each with the part of a checkpoint that is written last
    "gpt": (_gpt, "diary.json"),
    "bert": (_bert, "trainer_state.json"),
    "sft": (_sft, "trainer_state.json"),
}
