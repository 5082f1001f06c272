"""The template of lesson 14, which rows are taken, and their token ids."""

import ast
import inspect
import re

import pytest
from tune_base import ROWS

from afina.errors import CourseError
from afina.runtime import course_root
from afina.tune import rows as sft_rows
from afina.tune.sft import ALPACA, INSTRUCTION
from workshop.notebooks import build

pytestmark = pytest.mark.usefixtures("one_thread")


def test_columns_become_prompt_completion_and_text():
    rows = {
        "title": ["A mug"],
        "content": ["Red."],
        "instruction": [sft_rows.add_instruction_column({})["instruction"]],
    }
    out = sft_rows.formatting_prompts_func(rows, "</s>")
    assert out["text"] == [f"### Instruction:\n{INSTRUCTION}\n\n### Input:\nA mug\n\n### Response:\nRed.</s>"]
    assert out["text"][0] == out["prompt"][0] + out["completion"][0] and out["completion"] == ["Red.</s>"]


def test_every_question_has_its_turn_and_new_ones_are_new():
    asked = [sft_rows.add_question_column({}, i)["instruction"] for i in range(len(sft_rows.QUESTIONS) * 2)]
    assert set(asked) == set(sft_rows.QUESTIONS) and not set(sft_rows.NEW_QUESTIONS) & set(sft_rows.QUESTIONS)


def test_the_lesson_teaches_the_package_template():
    lesson = build(course_root() / "notebooks" / "src" / "14_tinyllama_qlora.py", None)
    cells = [ast.parse(cell.source) for cell in lesson.cells if cell.cell_type == "code"]
    taught = {node.name: node for cell in cells for node in cell.body if isinstance(node, ast.FunctionDef)}
    for function in (sft_rows.add_instruction_column, sft_rows.formatting_prompts_func):
        assert ast.dump(taught[function.__name__]) == ast.dump(ast.parse(inspect.getsource(function)).body[0])
    constants = {
        node.targets[0].id: node.value for cell in cells for node in cell.body if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
    }  # fmt: skip
    assert ast.literal_eval(constants["ALPACA"]) == ALPACA and ast.literal_eval(constants["INSTRUCTION"]) == INSTRUCTION


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "não há nenhum exemplo"),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], 'linha 2: falta "completion"'),
        ([{"title": "a"}], 'linha 1: falta "prompt" e "completion"'),
        ([{"text": ""}], 'linha 1: falta "text"'),
        ([{"prompt": "a", "completion": ""}] * 9, "e mais 4"),
        ([{"prompt": "word " * 80, "completion": "b"}], "nenhum dos 1 exemplos cabe"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tokenizer, rows, said):
    with pytest.raises(CourseError, match=re.escape(said)) as error:
        sft_rows.prepare(rows, tokenizer, 64)
    assert error.value.remedy


def test_the_mask_covers_the_answer_and_its_end_alone(tokenizer):
    row = sft_rows.prepare(ROWS[:1], tokenizer, 128).rows[0]
    parts = {
        bit: [i for i, b in zip(row["input_ids"], row["completion_mask"], strict=True) if b == bit] for bit in (0, 1)
    }
    assert tokenizer.decode(parts[0]) == "<s>" + ROWS[0]["prompt"]
    assert tokenizer.decode(parts[1]) == ROWS[0]["completion"] + "</s>"
    assert row["input_ids"] == tokenizer(ROWS[0]["prompt"] + ROWS[0]["completion"] + "</s>")["input_ids"]


def test_the_end_token_comes_once_and_only_when_wanted(tokenizer):
    with_end = sft_rows.prepare([{"text": "a b</s>"}], tokenizer, 64).rows
    assert with_end == sft_rows.prepare([{"text": "a b"}], tokenizer, 64).rows
    assert with_end[0]["input_ids"].count(tokenizer.eos_token_id) == 1
    assert (
        tokenizer.eos_token_id
        not in sft_rows.prepare([{"text": "a b"}], tokenizer, 64, add_eos=False).rows[0]["input_ids"]
    )


def test_text_counts_whole_and_cuts_are_counted(tokenizer):
    long = {"prompt": "x " * 300, "completion": "y"}
    prepared = sft_rows.prepare([ROWS[0], {"text": "red " * 90}, long], tokenizer, 64)
    assert (len(prepared.rows), prepared.cut, prepared.dropped) == (2, 2, 1)
    assert prepared.rows[1]["completion_mask"] == [1] * 64 and prepared.tokens == 64 + len(
        prepared.rows[0]["input_ids"]
    )


def test_a_shard_says_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "train-00000.jsonl"
    for text, said in (
        (None, "não há este fragmento"),
        ("", "está vazio"),
        ('{"title": "a", "content": "b"}\n{"title": "a"}\n', "linha 2: falta a coluna content"),
        ('{"title": "a", "content": null}\n', "linha 1: falta a coluna content"),
        ('\n{"title": \n', "linha 2: não é JSON"),
    ):
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(CourseError, match=said):
            sft_rows.read_shard(path)
    path.write_text('{"title": "é", "content": "b"}\n', encoding="utf-8")
    assert sft_rows.read_shard(path) == [{"title": "é", "content": "b"}]


def test_rows_are_chosen_as_asked():
    lengths = [(i * 37) % 100 for i in range(200)]
    chosen = {how: sft_rows.choose(lengths, 40, how) for how in ("random", "stratified", "longest")}
    for places in chosen.values():
        assert len(set(places)) == 40
    assert min(lengths[i] for i in chosen["longest"]) == 80
    bands = [lengths[i] // 10 for i in chosen["stratified"]]
    assert all(bands.count(band) == 4 for band in range(10))
    assert chosen["random"] == sft_rows.choose(lengths, 40, "random") != sft_rows.choose(lengths, 40, "random", seed=1)
    assert len(sft_rows.choose(lengths, 200, "stratified")) == 200
    for n, how in ((0, "random"), (201, "random"), (5, "curtas")):
        with pytest.raises(CourseError):
            sft_rows.choose(lengths, n, how)
