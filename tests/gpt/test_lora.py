"""LoRA by hand: proofs against peft, files and bad input, and mutants that each proof must refuse."""

import inspect
import json
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from afina.errors import CourseError
from afina.gpt import lora
from afina.gpt.lora import (
    EVERY_MATRIX,
    LoRALinear,
    LoRASettings,
    add_lora,
    base_fingerprint,
    count_weights,
    load_lora,
    lora_layers,
    lora_state,
    merge,
    save_lora,
)
from afina.gpt.model import GPT, GPTConfig
from afina.gpt.train import Recipe, train
from afina.gpt.weights import PARTS, read_tensors, to_gpt2, write_tensors

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = GPTConfig(vocab_size=90, context=24, d_model=32, n_heads=4, n_layers=2)


def gpt(seed=0):
    torch.manual_seed(seed)
    return GPT(SMALL).eval()


def ids_of(*shape, seed=0, vocabulary=90):
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def with_updates(model, seed=3, std=0.2):
    """B away from zero, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_b, std=std, generator=generator)
    return model.eval()


def mutant(function, before, after, module):
    """The same class or function with one line of its source changed."""
    source = inspect.getsource(function)
    assert before in source, f"{before!r} is no longer in {function.__name__}"
    space = dict(vars(module))
    exec(compile(source.replace(before, after), "mutant", "exec"), space)
    return space[function.__name__]


def prove_peft(layer_class, rank, alpha, dropout=0.0):
    """Same A, B and seed: the same output, and the same weights after three steps, as peft's layer. Raises AssertionError."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(rank)
    ours = layer_class(nn.Linear(20, 12), LoRASettings(rank, alpha, dropout))
    nn.init.normal_(ours.lora_b)
    toy = nn.Sequential(nn.Linear(20, 12))
    toy[0].load_state_dict(ours.base.state_dict())
    theirs = get_peft_model(toy, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=["0"]))
    its = theirs.base_model.model[0]
    a, b = its.lora_A["default"].weight, its.lora_B["default"].weight
    with torch.no_grad():
        a.copy_(ours.lora_a), b.copy_(ours.lora_b)
    x, goal = torch.randn(8, 20), torch.randn(8, 12)
    outputs = []
    for module in (ours, theirs):
        optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-2)
        for step in range(3):
            torch.manual_seed(step)
            said = module.train()(x)
            F.mse_loss(said, goal).backward()
            optimizer.step()
            optimizer.zero_grad()
        outputs += [said.detach(), module.eval()(x).detach()]
    assert torch.allclose(outputs[0], outputs[2], atol=1e-5), "training outputs differ"
    assert torch.allclose(outputs[1], outputs[3], atol=1e-5), "outputs differ"
    assert torch.allclose(ours.lora_a, a, atol=1e-5) and torch.allclose(ours.lora_b, b, atol=1e-5)


@pytest.mark.parametrize(
    ("rank", "alpha", "dropout"), [(1, 1, 0.0), (2, 8, 0.2), (4, 16, 0.0), (8, 4, 0.3), (12, 32, 0.0)]
)
def test_the_layer_is_pefts(rank, alpha, dropout):
    prove_peft(LoRALinear, rank, alpha, dropout)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("settings.alpha / settings.rank", "settings.alpha"),  # the bug that a well-read book had for a year
        ("settings.alpha / settings.rank", "settings.alpha / settings.rank**0.5"),
        ("self.drop(x)", "x"),
        ("self.scale * F.linear", "F.linear"),
    ],
)
def test_a_mutant_layer_is_not_pefts(before, after):
    with pytest.raises(AssertionError, match="differ"):
        prove_peft(mutant(LoRALinear, before, after, lora), 4, 16, 0.3)


def test_the_whole_model_is_peft_on_gpt2():
    from peft import LoraConfig, get_peft_model

    base = gpt()
    twin = to_gpt2(base)
    ours = with_updates(add_lora(base, LoRASettings(3, alpha=5)))
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
    theirs = get_peft_model(twin, config).eval()
    for name, layer in lora_layers(ours).items():
        number, part = re.fullmatch(r"blocks\.(\d+)\.(.+)", name).groups()
        its = theirs.base_model.model.transformer.h[int(number)].get_submodule(PARTS[part])
        with torch.no_grad():
            its.lora_A["default"].weight.copy_(layer.lora_a)
            its.lora_B["default"].weight.copy_(layer.lora_b)
    ids = ids_of(3, 20)
    with torch.no_grad():
        assert torch.allclose(ours.double()(ids), theirs.double()(ids).logits, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 32), st.floats(0.5, 64), st.integers(0, 999))
def test_before_training_it_is_the_base_and_merged_it_is_itself(rank, alpha, seed):
    model, ids = gpt(seed), ids_of(2, 12, seed=seed)
    with torch.no_grad():
        expected, names, mark = model(ids), model.state_dict().keys(), base_fingerprint(model)
        add_lora(model, LoRASettings(rank, alpha))
        assert torch.equal(model(ids), expected) and base_fingerprint(model) == mark
        with_updates(model, seed).double()
        apart = model(ids)
        assert not torch.allclose(apart, expected.double(), atol=1e-3)
        assert torch.allclose(merge(model)(ids), apart, atol=1e-8)
    assert model.state_dict().keys() == names


