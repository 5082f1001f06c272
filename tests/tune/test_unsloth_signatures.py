"""The GPU road without a GPU: every keyword that the course gives to Unsloth and TRL exists in the pinned versions.

Unsloth asks for CUDA the moment it is imported, so its source is parsed, never run. `make setup` unpacks it beside the
environment; where it is missing these tests fail, because a road that nobody checks is not checked.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from afina.runtime import course_root
from afina.tune import load, prefer, sft

SOURCE = Path(sys.prefix) / "gpu-src"
OURS = [ast.parse(inspect.getsource(module)) for module in (load, sft, prefer)]


def functions(file: str, owner: str) -> dict[str, ast.FunctionDef]:
    path = SOURCE / file
    assert path.is_file(), (
        f"{path} is missing: the source of Unsloth is unpacked there by `make setup` "
        f"(pip install --no-deps --target {SOURCE} with the unsloth and unsloth_zoo lines of requirements-gpu.txt)"
    )
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def accepted(function: ast.FunctionDef) -> set[str]:
    """Names that a call may use; what would only fall into **kwargs is not one of them."""
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}


def passed(name: str) -> set[str]:
    """Keywords of every call to `name` in afina.tune."""
    nodes = (node for tree in OURS for node in ast.walk(tree))
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name)]
    assert calls, f"afina.tune never calls {name}"
    return {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}


@pytest.mark.parametrize(
    ("file", "owner", "method"),
    [
        ("unsloth/models/loader.py", "FastLanguageModel", "from_pretrained"),
        ("unsloth/models/llama.py", "FastLlamaModel", "from_pretrained"),
        ("unsloth/models/llama.py", "FastLlamaModel", "get_peft_model"),
    ],
)
def test_unsloth_takes_every_keyword_that_we_pass(file, owner, method):
    ours = passed(f"FastLanguageModel.{method}")
    if method == "get_peft_model":
        ours |= set(load.LoraSettings().arguments())
    assert len(ours) >= 4 and ours <= accepted(functions(file, owner)[method])


def test_unsloth_for_inference_takes_a_model_alone():
    functions_there = functions("unsloth/models/loader.py", "FastLanguageModel")
    assert [argument.arg for argument in functions_there["for_inference"].args.args] == ["model"]
    assert not passed("FastLanguageModel.for_inference")


def test_unsloth_forwards_get_peft_model_to_the_llama_class():
    body = ast.unparse(functions("unsloth/models/loader.py", "FastLanguageModel")["get_peft_model"])
    assert "FastLlamaModel.get_peft_model" in body


def test_unsloth_is_the_pinned_version():
    pins = (course_root() / "requirements-gpu.txt").read_text(encoding="utf-8")
    for package in ("unsloth", "unsloth_zoo"):
        version = re.search(rf"^{package}==(\S+)$", pins, re.M)[1]
        assert (SOURCE / f"{package}-{version}.dist-info").is_dir(), f"{package} {version} is not in {SOURCE}"


def test_unsloth_leaves_rows_with_ids_and_mask_alone():
    """Our rows come tokenised, with a completion_mask; Unsloth's own preparation must know that form."""
    path = SOURCE / "unsloth_zoo" / "dataset_utils.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prepare = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "sft_prepare_dataset")
    assert {"input_ids", "completion_mask"} <= {n.value for n in ast.walk(prepare) if isinstance(n, ast.Constant)}


def test_a_keyword_that_does_not_exist_is_noticed():
    there = accepted(functions("unsloth/models/llama.py", "FastLlamaModel")["get_peft_model"])
    assert "lora_aplha" not in there and "kwargs" not in there


@pytest.mark.parametrize(("ours", "theirs"), [("SFTConfig", SFTConfig), ("DPOConfig", DPOConfig)])
def test_trl_configurations_take_every_argument(ours, theirs, tmp_path):
    shared = set(sft.trainer_arguments(sft.TrainSettings(), tmp_path, False, False))
    assert shared | passed(ours) <= set(inspect.signature(theirs).parameters)


@pytest.mark.parametrize(("ours", "theirs"), [("SFTTrainer", SFTTrainer), ("DPOTrainer", DPOTrainer)])
def test_trl_trainers_take_every_argument(ours, theirs):
    assert passed(ours) <= set(inspect.signature(theirs).parameters)
