"""docs/escala.md shows what benchmarks/results/data_scale.json says, and its plan is the arithmetic of the measured rates."""

import re

import common
import data_scale as scale
import pytest


@pytest.fixture
def results():
    return common.read("data_scale")


def test_the_page_shows_the_last_result(results, tmp_path):
    page = tmp_path / "escala.md"
    shown = scale.PAGE.read_text(encoding="utf-8")
    page.write_text(shown, encoding="utf-8")
    scale.write_page(results, page)
    assert page.read_text(encoding="utf-8") == shown, "rode: python benchmarks/data_scale.py --page"
    results["sizes"][0]["roads"]["local"]["prep_s"] *= 1.5
    scale.write_page(results, page)
    assert page.read_text(encoding="utf-8") != shown


def test_no_figure_of_the_measurements_is_typed():
    """Outside the markers only what is no measurement: the size of the catalogue, constants of the code, examples."""
    text = re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", "", scale.PAGE.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.S)
    allowed = {"02", "2.248.619", "1", "24", "128", "0,035", "0,8", "0,1", "2", "3", "4"}
    assert set(re.findall(r"\d[\d.,]*\d|\d", text)) <= allowed


def test_the_plan_is_the_measured_rate_times_the_lines(results):
    one, ten = scale.plan(results, 10**8), scale.plan(results, 10**9)
    large = results["sizes"][-1]
    assert ten["one_machine"]["hours"] == pytest.approx(large["roads"]["local"]["prep_s"] / large["lines"] * 1e9 / 3600)
    assert ten["one_machine"]["key_memory_gb"] == pytest.approx(10 * one["one_machine"]["key_memory_gb"])
    assert ten["disk_tb"]["written"] == pytest.approx(large["written_bytes"] / large["lines"] * 1e9 / 1e12)
    again = scale.plan(results, large["lines"])
    assert again["rows"] == large["rows"]
    assert again["one_machine"]["hours"] * 3600 == pytest.approx(large["roads"]["local"]["prep_s"])


def test_no_cluster_is_faster_than_its_one_writer(results):
    cluster = scale.plan(results, 10**9)["cluster"]
    hours = [nodes["hours"] for nodes in cluster["nodes"]]
    assert hours == sorted(hours, reverse=True)
    assert hours[-1] > cluster["serial_hours"]
    alone = cluster["serial_hours"] + cluster["shared_core_hours"]
    assert alone / scale._cluster_of(10**6, cluster["serial_hours"], cluster["shared_core_hours"])[
        "hours"
    ] == pytest.approx(cluster["most_times_faster"], rel=1e-3)


def test_the_result_is_of_the_real_size_and_both_roads_agree(results):
    small, large = results["sizes"]
    assert small["lines"] == 2_248_619
    assert large["lines"] == 10 * small["lines"]
    for size in results["sizes"]:
        assert {"local", "cluster"} <= set(size["roads"])
        assert size["lines"] == size["rows"] + sum(size["dropped"].values())
    assert small["roads"]["killed"]["lost_mb"] > 0
    assert results["near"]["quality"]["recall"] >= 0.85
    assert results["near"]["quality"]["precision"] >= 0.85
