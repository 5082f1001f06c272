"""`afina train`: its configurations, one process against two, a process killed in the middle, and the files for clusters."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
import torch
import transformers
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from afina import cli, compat
from afina.errors import CourseError
from afina.gpt.model import GPT, GPTConfig
from afina.gpt.weights import load_gpt
from afina.runtime import course_root
from afina.scale import job as jobs
from afina.scale import train as launch
from afina.scale.job import BertJob, GPTJob, SftJob

ROOT = course_root()
ACCELERATE = ROOT / "train" / "accelerate"
SMALL = {
    "gpt": GPTJob(d_model=32, n_layers=2, steps=40, save_every=10, validation_rows=32, warmup=5),
    "bert": BertJob(examples=160, epochs=1, save_every=2),
    "sft": SftJob(rows=48, save_every=2),
}
slow = pytest.mark.skipif("AFINA_SLOW" not in os.environ, reason="um minuto: AFINA_SLOW=1 liga")


@pytest.fixture(autouse=True)
def one_process():
    """Each test asks Accelerate anew, and on one thread: two on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    AcceleratorState._reset_state(reset_partial_state=True)


def launched(how: str, script: list[str], **more) -> subprocess.Popen:
    """A process that runs `script` in two, in a session of its own, with what it says in a pipe."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(ACCELERATE / how), *script]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes, **more)


def finished(run: subprocess.Popen, seconds: int = 150) -> str:
    try:
        return run.communicate(timeout=seconds)[0]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


def written(path: Path, job) -> Path:
    path.write_text(yaml.safe_dump(asdict(job)), encoding="utf-8")
    return path


def report(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


# --- one process -----------------------------------------------------------------------------------------------------


def test_check_shows_the_whole_job_and_trains_nothing(tmp_path, capsys):
    assert cli.main(["train", "gpt", "--check", "--out", str(tmp_path / "x")]) == 0
    assert json.loads(capsys.readouterr().out) == asdict(GPTJob(out=str(tmp_path / "x")))
    assert list(tmp_path.iterdir()) == []


def test_a_run_appears_whole_and_is_not_done_twice(tmp_path, capsys):
    job = replace(SMALL["gpt"], out=str(tmp_path / "m"), steps=4, save_every=2)
    launch.run("gpt", job)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
    model, told = load_gpt(tmp_path / "m"), report(tmp_path / "m")
    assert model.config.d_model == 32 and len(told["losses"]) == 4 and list(told["validation_losses"]) == ["2", "4"]
    assert "passo 4 de 4" in capsys.readouterr().out
    with pytest.raises(CourseError, match="já terminou"):
        launch.run("gpt", job)
    launch.run("gpt", job, force=True)
    assert report(tmp_path / "m")["losses"] == told["losses"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    notes = tmp_path / "m.partial" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine", encoding="utf-8")
    with pytest.raises(CourseError, match="já há outra coisa com este nome"):
        launch.run("gpt", replace(SMALL["gpt"], out=str(tmp_path / "m")))
    with pytest.raises(CourseError, match="não é um treino, e não vou apagá-lo"):
        launch.run("gpt", replace(SMALL["gpt"], out=str(notes.parent)), force=True)
    assert notes.read_text(encoding="utf-8") == "mine"


def test_the_old_names_lead_here():
    from afina import launch as old

    assert (old.run, old.read_job, old.JOBS, old.GPTJob) == (launch.run, jobs.read_job, jobs.JOBS, GPTJob)


def test_a_batch_that_the_processes_cannot_share_and_another_runs_checkpoints_are_refused(tmp_path):
    with pytest.raises(CourseError, match="batch_size é 15, e 2 processos"):
        launch._share("batch_size", 15, 2)
    work = tmp_path / "m.partial"
    launch._open(work, {"kind": "gpt", "steps": 3})
    launch._open(work, {"kind": "gpt", "steps": 3})
    with pytest.raises(CourseError, match="outra corrida: steps era 3, agora é 4"):
        launch._open(work, {"kind": "gpt", "steps": 4})


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    for step, text in ((2, "[1]"), (10, "[1, 2]"), (12, '{"a'), (14, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if text:
            (tmp_path / f"checkpoint-{step}" / "diary.json").write_text(text, encoding="utf-8")
    (tmp_path / "checkpoint-16.partial").mkdir()
    assert [path.name for path in launch._whole_checkpoints(tmp_path, "diary.json")] == [
        "checkpoint-2",
        "checkpoint-10",
    ]
    assert not (tmp_path / "checkpoint-12").exists() and not (tmp_path / "checkpoint-14").exists()


def test_four_bits_and_fsdp_do_not_go_together(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    state = PartialState(cpu=True)
    with pytest.raises(CourseError, match="load_in_4bit: false"):
        launch._sft(SftJob(), tmp_path, state)


# --- two processes ---------------------------------------------------------------------------------------------------

BOTH_KINDS = """\
import json, sys
from accelerate import PartialState
from afina.scale import train as launch
from afina.scale.job import read_job
PartialState(cpu=True)  # one process group for both
for kind, path in json.loads(sys.argv[1]).items():
    launch.run(kind, read_job(kind, path))
