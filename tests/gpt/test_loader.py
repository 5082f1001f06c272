"""Windows, packing, padding and reading of documents."""

from __future__ import annotations

import gzip

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.gpt.loader import IGNORED, Windows, batches, pack, pad, read_documents, ribbon
from afina.runtime import course_root

ROOT = course_root()

PROSE = read_documents(ROOT / "data" / "prose_train.txt.gz")

QUICK = settings(max_examples=40, deadline=None)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(6)


@QUICK
@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 60))
def test_windows_are_slices_and_the_target_is_one_ahead(context, stride, extra):
    ids = torch.randperm(context + 1 + extra)
    windows = Windows(ids, context, stride)
    starts = range(0, len(ids) - context, stride)
    assert len(windows) == len(starts) == len(list(windows))
    for (inputs, targets), start in zip(windows, starts, strict=True):
        assert torch.equal(inputs, ids[start : start + context])
        assert torch.equal(targets, ids[start + 1 : start + context + 1])
    for outside in (-1, len(windows)):
        with pytest.raises(IndexError):
            windows[outside]


def test_without_overlap_each_target_is_seen_once():
    ids = list(range(101))
    targets = torch.cat([target for _, target in Windows(ids, 10)])
    assert targets.tolist() == ids[1:]


def test_batches_are_the_same_for_the_same_seed_and_new_every_pass():
    windows = Windows(list(range(400)), 4)

    def passes(seed, shuffle=True):
        loader = batches(windows, 8, shuffle, seed)
        return [torch.cat([inputs for inputs, _ in loader]) for _ in range(2)]

    one, two = passes(7)
    assert all(map(torch.equal, (one, two), passes(7)))
    assert not torch.equal(one, two) and not torch.equal(one, passes(8)[0])
    assert torch.equal(one.flatten().sort().values, two.flatten().sort().values)
    in_order = torch.cat([inputs for inputs, _ in windows]).view(-1, 4)
    assert all(torch.equal(in_order, each) for each in passes(7, shuffle=False))


@QUICK
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=40))
def test_packing_keeps_every_document_whole(documents):
    marked = [[(number, token) for token in document] for number, document in enumerate(documents)]
    rows = pack(marked, room=12)
    assert all(len(row) <= 12 for row in rows) and len(rows) <= len(documents)
    flat = [item for row in rows for item in row]
    numbers = [number for number, _ in flat]
    assert len({n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n}) == len(documents)
    assert sorted(flat) == sorted(item for document in marked for item in document)
    for number, document in enumerate(marked):
        start = numbers.index(number)
        assert flat[start : start + len(document)] == document
    assert sum(len(row) <= 6 for row in rows) <= 1  # two rows that are half empty would have been one


def test_packing_puts_the_longest_first():
    """Two rows hold these; taken as they come, the short ones share a row and three are needed."""
    assert len(pack([[1] * 3, [2] * 3, [3] * 7, [4] * 7], room=10)) == 2


def test_padding_does_not_count():
    inputs, targets = pad([[5, 6, 7], [8, 9]], filler=0)
    assert inputs.tolist() == [[5, 6], [8, 9]] and targets.tolist() == [[6, 7], [9, IGNORED]]
    logits = torch.randn(2, 2, 10)
    alone = F.cross_entropy(torch.cat([logits[0], logits[1, :1]]), torch.tensor([6, 7, 9]))
    assert torch.allclose(F.cross_entropy(logits.flatten(0, 1), targets.flatten()), alone)


def test_the_ribbon_closes_every_document():
    assert ribbon([[4, 5], [], [6]], end=0) == [4, 5, 0, 0, 6, 0]


def test_documents_are_read_plain_or_gzipped(tmp_path):
    (tmp_path / "a.txt").write_text("um\nainda um\n\n\n\ndois\n", encoding="utf-8")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"um\nainda um\n\ndois"))
    assert read_documents(tmp_path / "a.txt") == read_documents(tmp_path / "a.txt.gz") == ["um\nainda um", "dois"]
    assert len(PROSE) == 8100


@pytest.mark.parametrize(
    ("name", "content"),
    # a fixed mtime: two workers that collect in different seconds must see the same test
    [("empty.txt", b" \n\n "), ("empty.txt.gz", gzip.compress(b"", mtime=0)), ("latin1.txt", b"a\xe7\xe3o"),
     ("damaged.txt.gz", b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 9), ("a folder.txt", ...),
     ("cut.txt.gz", gzip.compress(b"oi" * 500, mtime=0)[:20]), ("not.txt.gz", b"plain"), ("absent.txt", None)],
)  # fmt: skip
def test_a_corpus_that_cannot_be_read_is_an_error(name, content, tmp_path):
    if content is ...:
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CourseError, match=name):
        read_documents(tmp_path / name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Windows([], 4), "0 tokens.*pede 5"),
        (lambda: Windows([1, 2, 3, 4], 4), "4 tokens.*pede 5"),
        (lambda: Windows(range(9), 4, 0), "stride=0"),
        (lambda: Windows(range(9), 0), "context=0"),
        (lambda: pack([[1, 2, 3]], 2), "3 tokens.*só 2"),
    ],
)
def test_rows_that_cannot_be_made_are_an_error(call, words):
    with pytest.raises(CourseError, match=words):
        call()
