"""What the READMEs claim was measured: every number stands in a result file, and the tables are the results'."""

import json
import re

import common
import growth
import pytest
import table

from afina.runtime import course_root

ROOT = course_root()
LANGUAGES = pytest.mark.parametrize("language", [0, 1], ids=["pt", "en"])
# a figure with a unit of cost, which only a measurement can give
MEASURED = re.compile(
    r"\d[\d.,]* ?(?:×|%|ms\b|s\b|min\b|minut\w+|segundos|seconds|[KMG]B\b|linhas|lines|tokens|vezes|times)"
)


def readme(language: int) -> str:
    return table.READMES[language].read_text(encoding="utf-8")


@LANGUAGES
def test_the_table_is_the_results(language):
    assert readme(language) == table.renewed(readme(language), language), "run `python benchmarks/table.py`"


@LANGUAGES
def test_every_number_of_the_table_is_in_its_result_file(language):
    assert table.untraced(table.parts(readme(language))[1], language) == []


@LANGUAGES
def test_a_number_that_no_file_holds_is_named(language):
    """Each figure of each row in turn is changed for one that was never measured, and each day for another."""
    inside = table.parts(readme(language))[1]
    changed = 0
    for row in inside.splitlines():
        if not row.startswith("| ") or ("×" not in row and "±" not in row):
            continue
        cells = row.split(" | ")
        for number in re.findall(r"\d+[.,]\d+", cells[2]):
            wrong = row.replace(number, "987654321.5" if language else "987654321,5")
            (problem,) = table.untraced(inside.replace(row, wrong), language)
            assert problem.startswith("987654321")
            changed += 1
    assert changed >= 10
    day = table.DAY.search(inside)[0]
    assert table.untraced(inside.replace(day, "1999-12-31", 1), language)


@LANGUAGES
def test_one_changed_digit_is_noticed(language):
    """Even where the wrong number happens to stand elsewhere in the file."""
    text = readme(language)
    for found in re.finditer(r"\d", table.parts(text)[1]):
        at = text.index(table.START) + len(table.START) + 1 + found.start()
        wrong = text[:at] + str((int(found[0]) + 1) % 10) + text[at + 1 :]
        assert wrong != table.renewed(wrong, language)


@LANGUAGES
def test_no_measured_number_stands_elsewhere(language):
    """The minutes of the lessons have a test of their own (test_front_door), and the size on disk is what `make canary` installs."""
    before, _, after = table.parts(readme(language))
    text = re.sub(r"(?m)^\| \[\d\d · .*$", "", before + after)
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.S)
    assert set(MEASURED.findall(text)) == {"2 GB"}


def test_every_result_says_where_when_and_with_what():
    for path in sorted(common.RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        said = table.taken(result)
        assert said["date"] and said["python"] and (said["machine"].get("cpus") or said["machine"]["cores"]), path.name
        assert isinstance(table.was_busy(result), bool)
        assert (common.RESULTS.parent / path.with_suffix(".py").name).is_file(), f"no benchmark makes {path.name}"


def test_make_bench_runs_every_benchmark_that_the_table_shows():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    ran = set(re.search(r"^BENCHMARKS \?= (.*)$", makefile, re.M)[1].split())
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"common", "table"}
    assert ran == scripts
    assert {row.result for row in table.ROWS} | {"growth"} <= ran


# --- growth ----------------------------------------------------------------------------------------------------------


def test_what_grows_faster_than_linear_is_explained():
    assert table.unexplained() == []


def test_a_path_that_grows_unexplained_is_named(monkeypatch):
    grown = {"prep": {"exponent": 1.5, "standard_error": 0.1}, "train_step": {"exponent": 1.9, "standard_error": 0.1}}
    monkeypatch.setattr(table, "read", lambda _: {"date": "2026-11-25"} | grown)
    assert table.unexplained() == ["prep: 1.5 ± 0.1"]


def test_every_path_that_is_measured_is_shown():
    assert {path.name for path in table.GROWTHS} == set(growth.PATHS)
    assert all(len(sizes) >= 3 for _, _, sizes, _ in growth.PATHS.values())


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_the_slope(power):
    sizes = [100, 200, 400, 800]
    found = growth.fit(sizes, [3 * size**power for size in sizes])
    assert found == {"exponent": power, "standard_error": 0.0}
    noisy = growth.fit(
        sizes, [3 * size**power * wobble for size, wobble in zip(sizes, (1.1, 0.9, 1.1, 0.9), strict=True)]
    )
    assert 0.02 < noisy["standard_error"] < 0.2 and abs(noisy["exponent"] - power) < 0.2


def test_the_quadratic_share_of_a_known_curve():
    sizes = [64, 128, 256, 512]
    seconds = [0.01 * size + 0.00001 * size**2 for size in sizes]
    assert growth.quadratic_share(sizes, seconds) == pytest.approx(
        [0.00001 * size**2 / value for size, value in zip(sizes, seconds, strict=True)], abs=1e-3
    )
    assert growth.quadratic_share(sizes, [size**0.9 for size in sizes]) == [0.0] * 4


def test_a_result_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    common.save("x", {"a": 1})
    with pytest.raises(TypeError):
        common.save("x", {"a": object()})
    assert common.read("x") == {"a": 1} and [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert common.read("absent") == {}