"""


def test_two_processes_have_the_losses_of_one(tmp_path):
    script = tmp_path / "all.py"
    script.write_text(BOTH_KINDS, encoding="utf-8")
    shard = tmp_path / "train-00000.jsonl"
    rows = [
        {"title": f"Red Mug {n}", "content": f"Meet the red mug number {n}, made for every day."} for n in range(60)
    ]
    shard.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    jobs = {
        "bert": SMALL["bert"],
        "sft": replace(SMALL["sft"], data=str(shard)),
    }  # the GPT's are compared after its kill
    asked = {
        kind: str(written(tmp_path / f"{kind}.yaml", replace(job, out=str(tmp_path / f"{kind}2"))))
        for kind, job in jobs.items()
    }
    run = launched("processes.yaml", [str(script), json.dumps(asked)])
    for kind, job in jobs.items():  # meanwhile
        launch.run(kind, replace(job, out=str(tmp_path / f"{kind}1")))
        AcceleratorState._reset_state(reset_partial_state=True)
    said = finished(run)
    assert run.returncode == 0, said[-3000:]
    for kind in jobs:
        one, two = report(tmp_path / f"{kind}1"), report(tmp_path / f"{kind}2")
        assert (one["processes"], two["processes"]) == (1, 2)
        assert len(one["losses"]) > 4 and two["losses"] == pytest.approx(one["losses"], abs=2e-3), kind
        assert one["losses"][-1] != pytest.approx(one["losses"][0], abs=1e-2)


def kill_one_of_two(run: subprocess.Popen, checkpoints: Path, seconds: float = 90) -> None:
    """kill -9 of the second process as soon as a checkpoint is whole."""
    end = time.monotonic() + seconds
    while not any(checkpoints.glob("checkpoint-*[0-9]/[dt]*a*.json")):
        assert run.poll() is None and time.monotonic() < end, finished(run, 10)[-3000:]
        time.sleep(0.01)
    for child in psutil.Process(run.pid).children(recursive=True):
        if child.environ().get("RANK") == "1":
            child.kill()
            return
    raise AssertionError("no second process")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows knows no SIGKILL")
@pytest.mark.parametrize("kind", ["gpt", *(pytest.param(kind, marks=slow) for kind in ("bert", "sft"))])
def test_a_killed_process_ends_the_run_and_the_same_command_goes_on(tmp_path, kind):
    # long enough that the kill comes before the end
    long = {
        "gpt": {"steps": 80, "save_every": 4},
        "bert": {"examples": 0, "save_every": 10},
        "sft": {"rows": 480, "save_every": 5},
    }
    job = replace(SMALL[kind], out=str(tmp_path / "m"), **long[kind])
    command = ["-m", "afina.cli", "train", kind, "--config", str(written(tmp_path / "c.yaml", job))]
    run = launched("processes.yaml", command)
    kill_one_of_two(run, tmp_path / "m.partial" / "checkpoints")
    finished(run, 90)
    assert run.returncode != 0 and not (tmp_path / "m").exists()
    run = launched("processes.yaml", command)
    launch.run(kind, replace(job, out=str(tmp_path / "uncut")))  # meanwhile, in one process
    said = finished(run)
    assert run.returncode == 0, said[-3000:]
    cut, uncut = report(tmp_path / "m"), report(tmp_path / "uncut")
    assert 0 < cut["resumed_after"] < len(uncut["losses"]) and uncut["resumed_after"] == 0
    assert cut["losses"] == pytest.approx(uncut["losses"], abs=2e-2)


# FSDP asks Accelerate for a GPU. Here its own code, with the settings of fsdp.yaml, shards over two CPU processes all the same.
FSDP_ON_CPU = """\
import sys
import accelerate.accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor
from afina import cli
from afina.scale import train as launch

