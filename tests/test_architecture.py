"""docs/: the map of the rooms is the package as it is, and the examples of docs/adaptar.md run."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from afina.runtime import course_root

ROOT = course_root()
PAGE = (ROOT / "docs" / "arquitetura.md").read_text(encoding="utf-8")
PICTURE = ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot()
SVG = "{http://www.w3.org/2000/svg}"
# What the picture says: a group a room, whose box has its place; an arrow a pair, "room what-it-imports".
PLACES = {
    group.get("id"): float(group.find(f"{SVG}rect").get("x")) for group in PICTURE.iter(f"{SVG}g") if group.get("id")
}
ROOMS = {room: x for room, x in PLACES.items() if room not in ("roof", "ground")}
PAIRS = [path.get("data-import").split() for path in PICTURE.iter(f"{SVG}path") if path.get("data-import")]
IMPORTS = {room: tuple(sorted(used for importer, used in PAIRS if importer == room)) for room in ROOMS}
ABOVE, APART = {"teach", "scale", "launch", "doctor", "command", "cli"}, {"colab", "offline"}
GROUND = {"runtime", "errors", "whole", "ptbr", "prices", "child", "compat"}


def imported(path):
    """The parts of afina that a module names in any import, also inside functions: {"data", "runtime", …}."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports of the package are absolute"
            found |= {f"afina.{alias.name}" for alias in node.names} if node.module == "afina" else {node.module}
    return {name.split(".")[1] for name in found if name.startswith("afina.")} - {"__version__"}


def parts():
    """{part of afina: the other parts that it imports}."""
    graph = {}
    for path in sorted((ROOT / "afina").rglob("*.py")):
        part = path.relative_to(ROOT / "afina").parts[0].removesuffix(".py")
        if part != "__init__":
            graph[part] = graph.get(part, set()) | imported(path) - {part}
    return graph


GRAPH = parts()


def test_every_part_of_the_package_has_its_place():
    assert set(GRAPH) == set(IMPORTS) | ABOVE | GROUND | APART


def test_the_picture_shows_the_imports_that_there_are():
    found = {room: tuple(sorted(used - GROUND)) for room, used in GRAPH.items() if room in IMPORTS}
    assert found == IMPORTS, (
        "change the arrows of docs/architecture.svg, the table of docs/arquitetura.md, and both descriptions"
    )


def test_no_room_imports_one_to_its_right():
    for room, used in IMPORTS.items():
        assert [other for other in used if ROOMS[other] >= ROOMS[room]] == [], room


def test_ground_and_upper_floor():
    assert GRAPH["errors"] == set() and GRAPH["runtime"] == {"errors"} and GRAPH["colab"] == set()
    assert not [part for part, used in GRAPH.items() if used & ABOVE and part not in ABOVE]


def test_the_table_of_rooms_is_the_code():
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", PAGE, re.M)
    assert {room: tuple(re.findall(r"`(\w+)`", used)) for room, used in rows} == IMPORTS


def test_every_module_is_named_and_no_other():
    named = dict(re.findall(r"^- \*\*(\w+)\*\*: (.+(?:\n  .+)*)", PAGE, re.M))
    for room in [*IMPORTS, "scale", "teach"]:
        modules = {path.stem for path in (ROOT / "afina" / room).glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`(\w+)`", named[room])) == modules, f"docs/arquitetura.md, {room}"


def test_the_page_and_the_picture_describe_it_alike():
    assert f"![{PICTURE.findtext(f'{SVG}desc')}](architecture.svg)" in PAGE


@pytest.mark.parametrize("page", ["adaptar.md", "lancamento.md"])
def test_every_make_command_of_the_pages_exists(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {name for name in re.findall(r"make ([a-z-]+)", text)} <= targets


def test_the_examples_of_adapting_run_in_order(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "adaptar.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(examples) == 5
    monkeypatch.chdir(tmp_path)
    threads, names = torch.get_num_threads(), {}
    torch.set_num_threads(1)  # models this small only wait for each other's threads
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/adaptar.md, example {number}", "exec"), names)
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "nenhum problema encontrado" in printed
    losses = [float(loss) for loss in re.findall(r"perda: ([\d.]+) no começo, ([\d.]+) no fim", printed)[0]]
    assert losses[1] < losses[0]
    assert {path.name for path in Path("build").iterdir()} >= {
        "meu_catalogo",
        "meu_treino.jsonl",
        "meu_gpt",
        "meu_adaptador",
    }
