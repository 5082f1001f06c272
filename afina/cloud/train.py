"""The training process of the twins: `python -m afina.cloud.train`, one job at a time, in order.

It shares the store of the serving process and ends with it (its standard input closes). A job that was running when the
process died goes on from its last saved step.

Learning rates are scaled: the services' own would hardly move a model this small. OpenAI's multiplier counts units of
`SFT_UNIT` or `DPO_UNIT`; Bedrock's learningRate counts relative to its default, which stands for a multiplier of 2.
Bedrock's batch of one record is not followed: the twin chooses, as for OpenAI's "auto".
"""

import base64
import contextlib
import functools
import gc
import json
import os
import secrets
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from afina import whole
from afina.chat.turn import prompt_text
from afina.child import options, wait_for_parent
from afina.cloud.intake import add_file, csv_text, fail, forget_model, job_event, job_folder
from afina.cloud.store import Store, new_id, now
from afina.errors import CourseError
from afina.tune.rows import prepare

SFT_UNIT, DPO_UNIT = 5e-3, 1e-3
AUTO_SFT, AUTO_DPO = 2.0, 0.1  # what learning_rate_multiplier "auto" becomes
RANK = 16
CHECKPOINTS_KEPT = 3
WAITING = ("queued", "running")  # for a training process: a job that runs while none lives is its next too
COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


class Gone(Exception):
    """The job is no longer this process's: cancelled, paused, or failed, or taken over by another start."""


def read_rows(path: Path, form: str, tokenizer) -> list[dict]:
    """The file's examples as `afina.tune.sft` takes them: one row an answer that counts, or one a preference pair."""
    with path.open(encoding="utf-8-sig") as file:
        return [row for line in file if line.strip() for row in _rows_of(json.loads(line), form, tokenizer)]


def _rows_of(row: dict, form: str, tokenizer) -> Iterator[dict]:
    if form == "openai-dpo":
        sides = {"chosen": "preferred_output", "rejected": "non_preferred_output"}
        texts = {side: "\n".join(_plain(message)["content"] for message in row[key]) for side, key in sides.items()}
        yield {"prompt": prompt_text(tokenizer, [_plain(message) for message in row["input"]["messages"]]), **texts}
        return
    if form == "bedrock-completion":
        messages = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
    else:
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        messages = system + row["messages"]
    plain = [_plain(message) for message in messages]
    for place, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight") != 0:
            yield {"prompt": prompt_text(tokenizer, plain[:place]), "completion": plain[place]["content"]}


def _plain(message: dict) -> dict:
    """Role and text of a message; a tool call counts as its JSON. CourseError: pictures, which this model cannot see."""
    content = message.get("content") or ""
    if isinstance(content, list):
        if not all("text" in part for part in content):
            raise CourseError("The local model trains on text only: an example has another kind of content.")
        content = "\n".join(part["text"] for part in content)
    if message.get("tool_calls"):
        content = f"{content}\n{json.dumps(message['tool_calls'], ensure_ascii=False)}".strip()
    return {"role": message["role"], "content": content}


def answer_scores(model, tokenizer, rows: list[dict]):
    """(rows, 3): of each {"prompt", "completion"} the answer's log-probability, its tokens, and how many the model would guess."""
    scores = []
    with torch.inference_mode():
        for row in prepare(rows, tokenizer, model.config.max_position_embeddings).rows:
            ids = torch.tensor(row["input_ids"])
            mask = torch.tensor(row["completion_mask"][1:], dtype=torch.bool)
            guesses, right = model(input_ids=ids[None]).logits[0, :-1].float().log_softmax(-1)[mask], ids[1:][mask]
            hits = guesses.argmax(-1) == right
            scores.append([float(guesses.gather(-1, right[:, None]).sum()), len(right), int(hits.sum())])
    return torch.tensor(scores, dtype=torch.float64)


def validation_figures(model, tokenizer, rows: list[dict], beta: float | None) -> tuple[float, float]:
    """(loss, accuracy) on held-out rows: per token of the answers, or, with `beta`, of the preferences."""

    def log_probability(side: str):
        answers = [{"prompt": row["prompt"], "completion": row[side]} for row in rows]
        return answer_scores(model, tokenizer, answers)[:, 0]

    model.eval()
    try:
        if beta is None:
            score, tokens, hits = answer_scores(model, tokenizer, rows).sum(0).tolist()
            return -score / tokens, hits / tokens
        learned = log_probability("chosen") - log_probability("rejected")
        with model.disable_adapter():
            margins = beta * (learned - log_probability("chosen") + log_probability("rejected"))
        return float(-torch.nn.functional.logsigmoid(margins).mean()), float((margins > 0).double().mean())
    finally:
        model.train()