made = accelerate.accelerator.AcceleratorState.__init__

def with_fsdp(self, *arguments, **more):
    made(self, *arguments, **more)
    AcceleratorState._shared_state.setdefault("fsdp_plugin", FullyShardedDataParallelPlugin())
    for state in (AcceleratorState, PartialState):
        state._shared_state["distributed_type"] = DistributedType.FSDP

accelerate.accelerator.AcceleratorState.__init__ = with_fsdp
steps = launch._steps

def watched(accelerator, model, *rest):
    weights = dict(model.named_parameters())
    shares = {p.to_local().numel() / p.numel() for p in weights.values() if isinstance(p, DTensor)}
    blocks = sum(type(module).__name__ == "FSDPBlock" for module in model.modules())
    print("sharded", len(shares) and max(shares), "of", len(weights), "blocks", blocks, flush=True)
    return steps(accelerator, model, *rest)

launch._steps = watched
raise SystemExit(cli.main(["train", *sys.argv[1:]]))
"""


@slow
def test_fsdp_shards_the_gpt_over_two_processes_and_goes_on_after_a_kill(tmp_path):
    script = tmp_path / "fsdp.py"
    script.write_text(FSDP_ON_CPU, encoding="utf-8")
    job = replace(SMALL["gpt"], out=str(tmp_path / "m"), steps=100)
    command = [str(script), "gpt", "--config", str(written(tmp_path / "c.yaml", job))]
    run = launched("fsdp.yaml", command)
    kill_one_of_two(run, tmp_path / "m.partial" / "checkpoints")
    finished(run, 90)
    assert run.returncode != 0 and not (tmp_path / "m").exists()
    run = launched("fsdp.yaml", command)
    launch.run("gpt", replace(job, out=str(tmp_path / "uncut")))
    said = finished(run)
    assert run.returncode == 0, said[-3000:]
    assert "sharded 0.5 of" in said and "blocks 2" in said
    cut, uncut = report(tmp_path / "m"), report(tmp_path / "uncut")
    assert cut["resumed_after"] > 0 and cut["losses"] == pytest.approx(uncut["losses"], abs=2e-2)
    whole = load_gpt(tmp_path / "uncut").state_dict()
    for name, tensor in load_gpt(tmp_path / "m").state_dict().items():
        assert torch.allclose(tensor, whole[name], atol=5e-2), name


# --- several GPUs and clusters, dry ----------------------------------------------------------------------------------


def settings(*words: str):
    """The arguments that `accelerate launch` would work with."""
    return _validate_launch_command(launch_command_parser().parse_args(words))[0]


@pytest.mark.parametrize("name", sorted(path.name for path in ACCELERATE.iterdir()))
def test_accelerate_accepts_each_file_and_knows_each_key(name, monkeypatch):
    asked = yaml.safe_load((ACCELERATE / name).read_text(encoding="utf-8"))
    known = vars(launch_command_parser().parse_args(["x.py"]))
    for part in ("fsdp_config", "deepspeed_config"):  # Accelerate drops a word it does not know in silence
        assert set(asked.get(part, {})) <= set(known), name
    args = settings("--config_file", str(ACCELERATE / name), "-m", "afina.cli", "train", "gpt")
    kinds = {"processes.yaml": "multi_gpu", "fsdp.yaml": "use_fsdp", "deepspeed.yaml": "use_deepspeed"}
    assert [kind for kind in kinds.values() if getattr(args, kind)] == [kinds[name]]
    assert args.num_processes == 2 and args.training_script == "afina.cli"
    for key, value in (asked.get("fsdp_config", {}) | asked.get("deepspeed_config", {})).items():
        assert getattr(args, key) == value


def llama():
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=8, hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=2
        )
    )


def encoder():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=8, **sizes))


def hand_made():
    model = GPT(GPTConfig(8, 4, 8, 2, 2))
    compat.wrap_by_fsdp(model, launch.FSDP_WRAPS)
    return model


@pytest.mark.parametrize("make", [hand_made, encoder, llama])
def test_fsdp_finds_the_layers_to_wrap_in_each_model(make, monkeypatch):
    for name, value in prepare_multi_gpu_env(settings("--config_file", str(ACCELERATE / "fsdp.yaml"), "x.py")).items():
        monkeypatch.setenv(name, value)
    plugin, model = FullyShardedDataParallelPlugin(), make()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    plugin.set_auto_wrap_policy(model)
    wrapped = [m for m in model.modules() if plugin.auto_wrap_policy(module=m, recurse=False, nonwrapped_numel=1)]
    assert len([m for m in wrapped if type(m).__name__ in ("Block", "BertLayer", "LlamaDecoderLayer")]) == 2


def test_deepspeed_gets_the_stage_the_clipping_and_the_batch(monkeypatch):
    args = settings("--config_file", str(ACCELERATE / "deepspeed.yaml"), "x.py")
    args.deepspeed_fields_from_accelerate_config = ""
    for name, value in prepare_deepspeed_cmd_env(args)[1].items():
        monkeypatch.setenv(name, value)
    plugin = DeepSpeedPlugin()
    assert (
        plugin.deepspeed_config["zero_optimization"]["stage"] == 2 and plugin.deepspeed_config["gradient_clipping"] == 1
    )
    assert plugin.deepspeed_config["train_micro_batch_size_per_gpu"] == "auto"  # what _gpt fills in


@pytest.mark.skipif(os.name != "posix", reason="bash")
def test_the_slurm_job_launches_a_command_that_both_programs_understand(tmp_path):
    """Slurm's two programs and the launcher are stand-ins that say what they were asked."""
    job = ROOT / "train" / "job.slurm"
    text = job.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", job]).returncode == 0
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in text.splitlines() if "#SBATCH" in line)
    shutil.copytree(ROOT / "train", tmp_path / "train")
    stands = {
        "bin/scontrol": "printf 'no1\\nno2\\n'",
        "bin/srun": '[ "$1" = --kill-on-bad-exit=1 ] && shift && SLURM_PROCID=1 exec "$@"',
        ".venv/bin/accelerate": "printf '%s\\n' \"$@\" > asked.txt",
    }
    for name, body in stands.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "no[1-2]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "77"}
    env = os.environ | slurm | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", job, "sft"], cwd=tmp_path, env=env).returncode == 0
    words = (tmp_path / "asked.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert words.pop(0) == "launch"
    os.chdir(ROOT)
    args = settings(*words)
    assert (args.num_machines, args.num_processes, args.machine_rank, args.main_process_ip) == (2, 8, 1, "no1")
    assert args.main_process_port == 20077 and args.same_network
    assert (args.training_script, args.training_script_args[0]) == ("afina.cli", "train")
    assert cli.main([*args.training_script_args, "--check"]) == 0
    assert subprocess.run(["bash", job], cwd=tmp_path, env=env, capture_output=True).returncode != 0


def test_the_ray_job_is_python_that_asks_for_what_exists():
    tree = ast.parse((ROOT / "train" / "job_ray.py").read_text(encoding="utf-8"))
    ours = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("afina.scale")
    ]
    homes = {"afina.scale.train": launch, "afina.scale.job": jobs}
    assert ours and all(hasattr(homes[node.module], name.name) for node in ours for name in node.names)
