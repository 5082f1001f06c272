"""The rules of the house, read from the code itself: docs/arquitetura.md tells them to people, this file holds them."""

import ast
import builtins
import functools
import re
from collections import defaultdict

import pytest

from afina.runtime import course_root

ROOT = course_root()
# The design asks for 14,000 and 12,000: these may only shrink.
MOST_LINES, MOST_IN_ALL, MOST_WITHOUT_TWINS = 450, 14_180, 12_080
TABLES = {"afina/prices.py", "workshop/make/words.py"}  # pure data
# One floor a row: a part may import what stands in a row above its own, and itself. `gpt` and `tune` do not know each other.
FLOORS = [
    {"errors"},
    {"ptbr", "child", "compat"},
    {"whole", "runtime"},
    {"prices"},
    {"data"},
    {"jsonl"},
    {"gpt", "tune"},
    {"chat", "jobs"},
    {"serve", "cloud"},
    {"scale", "teach", "doctor", "command"},
    {"cli"},
]
APART = {"colab", "offline", "launch"}  # before anything is installed; at Python's start; an old name
# Public names that two rooms share because each is taught, or is the library's word for the thing.
SHARED = {
    *(
        "main",
        "train",
        "generate",
        "fine_tune",
        "predict",
        "says",
        "merge",
        "load_checkpoint",
        "answers",
        "score",
        "prepare",
    ),
}


@functools.cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def files(*doors):
    return [path for door in doors for path in sorted((ROOT / door).rglob("*.py")) if "/build/" not in str(path)]


AFINA, WORKSHOP = files("afina"), files("workshop")


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in AFINA + WORKSHOP}


def imported(path):
    """Every module of ours that a file names in an import, also inside functions; `from a import b` is a.b where that is a module."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found & set(MODULES) - {"afina"}


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def part_of(name):
    return name.split(".")[1] if "." in name else name


def circles(graph):
    """Groups of files that reach each other by imports (strongly connected, by Tarjan's algorithm)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            group = []
            while node not in group:
                group.append(stack.pop())
            if len(group) > 1 or node in graph[node]:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_file_reaches_itself_by_imports():
    assert circles(GRAPH) == []


def test_a_circle_would_be_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_the_package_imports_no_workshop_and_no_room_the_cluster_roads():
    assert [
        name for name, used in GRAPH.items() if name.startswith("afina") and any(u.startswith("workshop") for u in used)
    ] == []
    users = {part_of(name) for name, used in GRAPH.items() if any(u.startswith("afina.scale") for u in used)}
    assert users <= {"scale", "cli", "launch", "make"}


def test_data_walks_one_way():
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    parts = {part_of(name) for name in MODULES if name.startswith("afina.")}
    assert parts == set(floor) | APART, "a new part of the package needs its floor"
    wrong = {
        f"{name} -> {used}"
        for name, every in GRAPH.items()
        if name.startswith("afina.") and part_of(name) not in APART
        for used in every
        if part_of(used) != part_of(name) and floor.get(part_of(used), 99) >= floor[part_of(name)]
    }
    assert wrong == set()


def lines(paths):
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def test_small_enough_to_hold_in_the_head():
    long = {str(p.relative_to(ROOT)): n for p in AFINA + WORKSHOP if (n := lines([p])) > MOST_LINES}
    assert {name: n for name, n in long.items() if name not in TABLES} == {}
    twins = [path for path in AFINA if path.parent.name == "cloud"]
    assert lines(AFINA) <= MOST_IN_ALL and lines(AFINA) - lines(twins) <= MOST_WITHOUT_TWINS


# --- one home for each promise ---------------------------------------------------------------------------------------


def found_outside(pattern, homes, paths):
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        if str(path.relative_to(ROOT)) not in homes
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line) and not line.lstrip().startswith("#")
    ]


HOMES = [
    (
        "names change and things go",
        r"os\.(replace|rename|renames|removedirs)\b|shutil\.(rmtree|move)\b|import .*\b(rmtree|move)\b|\.rename\(",
        {"afina/whole.py"},
    ),
    (
        "thousands and decimals",
        r""":,[.\d]*f?\}|replace\(["']\.["'], ["'],["']\)|replace\(["'],["'], ["']\.["']\)|maketrans\(""",
        {"afina/ptbr.py"},
    ),
]


@pytest.mark.parametrize(("what", "pattern", "homes"), HOMES, ids=[what for what, _, _ in HOMES])
def test_a_promise_has_one_home(what, pattern, homes):
    assert found_outside(pattern, homes, AFINA + WORKSHOP) == []


def test_only_the_command_line_reads_the_command_line():
    assert (
        found_outside(r"\btyper\b|argparse|sys\.argv", {"afina/cli.py", "afina/command.py", "afina/child.py"}, AFINA)
        == []
    )


ours = {path.stem for path in AFINA + WORKSHOP} | {"self", "cls", "mcs"}


def private_uses(path):
    """`x._name` where `x` was imported from a library, at any depth of the attribute chain, and `_name`s imported from one."""
    foreign, uses = set(), []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            foreign |= {
                (a.asname or a.name).split(".")[0] for a in node.names if not a.name.startswith(("afina", "workshop"))
            }
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(
            ("afina", "workshop", "__future__")
        ):
            foreign |= {a.asname or a.name for a in node.names}
            uses += [
                f"{path.relative_to(ROOT)}:{node.lineno}: {a.name}"
                for a in node.names
                if a.name.startswith("_") and not a.name.startswith("__")
            ]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            root = node.value
            while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
                root = root.func if isinstance(root, ast.Call) else root.value
            if (
                isinstance(root, ast.Name)
                and root.id in foreign
                and node.attr not in ("_exit", "_asdict", "_replace", "_fields")
            ):
                uses.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    return uses