def decide_hyperparameters(job: dict, examples: int) -> dict:
    """The job's hyperparameters with every "auto" decided."""
    auto = {
        "n_epochs": 3,
        "batch_size": max(1, min(16, examples // 15)),
        "learning_rate_multiplier": AUTO_DPO if job["method"] == "dpo" else AUTO_SFT,
        "beta": 0.1,
    }
    return {key: auto[key] if value == "auto" else value for key, value in job["hyperparameters"].items()}


class JobRun:
    """One job being trained: what its callbacks share."""

    def __init__(self, store: Store, base: Path, job: dict, owner: str):
        self.store, self.base, self.job, self.owner = store, base, job, owner
        self.folder = job_folder(store, job["id"])
        self.reported = job.get("step", 0)
        self.began = time.time()

    @contextlib.contextmanager
    def mine(self) -> Iterator[dict]:
        """The job, to be changed, provided it still is ours and running; Gone otherwise."""
        with self.store.edit("job", self.job["id"]) as self.job:
            if not self._is_mine(self.job):
                raise Gone
            yield self.job

    def event(self, message: str, **more) -> None:
        job_event(self.store, self.job["id"], message, **more)

    def should_stop(self) -> bool:
        return not self._is_mine(self.store.get("job", self.job["id"]) or {})

    def _is_mine(self, job: dict) -> bool:
        return job.get("status") == "running" and job.get("owner") == self.owner

    def __call__(self) -> None:
        from afina.chat.checkpoint import load_model
        from afina.tune.load import LoraSettings, load_for_sft
        from afina.tune.prefer import train_dpo
        from afina.tune.sft import TrainSettings, train

        job, source = self.job, self.base
        if job["layers"]:  # go on from a tuned model: its adapters become part of the weights
            source = self.folder / "start"
            shutil.copytree(self.base, source, ignore=shutil.ignore_patterns("*.safetensors*"), dirs_exist_ok=True)
            load_model(self.base, tuple(job["layers"])).save_pretrained(source)
        room = json.loads((self.base / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
        lora = LoraSettings(r=RANK, alpha=RANK)
        self.model, self.tokenizer = load_for_sft(source, room, False, lora, seed=job["seed"] % 2**31)
        rows = read_rows(self.folder / "train.jsonl", job["format"], self.tokenizer)
        valid = self.folder / "valid.jsonl"
        self.valid = read_rows(valid, job["format"], self.tokenizer) if valid.exists() else []
        values = decide_hyperparameters(job, len(rows))
        with self.mine() as job:
            job.update(hyperparameters=values)
        self.beta = values.get("beta") if job["method"] == "dpo" else None
        unit = DPO_UNIT if self.beta is not None else SFT_UNIT
        batch = min(int(values["batch_size"]), len(rows))
        steps = -(-len(rows) // batch) * int(values["n_epochs"])
        settings = TrainSettings(
            epochs=int(values["n_epochs"]), batch_size=batch, accumulation=1, warmup_steps=values.get("warmup", 0) // batch,
            optimizer="adamw_torch", learning_rate=values["learning_rate_multiplier"] * unit, max_seq_length=room,
            sampling="random", save_every=max(1, min(20, steps // 4)), seed=job["seed"] % 2**31,
        )  # fmt: skip
        again = f"resumed after step {self.reported}"
        self.event(f"Fine-tuning job {again if self.reported else 'started'}")
        road = train if self.beta is None else functools.partial(train_dpo, beta=self.beta)
        trained = road(
            self.model, self.tokenizer, rows, settings, on_step=self.on_step, should_stop=self.should_stop,
            checkpoints=self.folder / "resume",
        )  # fmt: skip
        if self.should_stop():
            raise Gone
        if trained.prepared.cut or trained.prepared.dropped:
            what = f"{trained.prepared.cut} example(s) cut at the local model's {room} tokens"
            self.event(f"{what}, {trained.prepared.dropped} left out", level="warn")
        self.finish(trained)

    def on_step(self, step: int, steps: int, loss: float) -> None:
        if step > self.reported:
            self.reported = step
            end = time.time() + (steps - step) * (time.time() - self.began) / step
            with self.mine() as job:
                job.update(step=step, estimated_finish=int(end) + 1)
            data = {"step": step, "train_loss": loss, "total_steps": steps}
            self.event(f"Step {step}/{steps}: training loss={loss:.2f}", data=data)
        if step % (steps // int(self.job["hyperparameters"]["n_epochs"])) == 0:
            self.checkpoint(step, loss)

    def checkpoint(self, step: int, loss: float) -> None:
        """Keep the adapter as it is now, usable as a model; of one job the last three stay."""
        made = self.store.all("checkpoint", self.job["id"])
        if any(checkpoint["step_number"] == step for checkpoint in made):
            return  # before the process died
        if not all(weight.isfinite().all() for name, weight in self.model.named_parameters() if "lora_" in name):
            message = "Training diverged: the weights are no longer finite. Lower the learning rate."
            fail(self.store, self.job["id"], "training_diverged", message)
            raise Gone
        name, folder = f"{self.job['new_model']}:ckpt-step-{step}", self.folder / f"step-{step}"
        self.model.save_pretrained(folder, selected_adapters=["default"])
        metrics = {"step": step, "train_loss": loss}
        if self.valid:
            figures = validation_figures(self.model, self.tokenizer, self.valid, self.beta)
            metrics |= dict(zip(("full_valid_loss", "full_valid_mean_token_accuracy"), figures, strict=True))
            # the table of results wants them also when the checkpoint has gone
            (self.folder / f"valid-{step}.json").write_text(json.dumps(metrics), encoding="utf-8")
        record = {
            "id": new_id("ftckpt_"), "object": "fine_tuning.job.checkpoint", "created_at": now(),
            "fine_tuned_model_checkpoint": name, "fine_tuning_job_id": self.job["id"], "step_number": step,
            "metrics": metrics,
        }  # fmt: skip
        add_model(self.store, name, self.job, [*self.job["layers"], str(folder)], checkpoint=True)
        self.store.add("checkpoint", record["id"], record, parent=self.job["id"])
        self.event(f"Checkpoint created at step {step}")
        for old in sorted([*made, record], key=lambda checkpoint: checkpoint["step_number"])[:-CHECKPOINTS_KEPT]:
            self.store.delete("checkpoint", old["id"])
            forget_model(self.store, old["fine_tuned_model_checkpoint"])

    def table(self, history: list[dict]) -> list[dict]:
        """One row a step, in the columns of the service's result file; validation figures where an epoch ended."""
        measured = [json.loads(path.read_text(encoding="utf-8")) for path in self.folder.glob("valid-*.json")]
        at = {metrics["step"]: {key.removeprefix("full_"): metrics[key] for key in metrics} for metrics in measured}
        accuracy = "mean_token_accuracy" if self.beta is None else "rewards/accuracies"
        names = {"step": "step", "loss": "train_loss", accuracy: "train_accuracy", "epoch": "epoch"}
        return [
            dict.fromkeys(COLUMNS, "") | at.get(row["step"], {}) | {name: row[key] for key, name in names.items()}
            for row in history
        ]

    def finish(self, trained) -> None:
        table = self.table(trained.history)
        layers = [*self.job["layers"], str(self.folder / f"step-{trained.steps}")]
        tokens = trained.prepared.tokens * int(self.job["hyperparameters"]["n_epochs"])
        with contextlib.suppress(OSError):  # what Windows holds on to does no harm here
            whole.discard(self.folder / "resume")
        if self.job["service"] == "bedrock":  # the serving process writes the results to S3
            (self.folder / "metrics.json").write_text(json.dumps(table), encoding="utf-8")
            with self.mine() as job:
                job.update(status="delivering", new_layers=layers, trained_tokens=tokens)
            return
        content = base64.b64encode(csv_text(COLUMNS, ([row[name] for name in COLUMNS] for row in table)).encode())
        with self.mine() as job:  # one transaction: a job that was cancelled meanwhile leaves no model and no file
            file = add_file(self.store, "step_metrics.csv", "fine-tune-results", content)
            add_model(self.store, job["new_model"], job, layers, checkpoint=False)
            job.update(
                status="succeeded", finished_at=now(), fine_tuned_model=job["new_model"], result_files=[file["id"]],
                trained_tokens=tokens,
            )  # fmt: skip
            self.event("New fine-tuned model created")
            self.event("The job has successfully completed")


def add_model(store: Store, name: str, job: dict, layers: list[str], checkpoint: bool) -> None:
    body = {"id": name, "service": job["service"], "base": job["family"], "layers": layers, "job": job["id"]}
    body |= {"checkpoint": checkpoint, "created_at": now()}
    store.delete("model", name)  # left by a process that died just after
    store.add("model", name, body)


def claim(store: Store, owner: str) -> dict | None:
    """The oldest job that waits, or that a dead process left running; it is `owner`'s now."""
    for waiting in store.all("job"):
        if waiting["status"] in WAITING:
            with store.edit("job", waiting["id"]) as job:
                if job["status"] in WAITING:  # still
                    job.update(status="running", owner=owner, starts=job.get("starts", 0) + 1)
                    return job
    return None


def work(store: Store, base: Path) -> None:
    """Jobs, one after another, for ever."""
    owner = secrets.token_hex(8)
    while True:
        job = claim(store, owner)
        if job is None:
            time.sleep(0.1)
            continue
        try:
            JobRun(store, base, job, owner)()
        except Gone:
            continue
        except CourseError as error:
            fail(store, job["id"], "invalid_training_file", str(error), "training_file")
        except Exception as error:
            traceback.print_exc()
            fail(store, job["id"], "server_error", f"The local twin could not train: {error}")


def _end_with_parent() -> None:
    wait_for_parent()
    os._exit(0)


def main() -> int:
    given = options()
    os.environ.update(AFINA_PROFILE="cpu", AFINA_PROGRESS="0", HF_HUB_OFFLINE="1")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    from trl import SFTTrainer  # noqa: F401  (a few seconds, paid while the first job's files are checked)

    import afina.tune.sft  # noqa: F401

    gc.freeze()  # the trainer collects garbage after each run; without this it walks all of torch, half a second a job
    work(Store(Path(given["folder"])), Path(given["base"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
