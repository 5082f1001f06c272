"""The classifier by hand: proofs against scikit-learn, no leaks, bad input, and mutants that each proof must refuse."""

import inspect
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from afina import runtime
from afina.data.lexicon import LEXICON
from afina.errors import CourseError
from afina.gpt import classify
from afina.gpt.classify import (
    NAMES,
    Classifier,
    best_threshold,
    choose_what_learns,
    encode_texts,
    epoch_of,
    expected_calibration_error,
    fine_tune,
    freeze_first,
    make_batch,
    measure,
    predict,
    read_messages,
    reliability,
)
from afina.gpt.lora import (
    LoRASettings,
    base_fingerprint,
    lora_layers,
)
from afina.gpt.model import GPT, GPTConfig
from afina.gpt.train import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")


SMALL = GPTConfig(vocab_size=90, context=24, d_model=32, n_heads=4, n_layers=2)


def gpt(seed=0):
    torch.manual_seed(seed)
    return GPT(SMALL).eval()


def ids_of(*shape, seed=0, vocabulary=90):
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed))


def mutant(function, before, after, module):
    """The same class or function with one line of its source changed."""
    source = inspect.getsource(function)
    assert before in source, f"{before!r} is no longer in {function.__name__}"
    space = dict(vars(module))
    exec(compile(source.replace(before, after), "mutant", "exec"), space)
    return space[function.__name__]


def prove_right_padding(classifier_class):
    """A row's scores do not depend on its neighbours. Raises AssertionError."""
    model = classifier_class(gpt(), classes=3).eval()
    rows = [ids_of(n, seed=n).tolist() for n in (3, 7, 15)]
    with torch.no_grad():
        together = model(*make_batch(rows, filler=0))
        alone = torch.cat([model(*make_batch([row], filler=5)) for row in rows])
    assert together.shape == (3, 3)
    assert torch.allclose(together, alone, atol=1e-5), "padding changed a score"


def test_padding_never_changes_a_score():
    prove_right_padding(Classifier)


def test_a_head_on_the_last_place_instead_of_the_last_token_is_caught():
    with pytest.raises(AssertionError, match="padding changed"):
        prove_right_padding(mutant(Classifier, "lengths - 1", "-1", classify))


def test_the_head_reads_a_token_that_saw_everything():
    model, row = Classifier(gpt()).eval(), ids_of(10).tolist()
    with torch.no_grad():
        before = model(*make_batch([row], 0))
        for place in range(10):
            changed = [*row[:place], (row[place] + 1) % 90, *row[place + 1 :]]
            assert not torch.allclose(model(*make_batch([changed], 0)), before, atol=1e-6)


def bodies(split):
    """One pattern for each body of the lexicon's split: what a message says, whatever is around it and in its slots."""
    pieces = LEXICON["pt"]["messages"]
    texts = [body.lstrip("*") for kind in NAMES for body in pieces[f"{kind}_{split}"]]
    return [re.compile(re.sub(r"\\{\w+\\}", ".+?", re.escape(text)), re.IGNORECASE) for text in texts]


def prove_no_leak(read):
    """Train has its own 2,800 texts, and none of them says what a test message says. Raises AssertionError."""
    (texts, labels), (test_texts, _) = read("train"), read("test")
    assert not set(texts) & set(test_texts), "leak: the same text"
    assert not any(body.search(text) for body in bodies("test") for text in texts), "leak: the same body"
    assert (len(texts), sum(labels), len(test_texts)) == (2800, 364, 800)


def test_no_test_message_nor_body_is_in_train():
    prove_no_leak(read_messages)


@pytest.mark.parametrize("after", ["True", 'row["split"] != "validation"', 'row["split"] in (split, "test")'])
def test_a_reader_that_leaks_the_test_split_is_caught(after, monkeypatch):
    leaking = mutant(runtime.read_split, 'row["split"] == split', after, runtime)
    monkeypatch.setattr(classify, "read_split", leaking)
    with pytest.raises(AssertionError, match="leak"):
        prove_no_leak(read_messages)


def test_each_mode_moves_what_it_says_and_nothing_else(tokenizer):
    config = GPTConfig(len(tokenizer), 64, 16, 2, 2)
    examples = ["ganhe um pix", "oi, tudo bem?", "clique agora", "cheguei"] * 4, [1, 0, 1, 0] * 4
    moved = {
        "head": ("head",),
        "last block": ("head", "gpt.blocks.1", "gpt.norm"),
        "all": ("head", "gpt"),
    }
    for mode, parts in moved.items():
        model = Classifier(GPT(config))
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        learning, _ = choose_what_learns(model, mode)
        fine_tune(model, tokenizer, examples, None, Recipe(4, 8, 1e-2, 1))
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        expected = {name for name in before if name.startswith(parts)}
        assert changed == expected - {"gpt.positions.weight"} or changed == expected
        assert learning == sum(before[name].numel() for name in expected)
    model = Classifier(GPT(config))
    choose_what_learns(model, "LoRA", LoRASettings(2))
    mark = base_fingerprint(model.gpt)
    fine_tune(model, tokenizer, examples, None, Recipe(4, 8, 1e-2, 1))
    assert base_fingerprint(model.gpt) == mark
    assert all(layer.lora_b.abs().max() > 0 for layer in lora_layers(model.gpt).values())