def test_private_pieces_of_libraries_live_in_compat():
    assert [use for path in AFINA if path.name != "compat.py" for use in private_uses(path)] == []
    patches = found_outside(r"mock|setattr\((?!self|cls|model|args|state)", {"afina/compat.py"}, AFINA)
    assert [line for line in patches if "import" in line and "mock" in line] == []


def test_each_entry_of_compat_has_a_test_that_says_when_it_can_go():
    entries = [
        node.name
        for node in tree(ROOT / "afina" / "compat.py").body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    text = (ROOT / "tests" / "test_compat.py").read_text(encoding="utf-8")
    assert [name for name in entries if not name.startswith("_") and name not in text] == []


CHANGES = re.compile(
    r"^(gc\.(?!get)|os\.(environ\S*|putenv|umask|chdir)|sys\.(path|modules|set\w+|addaudithook)|signal\.|warnings\.|logging\.(basicConfig|disable)"
    r"|random\.seed|torch\.(set_|manual_seed|use_)|plt\.(?!cycler)|matplotlib\.(use|rc)|faulthandler|atexit\.|locale\.set|threading\.|subprocess\.|socket\.)"
    r"|\.(setLevel|update|setdefault|append|register|freeze|seed|use)$"
)


def at_import(body):
    """The statements that run when a module is imported: also those inside its conditions, loops, blocks and classes."""
    for node in body:
        if isinstance(node, ast.If) and re.search("TYPE_CHECKING|__name__", ast.unparse(node.test)):
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = getattr(node, part, [])
                yield from at_import(inner if part != "handlers" else [x for handler in inner for x in handler.body])


def effects(path):
    """Statements at module level that change something beyond the module itself."""
    found = []
    for node in at_import(tree(path).body):
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
            if any(isinstance(t, ast.Attribute | ast.Subscript) for t in targets):
                found.append(ast.unparse(node))
            for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
                if CHANGES.search(ast.unparse(call.func)):
                    found.append(ast.unparse(call))
    return found


def test_importing_changes_nothing():
    quiet = [path for path in AFINA if path.name != "sitecustomize.py"]
    assert {str(p.relative_to(ROOT)): e for p in quiet if (e := effects(p))} == {}


def test_an_effect_would_be_seen(tmp_path):
    module = tmp_path / "m.py"
    module.write_text(
        "import gc, os\ngc.freeze()\nos.environ['A'] = '1'\nX = frozenset('a')\nY = gc.disable()\nif X:\n    os.chdir('/')\n"
    )
    assert len(effects(module)) == 4


# --- names and tests -------------------------------------------------------------------------------------------------


def public_names():
    """{name: the rooms whose modules define it}, functions and classes only."""
    where = defaultdict(set)
    for name, path in MODULES.items():
        if name.startswith("afina.") and name != "afina.cli":  # a verb is named as what it runs
            for node in tree(path).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and not node.name.startswith(
                    "_"
                ):
                    where[node.name].add(part_of(name))
    return where


def test_public_names_are_unique_across_rooms():
    twice = {name: sorted(rooms) for name, rooms in public_names().items() if len(rooms) > 1 and name not in SHARED}
    assert twice == {}


def mirror(path):
    """Where the tests of a module are."""
    inside = path.relative_to(ROOT / "afina") if path.is_relative_to(ROOT / "afina") else path.relative_to(ROOT)
    name = "init" if inside.stem == "__init__" else inside.stem
    return ROOT / "tests" / inside.parent / f"test_{name}.py"


def is_old_name(path):
    """A file that only hands on names from their new place, and says so; or an empty one."""
    return not tree(path).body or "for one release" in (ast.get_docstring(tree(path)) or "")


def test_every_module_has_its_tests():
    needs = [
        path
        for path in AFINA + WORKSHOP
        if path.stem not in ("__init__", "__main__", "sitecustomize") and not is_old_name(path)
    ]
    assert [str(mirror(path).relative_to(ROOT)) for path in needs if not mirror(path).is_file()] == []


def test_tests_do_not_reach_into_private_names():
    """A test of a private name holds the code in place; today's few are listed, and the list may only shrink."""
    uses = found_outside(r"from afina[\w.]* import .*\b_[a-z]", set(), sorted((ROOT / "tests").rglob("test_*.py")))
    assert len(uses) <= 12, uses


def test_the_builtins_are_not_shadowed_by_modules_of_the_package():
    assert not {path.stem for path in AFINA} & set(dir(builtins)) - {"copyright"}


# --- the map ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("readme", ["README.md", "README.en.md"])
def test_the_readmes_tree_has_one_line_a_file(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    shown, folders = [], []
    for line in re.search(r"```text\n(afina/.*?)```", text, re.S)[1].splitlines():
        indent, name, about = re.fullmatch(r"( *)(\S+) +(\S.*)", line).groups()
        folders[len(indent) // 2 :] = [name]
        if name.endswith(".py"):
            shown.append("".join(folders))
        assert about and (ROOT / "".join(folders)).exists(), line
    there = [
        p for p in AFINA + WORKSHOP if p.stem not in ("__init__", "__main__", "sitecustomize") and not is_old_name(p)
    ]
    assert sorted(shown) == sorted(path.relative_to(ROOT).as_posix() for path in there)


def test_both_readmes_show_the_same_tree():
    names = [
        re.findall(r"^ *(\S+\.py) ", (ROOT / name).read_text(encoding="utf-8"), re.M)
        for name in ("README.md", "README.en.md")
    ]
    assert names[0] == names[1]
