"""Near-duplicates: MinHash and LSH beside brute-force Jaccard, no row lost in silence, no leak from test to train."""

import itertools
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.cli import main
from afina.data.near import BANDS, PERMUTATIONS, RECALL, NearDuplicates, bands, runs, sketches
from afina.data.prep import prep
from afina.data.split import SPLITS
from afina.errors import CourseError

THRESHOLD = 0.8
TOLERANCE = 0.12  # more than three standard errors of the estimate at 0.8
WORDS = [f"palavra{i}" for i in range(400)]


def jaccard(one, other):
    one, other = set(runs(one)), set(runs(other))
    return len(one & other) / len(one | other)


def text(draw, length=60):
    return " ".join(draw.choices(WORDS, k=length))


def changed(draw, original, words):
    """The same text with some words swapped for others, from the middle on."""
    pieces = original.split()
    for place in range(len(pieces) // 2, len(pieces) // 2 + words):
        pieces[place] = draw.choice(WORDS)
    return " ".join(pieces)


def kept(texts, threshold=THRESHOLD):
    index = NearDuplicates(threshold)
    return [not index.repeats(sketch) for sketch in sketches(texts)]


def products(texts):
    return [{"uid": str(i), "title": text[:20], "content": text[20:]} for i, text in enumerate(texts)]


def run(folder, rows, **options):
    folder.mkdir(exist_ok=True)
    source = folder / "trn.json"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = prep(source, folder / "out", formats=("jsonl",), **options)
    return report, {
        split: [json.loads(line) for path in sorted((folder / "out").glob(f"{split}-*")) for line in path.open("rb")]
        for split in SPLITS
    }


# --- the measure -----------------------------------------------------------------------------------------------------


def test_runs_are_of_three_words_whatever_case_and_punctuation():
    assert runs("Mesa de Jantar, Azul.") == ["mesa de jantar", "de jantar azul"]
    assert runs("Mesa azul") == ["mesa azul"]
    assert runs(",") == [","]  # never empty: two texts without words are no reason to drop one


def test_bands_find_a_pair_at_the_threshold():
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        count = bands(threshold)
        assert count in BANDS
        assert 1 - (1 - threshold ** (PERMUTATIONS // count)) ** count >= RECALL


def test_the_estimate_is_the_jaccard_similarity_within_its_error():
    draw = random.Random(1)
    differences = []
    for words in list(range(1, 30)) * 4:
        one = text(draw)
        other = changed(draw, one, words)
        a, b = sketches([one, other])
        differences.append(a.jaccard(b) - jaccard(one, other))
    assert max(map(abs, differences)) < 0.18  # four standard errors at the worst, 0.5
    assert abs(sum(differences)) / len(differences) < 0.02  # no bias


def test_recall_and_precision_beside_every_pair_compared():
    """Texts with 0 to 8 words changed: similarity 1 to 0.68. Away from the threshold there is no mistake."""
    draw = random.Random(2)
    originals = [text(draw) for _ in range(300)]
    copies = [changed(draw, original, i % 9) for i, original in enumerate(originals)]
    similarity = [jaccard(one, other) for one, other in zip(originals, copies, strict=True)]
    stays = kept(originals + copies)
    assert all(stays[:300])  # nothing is near anything else
    dropped = [not stay for stay in stays[300:]]
    near = [s >= THRESHOLD for s in similarity]
    assert {s >= THRESHOLD + TOLERANCE for s in similarity} == {True, False}
    assert min(similarity) < THRESHOLD - 0.05
    hits = sum(n and d for n, d in zip(near, dropped, strict=True))
    assert hits / sum(near) >= 0.85  # recall, with many pairs close to the threshold
    assert hits / sum(dropped) >= 0.85  # precision
    for value, gone in zip(similarity, dropped, strict=True):
        if value >= THRESHOLD + TOLERANCE:
            assert gone
        if value <= THRESHOLD - TOLERANCE:
            assert not gone


def test_only_kept_rows_count_as_earlier():
    """b is near a and goes; c is near b but not near a, and stays."""
    draw = random.Random(3)
    a = text(draw, 100)
    pieces = a.split()
    b = " ".join([*pieces[:94], *draw.choices(WORDS, k=6)])
    c = " ".join([*draw.choices(WORDS, k=12), *b.split()[12:]])
    assert jaccard(a, b) > 0.87 > 0.79 > jaccard(b, c) > 0.75 > 0.7 > jaccard(a, c)
    assert kept([a, b, c], 0.75) == [True, False, True]
    assert kept([b, c], 0.75) == [True, False]


# --- the engine ------------------------------------------------------------------------------------------------------


def test_off_it_changes_nothing_and_on_it_counts(tmp_path):
    draw = random.Random(4)
    first = [text(draw) for _ in range(200)]
    rows = products(first) + products([changed(draw, original, 1) for original in first[:50]])
    rows += products(first[:10])  # exact repeats stay another reason
    plain, _ = run(tmp_path / "off", rows)
    near, files = run(tmp_path / "on", rows, near_duplicates=THRESHOLD)
    assert plain.kept == 250
    assert "near_duplicate" not in plain.dropped
    assert "quase iguais" not in str(plain)
    assert near.dropped["near_duplicate"] == 50
    assert near.dropped["duplicate"] == 10
    assert "quase iguais" in str(near)
    assert near.read == near.kept + sum(near.dropped.values()) == 260
    assert sorted(row["content"] for rows in files.values() for row in rows) == sorted(
        one[20:].strip() for one in first
    )
    manifest = json.loads((tmp_path / "off" / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["settings"]) == {"shard_rows", "formats", "shares"}


def test_no_near_copy_of_a_training_row_is_left_in_the_test(tmp_path):
    """The title decides the split: a copy with another title is a leak that exact matching does not see."""
    draw = random.Random(5)
    rows = []
    for i in range(300):
        content = text(draw)
        rows.append({"uid": f"a{i}", "title": f"Produto {i}", "content": content})
        rows.append({"uid": f"b{i}", "title": f"Oferta {i}", "content": changed(draw, content, 1)})

    def leaks(files):
        train = [f"{row['title']} {row['content']}" for row in files["train"]]
        held = [f"{row['title']} {row['content']}" for split in SPLITS[1:] for row in files[split]]
        return sum(jaccard(one, other) >= THRESHOLD for one, other in itertools.product(held, train))

    _, before = run(tmp_path / "off", rows)
    _, after = run(tmp_path / "on", rows, near_duplicates=THRESHOLD)
    assert leaks(before) > 20
    assert leaks(after) == 0


def test_two_processes_and_small_blocks_keep_the_same_rows(tmp_path, monkeypatch):
    draw = random.Random(6)
    rows = products([text(draw) for _ in range(300)])
    rows += [dict(row, uid=f"b{i}", title=f"{row['title']} nova") for i, row in enumerate(rows)]
    one, _ = run(tmp_path / "one", rows, near_duplicates=THRESHOLD, workers=1)
    monkeypatch.setattr("afina.data.prep.BLOCK_BYTES", 20_000)
    two, _ = run(tmp_path / "two", rows, near_duplicates=THRESHOLD, workers=2)
    assert one.shards == two.shards
    assert one.dropped == two.dropped
    assert one.dropped["near_duplicate"] > 250


def test_another_threshold_is_another_result(tmp_path):
    rows = products([text(random.Random(7)) for _ in range(3)])
    assert not run(tmp_path / "a", rows, near_duplicates=0.8)[0].ready
    assert run(tmp_path / "a", rows, near_duplicates=0.8)[0].ready
    assert not run(tmp_path / "a", rows, near_duplicates=0.9)[0].ready
    assert not run(tmp_path / "a", rows)[0].ready


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab c.,"), max_size=12), max_size=40), st.sampled_from([0.5, 0.8, 1.0]))
def test_no_row_is_lost_in_silence(tmp_path_factory, texts, threshold):
    rows = [{"uid": str(i), "title": f"t{i % 3}", "content": text} for i, text in enumerate(["sempre fica", *texts])]
    report, files = run(tmp_path_factory.mktemp("near"), rows, near_duplicates=threshold)
    assert report.read == len(rows) == report.kept + sum(report.dropped.values())
    assert report.kept == sum(len(rows) for rows in files.values())
    every = [runs(f"{row['title']} {row['content']}") for rows in files.values() for row in rows]
    assert len({frozenset(one) for one in every}) == len(every)  # equal sets of runs are always found


@pytest.mark.parametrize("bad", [0.4, 1.1, -1, float("nan")])
def test_a_threshold_that_makes_no_sense_is_refused(tmp_path, bad):
    with pytest.raises(CourseError, match="limiar de quase iguais"):
        prep(tmp_path / "a.json", tmp_path / "out", near_duplicates=bad)


def test_the_command_takes_it(tmp_path, capsys):
    run(tmp_path, products([text(random.Random(8))] * 2))
    assert main(["prep", str(tmp_path / "trn.json"), "--out", str(tmp_path / "near"), "--near-duplicates", "0.8"]) == 0
    assert "quase iguais" in capsys.readouterr().out
