"""The committed files of data/: listed with true sums, and made again from their seed byte for byte."""

import gzip
import hashlib
import re
import shutil

from course_data import DATA

from afina.data.synthetic import SAMPLE_LINES, catalogue_lines
from workshop.make import data

README = (DATA / "README.md").read_text(encoding="utf-8")


def test_every_file_is_listed_with_its_size_and_sum():
    table = README.split("<!-- somas -->\n")[1].split("<!-- /somas -->")[0]
    listed = {
        name: (int(size), sha)
        for name, size, sha in re.findall(r"^\| (\S+\.\S+) \| (\d+) \| (\w{64}) \|$", table, re.M)
    }
    files = [p for p in DATA.iterdir() if p.is_file() and p.name != "README.md" and not p.name.startswith(".")]
    files += DATA.glob("quizzes/*")
    actual = {
        p.relative_to(DATA).as_posix(): (p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files
    }
    assert listed == actual, "data/ changed: python -m workshop.make.data --sums"
    assert sum(size for size, _ in actual.values()) < 8_000_000
    for name in actual:
        section = "quizzes/*.json" if name.startswith("quizzes/") else name
        assert f"`{section}`" in README, f"{name} has no section in data/README.md"


def test_generated_files_come_out_again_from_the_seed(clubs):
    sample = gzip.decompress((DATA / "amazon_sample.json.gz").read_bytes())
    assert sample == b"".join(catalogue_lines(SAMPLE_LINES))
    for name, chunks in data.course_files(clubs).items():
        assert gzip.decompress((DATA / name).read_bytes()) == b"".join(chunks), name


def test_sums_are_refreshed_by_one_command(tmp_path, monkeypatch, capsys):
    shutil.copytree(DATA, tmp_path / "data", ignore=shutil.ignore_patterns("real"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "train.jsonl").write_text('{"messages": []}\n', encoding="utf-8", newline="\n")
    assert data.main(["--sums"]) == 0
    capsys.readouterr()
    text = (tmp_path / "data" / "README.md").read_text(encoding="utf-8")
    digest = hashlib.sha256((tmp_path / "data" / "train.jsonl").read_bytes()).hexdigest()
    assert f"| train.jsonl | 17 | {digest} |" in text
    assert text.split("<!-- somas -->")[0] == README.split("<!-- somas -->")[0]


def test_clubs(clubs):
    assert len(clubs) == len({club["nome"] for club in clubs}) == 10
    for club in clubs:
        assert list(club) == ["nome", "cidade", "fundacao", "titulos_liga", "estadio", "capacidade"]
        assert [type(value) for value in club.values()] == [str, str, int, int, str, int]
        assert 1850 < club["fundacao"] < 2000 and club["capacidade"] > 1_000
    # five champions in all, and one title for each season from 1934-35 to 2024-25
    assert sum(club["titulos_liga"] > 0 for club in clubs) == 5
    assert sum(club["titulos_liga"] for club in clubs) == 2025 - 1934


def test_the_command_writes_the_files_that_are_committed(tmp_path, monkeypatch):
    """Compressed bytes are zlib's business, another version of which may pack otherwise: the texts must be equal."""
    for name in ("clubes.json", "README.md"):
        shutil.copyfile(DATA / name, tmp_path / name)
    monkeypatch.setenv("AFINA_PROGRESS", "0")
    monkeypatch.setattr(data, "SAMPLE_LINES", 50)
    data.write_course_data(tmp_path)
    assert gzip.decompress((tmp_path / "amazon_sample.json.gz").read_bytes()) == b"".join(catalogue_lines(50))
    packed = sorted(path.name for path in DATA.glob("*.gz"))
    assert sorted(path.name for path in tmp_path.glob("*.gz")) == packed
    for name in set(packed) - {"amazon_sample.json.gz"}:
        assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress((DATA / name).read_bytes()), name