def test_training_moves_b_and_not_one_bit_of_the_base():
    model = add_lora(gpt(), LoRASettings(rank=4, alpha=8, dropout=0.1))
    mark, before = base_fingerprint(model), {n: t.clone() for n, t in lora_state(model).items()}
    rows = [(ids_of(12, seed=n), ids_of(12, seed=n + 1)) for n in range(16)]
    diary = list(train(model, rows, rows[:4], Recipe(15, 8, 1e-2, 2)))
    assert base_fingerprint(model) == mark
    assert all(layer.lora_b.abs().max() > 0 for layer in lora_layers(model).values())
    assert all(not torch.equal(before[name], tensor) for name, tensor in lora_state(model).items())
    assert diary[-1]["loss"] < diary[0]["loss"]


def test_the_update_has_at_most_its_rank_and_the_counts_are_arithmetic():
    model = with_updates(add_lora(gpt(), LoRASettings(rank=3)))
    assert {int(torch.linalg.matrix_rank(layer.update())) for layer in lora_layers(model).values()} == {3}
    d, layers = SMALL.d_model, SMALL.n_layers
    sides = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]
    learning, every = count_weights(model)
    assert learning == layers * sum(3 * (i + o) for i, o in sides)
    assert every == learning + sum(p.numel() for p in gpt().parameters())


def test_only_the_targets_are_wrapped_and_the_seed_decides_a():
    models = [add_lora(gpt(), LoRASettings(2, targets=("attention.qkv",), seed=seed)) for seed in (1, 1, 2)]
    assert set(lora_layers(models[0])) == {f"blocks.{n}.attention.qkv" for n in range(SMALL.n_layers)}
    first, same, other = (lora_state(model)["blocks.0.attention.qkv.lora_a"] for model in models)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert sum(p.requires_grad for p in models[0].parameters()) == 2 * SMALL.n_layers


def test_every_matrix_names_the_linear_layers_of_a_block():
    block = {name for name, module in gpt().blocks[0].named_modules() if isinstance(module, nn.Linear)}
    assert block == set(EVERY_MATRIX)


@pytest.fixture
def saved(tmp_path):
    model = with_updates(add_lora(gpt(), LoRASettings(rank=4, alpha=6, targets=("attention.out", "feed_forward.up"))))
    save_lora(model, tmp_path / "new" / "lora.safetensors")
    return model, tmp_path / "new" / "lora.safetensors"


def test_a_file_comes_back_on_a_bare_or_a_wrapped_base(saved):
    model, path = saved
    ids = ids_of(2, 9)
    for base in (gpt(), add_lora(gpt(), next(iter(lora_layers(model).values())).settings)):
        assert torch.equal(load_lora(base, path).eval()(ids), model(ids))
    assert [p.name for p in path.parent.iterdir()] == ["lora.safetensors"]


def refused(model, path, message):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CourseError, match=message):
        load_lora(model, path)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_another_base_rank_alpha_or_target_is_refused_and_nothing_changes(saved):
    _, path = saved
    targets = ("attention.out", "feed_forward.up")
    refused(gpt(seed=1), path, "outra base")
    refused(add_lora(gpt(), LoRASettings(8, 6, targets=targets)), path, "rank 4")
    refused(add_lora(gpt(), LoRASettings(4, 12, targets=targets)), path, "alpha 6")
    refused(add_lora(gpt(), LoRASettings(4, 6)), path, "targets")


def test_broken_files_are_refused_and_nothing_changes(saved, tmp_path):
    _, path = saved
    tensors, written = read_tensors(path)
    cut, plain, short = (tmp_path / f"{name}.safetensors" for name in ("cut", "plain", "short"))
    cut.write_bytes(path.read_bytes()[:400])
    write_tensors(tensors, plain)
    write_tensors(dict(list(tensors.items())[:-1]), short, written)
    strange = tmp_path / "strange.safetensors"
    write_tensors(tensors, strange, written | {"settings": json.dumps({"rank": 4})})
    refused(gpt(), cut, "cortado")
    refused(gpt(), plain, "não é um LoRA")
    refused(gpt(), strange, "não é um LoRA")
    refused(gpt(), short, "não são as dos ajustes")
    refused(gpt(), tmp_path / "none.safetensors", "não há este arquivo")


@pytest.mark.parametrize(
    "change", [{"rank": 0}, {"rank": -1}, {"rank": 2.0}, {"alpha": 0}, {"alpha": float("nan")}, {"dropout": 1}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(CourseError, match=r"rank é|não servem"):
        LoRASettings(**change)


@pytest.mark.parametrize(
    ("its", "message"),
    [
        (LoRASettings(33), "rank 33 é maior"),
        (LoRASettings(targets=("attention.qkv", "atencao")), "se chama atencao"),
        (LoRASettings(targets=("v",)), "se chama v"),  # the end of a name's letters is not the end of a name
        (LoRASettings(targets=()), "nenhum"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_and_the_model_stays(its, message):
    model = gpt()
    with pytest.raises(CourseError, match=re.escape(message)):
        add_lora(model, its)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(isinstance(module, LoRALinear) for module in model.modules())


def test_twice_or_not_at_all_is_refused():
    with pytest.raises(CourseError, match="já tem LoRA"):
        add_lora(add_lora(gpt(), LoRASettings()), LoRASettings())
    for function in (merge, lora_state):
        with pytest.raises(CourseError, match="não tem LoRA"):
            function(gpt())
