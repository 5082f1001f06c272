"""Every verb on every bad input: one sentence in Portuguese, an exit code of 1 or 2, never a traceback; help with an example."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from afina import cli

VERBS = [(name, verb) for name, verb in cli.COMMANDS.items() if not isinstance(verb, dict)] + [
    (f"{group} {name}", verb)
    for group, verbs in cli.COMMANDS.items()
    if isinstance(verbs, dict)
    for name, verb in verbs.items()
]
ENGLISH = re.compile(
    r"\b(Usage|Options|Arguments|Show this|default|required|Error|Missing|Invalid|Input should|No such|Got unexpected|Try|must be)\b"
)


@pytest.fixture
def afina(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AFINA_LEDGER", str(tmp_path / "ledger"))

    def call(*words):
        code = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert "não previmos" not in said.err, said.err
        return code, said.out, said.err

    return call


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, _ in VERBS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_in_portuguese_with_an_example(afina, name, flag):
    code, out, err = afina(*name.split(), flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"uso: afina {name}") and "Exemplo: " in out and f"afina {name}".split()[1] in out
    assert not ENGLISH.search(out), ENGLISH.search(out)
    assert all(len(line) <= 130 for line in out.splitlines())


def test_the_list_names_every_verb_and_is_quick(afina):
    for words in ([], ["--help"], ["-h"], ["help"]):
        code, out, _ = afina(*words)
        assert code == 0 and out.startswith("uso: afina")
        assert all(f"  {name} " in out for name in cli.COMMANDS)
    code = "import sys; from afina.cli import main; main(['--help']); print({'torch', 'typer', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.strip().endswith("set()"), "the list needs no library"


@pytest.mark.parametrize("group", ["jobs", "feedback"])
def test_a_group_lists_its_verbs(afina, group):
    assert afina(group, "--help")[0] == 0
    code, out, _ = afina(group)
    assert code == 2 and "list" in out
    code, _, err = afina(group, "everything")
    assert code == 2 and "everything" in err and "list" in err


def test_the_version(afina):
    code, out, _ = afina("--version")
    assert code == 0 and re.fullmatch(r"afina \d+\.\d+\.\d+\n", out)


# --- a command line that is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prepp"], 'não conheço o comando "prepp"'),
        (["prep"], "falta"),
        (["prep", "x"], "falta a opção --out"),
        (["prep", "x", "--out"], "a opção --out pede um valor"),
        (["prep", "x", "--out", "y", "--workers", "dois"], "--workers: esperava um número inteiro"),
        (["prep", "x", "--out", "y", "--near-duplicates", "muito"], "--near-duplicates: esperava um número"),
        (["prep", "x", "--out", "y", "--strict=sim"], "--strict"),
        (["prep", "x", "--out", "y", "--color"], "não conheço a opção --color"),
        (["validate", "a", "b", "c"], "há argumentos a mais: c"),
        (["validate", "a", "--format", "csv"], "--format: use 'auto', 'openai-chat'"),
        (["train", "rnn"], "TIPO: use 'gpt', 'bert'"),
        (["download", "--sha256", "ab"], "--sha256 vale para"),
        (["download", "--url", "http://127.0.0.1/x.txt"], "--url precisa terminar"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_told_in_one_sentence(afina, words, said):
    code, out, err = afina(*words)
    assert (code, out) == (2, "") and said in err and err.startswith("erro: ")
    assert len(err.strip().splitlines()) == 1 and not ENGLISH.search(err), err


# --- files that are wrong --------------------------------------------------------------------------------------------

# One path a verb; the rest of its command line is right.
WITH_PATH = {
    "prep": lambda path, tmp: ["prep", path, "--out", tmp / "out"],
    "validate": lambda path, tmp: ["validate", path],
    "validate both": lambda path, tmp: ["validate", path, path],
    "estimate": lambda path, tmp: ["estimate", path, "--model", "gpt-4.1-mini"],
    "train gpt": lambda path, tmp: ["train", "gpt", "--config", path, "--check"],
    "train bert": lambda path, tmp: ["train", "bert", "--config", path, "--check"],
    "train sft": lambda path, tmp: ["train", "sft", "--config", path, "--check"],
    "describe": lambda path, tmp: ["describe", path, "--title", "x"],
    "feedback list": lambda path, tmp: ["feedback", "list", "--db", path],
    "feedback export": lambda path, tmp: ["feedback", "export", "--db", path, "--out", tmp / "out"],
    "grade": lambda path, tmp: ["grade", path, "--out", tmp / "out"],
    "synthetic": lambda path, tmp: ["synthetic", path, "--lines", "3"],
    "course": lambda path, tmp: ["course", path],
}
WITH_CHILD = {
    "serve": lambda path, tmp: ["serve", path, "--port", "0"],
    "cloud": lambda path, tmp: ["cloud", "--base", path, "--folder", tmp / "cloud"],
}


def bad_path(kind, tmp):
    path = tmp / "input"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "loop":  # nobody can read it, not even root
        path.symlink_to(path)
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 64)
    elif kind == "long line":
        path.write_bytes(b'{"a": "' + b"x" * 3_000_000)
    elif kind == "under a file":
        path.touch()
        path = path / "deeper"
    elif kind == "huge name":
        path = tmp / ("x" * 5_000)
    elif kind == "nul":
        return f"{tmp}/a\0b"
    return path


KINDS = ["missing", "folder", "empty", "loop", "binary", "long line", "under a file", "huge name", "nul"]


@pytest.mark.parametrize("verb", WITH_PATH)
@pytest.mark.parametrize("kind", KINDS)
def test_no_verb_breaks_on_a_bad_file(afina, tmp_path, verb, kind):
    path = bad_path(kind, tmp_path)
    code, out, err = afina(*WITH_PATH[verb](path, tmp_path))
    # A file to write may be there already; an empty configuration changes nothing of the lesson's.
    fine = {"synthetic": ("missing", "empty", "binary", "long line")}
    fine |= dict.fromkeys(("train gpt", "train bert", "train sft"), ("empty",))
    if kind in fine.get(verb, ()):
        assert code == 0
        return
    assert code in (1, 2), (code, out, err)
    assert "erro: " in err or out, "something was said"
    assert not (tmp_path / "out").exists() or verb.startswith("feedback") or verb == "grade"


@pytest.mark.parametrize("verb", WITH_CHILD)
@pytest.mark.parametrize("kind", ["missing", "empty", "nul"])
def test_no_server_breaks_on_a_bad_model(afina, tmp_path, verb, kind):
    code, _, err = afina(*WITH_CHILD[verb](bad_path(kind, tmp_path), tmp_path))
    assert code == 2 and err.startswith("erro: ") and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["prep", "in.json", "--out", "out", "--shard-rows", "0"],
        ["prep", "in.json", "--out", "out", "--shard-rows", "-5"],
        ["prep", "in.json", "--out", "out", "--workers", "0"],
        ["prep", "in.json", "--out", "out", "--formats", "csv"],
        ["prep", "in.json", "--out", "out", "--near-duplicates", "7"],
        ["prep", "in.json", "--out", "out", "--near-duplicates", "nan"],
        ["synthetic", "x.json", "--lines", "-1"],
        ["synthetic", "x.json", "--lines", "0"],
        ["estimate", "in.json", "--epochs", "9999999999999999999999"],
        ["estimate", "in.json", "--model", "gpt-99"],
        ["validate", "in.json", "--max", "-3"],
        ["serve", "models/llama-base", "--batch", "0"],
        ["serve", "models/llama-base", "--port", "99999999"],
        ["serve", "models/llama-base", "--timeout", "nan"],
        ["cloud", "--port", "-1"],
        ["grade", ".", "--out", "g", "--task", "t99"],
    ],
    ids=" ".join,
)
def test_no_verb_breaks_on_an_impossible_number(afina, tmp_path, words):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (tmp_path / "in.json").write_text(json.dumps(row) + "\n", encoding="utf-8")
    code, out, err = afina(*words)
    assert code in (1, 2) and (err or out)


# --- interruptions, pipes and what nobody foresaw --------------------------------------------------------------------


def test_what_nobody_foresaw_is_one_sentence_and_a_traceback_on_demand(capsys, monkeypatch):
    def broken():
        """quebra

        Exemplo: afina broken
        """
        raise ZeroDivisionError("division by zero")

    monkeypatch.setitem(cli.COMMANDS, "broken", broken)
    assert cli.main(["broken"]) == 2
    said = capsys.readouterr().err
    assert "não previmos" in said and "ZeroDivisionError" in said and "test_cli.py" in said and "Traceback" not in said
    monkeypatch.setenv("AFINA_DEBUG", "1")
    assert cli.main(["broken"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    """`afina validate --json | head -1`"""
    code = (
        "import sys; from afina import cli\n"
        "cli.COMMANDS['many'] = lambda: print('x' * 100, *range(200_000), sep=chr(10)) or 0\n"
        "sys.exit(cli.main(['many']))"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.readline()
    running.stdout.close()
    assert (running.wait(30), running.stderr.read()) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_is_130_and_one_sentence(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-m", "afina.cli", "synthetic", str(tmp_path / "rows.json"), "--lines", "100000000"],
        stderr=subprocess.PIPE, env={**os.environ, "AFINA_PROGRESS": "0"}, text=True,
    )  # fmt: skip
    while not list(tmp_path.iterdir()):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and "interrompido" in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == [], "nothing was left half-written"
