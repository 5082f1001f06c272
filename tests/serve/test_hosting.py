"""The hosting calculator: memory against models that are really there, costs by hand, and no price that nobody sourced."""

import pytest
import torch

from afina import prices
from afina.errors import CourseError
from afina.runtime import course_root
from afina.serve import hosting
from afina.serve.hosting import EIGHT_BILLION, FOUR_BILLION, MACHINES, TINYLLAMA, Machine, Size, Traffic

BASE = course_root() / "models" / "llama-base"


def test_the_header_is_what_safetensors_reads():
    from safetensors import safe_open

    header = hosting.read_header(BASE / "model.safetensors")
    with safe_open(BASE / "model.safetensors", "pt") as file:
        assert {name: tuple(of["shape"]) for name, of in header.items()} == {
            name: tuple(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118 (not a dict)
        }


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x09" + b"\x00" * 7 + b"{not json", b"\xff" * 40])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CourseError, match="safetensors"):
        hosting.read_header(path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CourseError, match=r"config\.json"):
        hosting.read_size(tmp_path)
    with pytest.raises(CourseError, match="não há este arquivo"):
        hosting.read_header(tmp_path / "nada")


def test_size_and_bytes_are_those_of_the_loaded_model():
    from afina.tune.sft import load_base

    size = hosting.read_size(BASE)
    model, _ = load_base(BASE)
    assert size.parameters == model.num_parameters()
    assert hosting.weight_bytes(size, "fp32") == sum(p.numel() * p.element_size() for p in model.parameters())
    packed, _ = load_base(BASE, load_in_4bit=True)
    held = sum(p.numel() * p.element_size() for p in packed.parameters())  # without the scales
    assert hosting.weight_bytes(size, "nf4", rest="fp32") == pytest.approx(held, rel=0.03)


def test_cache_bytes_are_those_of_a_real_cache():
    from afina.tune.sft import load_base

    size = hosting.read_size(BASE)
    model, _ = load_base(BASE)
    cache = model(torch.ones(3, 50, dtype=torch.long), use_cache=True).past_key_values
    held = sum(part.numel() * part.element_size() for layer in cache.layers for part in (layer.keys, layer.values))
    assert hosting.cache_bytes(size, 3, 50, "fp32") == held


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (TINYLLAMA, (32_000, 2_048, 22, 32, 4, 64, 5_632, False, False)),
        (FOUR_BILLION, (151_936, 2_560, 36, 32, 8, 128, 9_728, True, True)),
        (EIGHT_BILLION, (128_256, 4_096, 32, 32, 8, 128, 14_336, False, False)),
        (hosting.SEVENTY_BILLION, (128_256, 8_192, 80, 64, 8, 128, 28_672, False, False)),
    ],
)
def test_named_sizes_are_their_architectures(size, shape):
    vocabulary, width, layers, heads, key_heads, head, hidden, tied, normed = shape
    attention = width * head * (2 * heads + 2 * key_heads)
    block = attention + 3 * width * hidden + 2 * width + 2 * head * normed  # Qwen3 norms each query and key head
    whole = vocabulary * width * (1 if tied else 2)
    assert size.parameters == layers * block + whole + width
    assert (size.kept_whole, size.layers, size.kv_width) == (whole, layers, key_heads * head)


def test_a_plan_by_hand():
    size = Size("x", 1_000_000_000, 0, 10, 100)
    traffic = Traffic(
        86_400, prompt_tokens=100, answer_tokens=100, peak=3
    )  # 3 requests, 300 tokens a second at the peak
    (choice,) = hosting.plan(size, "bf16", traffic, {"m": 200}, answer_seconds=4, machines=[Machine("m", 4, 2.0)])
    assert choice.machines == 2
    assert choice.memory.weights == 2.0
    assert choice.memory.cache == pytest.approx(2 * 10 * 100 * 6 * 200 * 2 / 1e9)  # 12 open conversations, 6 on each
    assert choice.busy == pytest.approx(100 / 400)
    assert choice.usd_a_month == 2 * 2.0 * 730
    assert choice.usd_a_million == pytest.approx(2 * 2.0 * 730 / (86_400 * 730 / 24 * 100 / 1e6))
    assert choice.fits and "25% do tempo ocupada" in str(choice)


def test_what_does_not_fit_says_so():
    choices = hosting.plan(hosting.SEVENTY_BILLION, "bf16", Traffic(1000), {"T4": 300})
    fitting = [choice.machine.name for choice in choices if choice.fits]
    assert fitting == ["nó de 4 A100"]
    assert "não cabe" in str(choices[1])
    assert choices[-1].usd_a_month is None and "velocidade não medida" in str(choices[-1])  # no speed, no price


def test_the_card_of_the_first_text_trains_four_billion_weights_only_with_qlora():
    room = hosting.RTX_3080.memory_gb
    assert hosting.training_memory(FOUR_BILLION, "full") > 6 * room
    assert hosting.training_memory(FOUR_BILLION, "lora") < room < hosting.training_memory(FOUR_BILLION, "full")
    assert hosting.training_memory(FOUR_BILLION, "qlora") < room / 2


def test_training_memory_is_lesson_14s_account():
    from afina.tune.sft import load_base, training_bytes

    model, _ = load_base(BASE)
    assert hosting.training_memory(hosting.read_size(BASE), "full") == sum(training_bytes(model).values()) / 1e9


def test_functions_have_limits_and_sleep_for_free():
    few, many = Traffic(10), Traffic(10_000)
    assert hosting.function_month(many, 4, 8) == pytest.approx(1000 * hosting.function_month(few, 4, 8))
    always_on = MACHINES[0].usd_an_hour * hosting.HOURS
    assert hosting.function_month(few, 4, 8) < always_on < hosting.function_month(many, 4, 8)
    for gb, seconds in ((10.3, 1), (1, 901)):
        with pytest.raises(CourseError, match="função"):
            hosting.function_month(few, gb, seconds)


def test_own_machine():
    assert hosting.own_month(3600, 500, 0.20, months=36) == pytest.approx(100 + 0.5 * 730 * 0.20)


def test_prices_are_those_of_the_table():
    assert hosting.MACHINES is prices.MACHINES and hosting.PRICES is prices.PRICES
    assert hosting.READ_ON == "2026-11-25"
    (choice,) = hosting.plan(TINYLLAMA, "nf4", Traffic(10), {"RTX 3080": 100}, machines=[hosting.RTX_3080])
    assert choice.usd_a_month is None and "não verificado" in str(choice)


@pytest.mark.parametrize("call", [
    lambda: hosting.weight_bytes(TINYLLAMA, "fp7"), lambda: hosting.training_memory(TINYLLAMA, "magic"),
    lambda: Traffic(0), lambda: Traffic(10, peak=0.5), lambda: hosting.memory(TINYLLAMA, "bf16", 0),
    lambda: hosting.plan(TINYLLAMA, "bf16", Traffic(10), {"L4": 0}),
    lambda: hosting.plan(TINYLLAMA, "bf16", Traffic(10), {"L5": 9}),
])  # fmt: skip
def test_impossible_requests_are_refused(call):
    with pytest.raises(CourseError):
        call()