def test_freezing_the_first_blocks_leaves_them_as_they_were(tokenizer):
    model = Classifier(GPT(GPTConfig(len(tokenizer), 64, 16, 2, 3)))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    learning, _ = freeze_first(model, 2)
    fine_tune(model, tokenizer, (["ganhe", "oi"] * 4, [1, 0] * 4), None, Recipe(3, 4, 1e-2, 1))
    frozen = ("gpt.tokens", "gpt.positions", "gpt.blocks.0", "gpt.blocks.1")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith(frozen), name
    assert learning == sum(p.numel() for n, p in before.items() if not n.startswith(frozen))
    with pytest.raises(CourseError, match="3 blocos"):
        freeze_first(model, 4)


def test_it_learns_and_a_second_run_is_the_same(tokenizer):
    texts, labels = read_messages("train")
    texts, labels = texts[:60], labels[:60]
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        model = Classifier(GPT(GPTConfig(len(tokenizer), 64, 32, 2, 1)))
        diary = fine_tune(
            model, tokenizer, (texts, labels), (texts, labels), Recipe(60, 16, 1e-2, 4, evaluate_every=30)
        )
        runs.append((diary, predict(model, tokenizer, texts)))
    (diary, chances), (again, same) = runs
    assert diary == again and np.array_equal(chances, same)
    assert [row["step"] for row in diary if "validation_loss" in row] == [30, 60]
    by_hand = -np.log(chances[np.arange(60), labels]).mean()
    assert diary[-1]["validation_loss"] == pytest.approx(by_hand) and by_hand < diary[29]["validation_loss"]
    assert np.allclose(chances.sum(1), 1) and measure(labels, chances[:, 1])["f1"] > 0.9


@given(st.lists(st.integers(1, 30), min_size=1, max_size=80), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_an_epoch_takes_every_row_once(lengths, size, seed):
    rows = [[0] * n for n in lengths]
    cut = epoch_of(rows, size, seed)
    assert sorted(i for batch in cut for i in batch) == list(range(len(rows)))
    assert max(map(len, cut)) <= size and cut == epoch_of(rows, size, seed)


def test_bad_examples_are_refused(tokenizer):
    model, recipe = Classifier(GPT(GPTConfig(len(tokenizer), 8, 16, 2, 1))), Recipe(1)
    for examples, message in (
        ((["a", "b"], [0]), "2 textos e 1"),
        ((["a", "b"], [0, 2]), "classe 2 não existe"),
        ((["a", "b"], [1, 1]), "mesma classe"),
        (([], []), "nenhum"),
        ((["a", " "], [0, 1]), "vazio"),
        ((["a", "uma mensagem comprida demais para este contexto"], [0, 1]), "lê até 8"),
    ):
        with pytest.raises(CourseError, match=message):
            fine_tune(model, tokenizer, examples, None, recipe)
    for call, message in (
        (lambda: read_messages("teste"), "não há divisão"),
        (lambda: choose_what_learns(model, "tudo"), "não conheço o modo"),
    ):
        with pytest.raises(CourseError, match=message):
            call()
    assert encode_texts(["a"], tokenizer, 8)[0][0] == tokenizer.end


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 60))
def test_the_best_threshold_is_the_best_of_all(seed, n):
    draw = np.random.default_rng(seed)
    truth, chances = np.append(draw.integers(0, 2, n), [0, 1]), draw.random(n + 2).round(2)
    best = measure(truth, chances, best_threshold(truth, chances))["f1"]
    assert best == pytest.approx(max(measure(truth, chances, t)["f1"] for t in np.append(chances, 0.5)))


def test_calibration_by_hand():
    truth, chances = [1, 0, 1, 1, 0, 0], np.array([0.9, 0.92, 1.0, 0.55, 0.05, 0.0])
    rows = reliability(truth, chances, bins=10)
    assert [row["count"] for row in rows] == [2, 1, 3]
    expected = (2 * 0.025 + 1 * 0.45 + 3 * abs(0.94 - 2 / 3)) / 6
    assert expected_calibration_error(truth, chances) == pytest.approx(expected)
    assert expected_calibration_error([1, 0], np.array([1.0, 0.0])) == 0
    always = measure([0] * 87 + [1] * 13, np.zeros(100))
    assert always["accuracy"] == 0.87 and always["f1"] == 0
