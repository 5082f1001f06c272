"""Loss on rows kept apart, writing, the judge and the rivals."""

import json
import math

import pytest
import torch
from tune_base import ROWS, TITLES

from afina.data.clean import clean
from afina.data.synthetic import catalogue_lines
from afina.errors import CourseError
from afina.runtime import course_root
from afina.tune import evaluate

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_executed_lesson_shows_the_tables_of_today():
    """The tables come from data/sft_tables.json: measured anew, the lesson must run anew."""
    lesson = json.loads((course_root() / "notebooks" / "14_tinyllama_qlora.ipynb").read_text(encoding="utf-8"))
    tables = json.loads((course_root() / "data" / "sft_tables.json").read_text(encoding="utf-8"))
    shown = [
        "".join(output["data"].get("text/plain", ""))
        for cell in lesson["cells"]
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    for part in ("methods", "loss", "packing", "rows"):
        table = next(text for text in shown if all(evaluate.NAMES[name] in text for name in tables["summary"][part]))
        for name, figures in tables["summary"][part].items():  # a wide table is printed in pieces
            row = " ".join(line for line in table.splitlines() if line.startswith(evaluate.NAMES[name] + "  "))
            assert f"{figures['held_out_loss']['mean']:.2f}" in row, (part, name)
            if part == "methods":
                assert f"{tables['peak_mb'][name]:.1f}" in row, name


def test_held_out_loss_is_the_model_s_own(loaded):
    model, tokenizer = loaded
    model.eval()
    ids = tokenizer(TITLES[0] + "</s>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        theirs = model(input_ids=ids, labels=ids).loss.item()
    ours = evaluate.held_out(model, tokenizer, [{"text": TITLES[0]}], 64)
    assert ours.loss == pytest.approx(theirs, rel=1e-5) and ours.perplexity == pytest.approx(math.exp(theirs), rel=1e-4)
    assert ours.characters == len(TITLES[0])
    assert ours.bits_per_character == pytest.approx(
        theirs * (ids.shape[1] - 1) / math.log(2) / len(TITLES[0]), rel=1e-4
    )


def test_a_batch_writes_what_each_prompt_alone_would(tuned, tokenizer):
    prompts = [row["prompt"] for row in ROWS[:4]] + ["Luma"]
    together = evaluate.generate(tuned[False], tokenizer, prompts, 8)
    alone = [evaluate.generate(tuned[False], tokenizer, [prompt], 8)[0] for prompt in prompts]
    assert together == alone
    assert evaluate.finished("a b</s>", "</s>") == ("a b", True) and evaluate.finished("a b", "</s>") == ("a b", False)


def test_the_judge_knows_true_descriptions_from_wrong_ones():
    rows = [
        json.loads(line) for line in catalogue_lines(60) if line.strip().endswith(b"}") and b'"content": ""' not in line
    ][:40]
    titles, true = zip(*((clean(row["title"]), clean(row["content"])) for row in rows if row["title"]), strict=True)
    best = evaluate.judge(titles, true, true)
    assert (
        best["attributes"] == 1 and best["all"] == 1 and best["invented"] < 0.1 and best["chrf"] == pytest.approx(100)
    )
    assert evaluate.judge(titles, true[1:] + true[:1], true)["all"] == 0
    template = evaluate.judge(titles, evaluate.template_descriptions(titles), true)
    assert template["attributes"] == 1 and template["category"] < 0.1


def test_a_category_in_a_department_s_name_does_not_count():
    title = "Juntor Red Wrist Watch"
    assert evaluate.says(title, "The red wrist watch by Juntor, under Watches.")["category"]
    assert not evaluate.says(title, "The red wrist watch by Juntor, of Jewelry Watches.")["category"]
    wrong = evaluate.says(title, "The blue wrist watch by Juntor.")
    assert wrong == {"brand": True, "item": True, "color": False, "category": False, "invented": False}
    assert evaluate.says(title, "The red wrist watch by Juntor, made of brass.")["invented"]
    with pytest.raises(CourseError, match="não reconheço"):
        evaluate.says("Bicicleta", "x")


def test_the_nearest_title_lends_its_description():
    known = [("Red Mug by Luma", "first"), ("Blue Wok by Zuri", "second")]
    assert evaluate.nearest_descriptions(["Zuri Wok", "Luma Mug"], known) == ["second", "first"]
