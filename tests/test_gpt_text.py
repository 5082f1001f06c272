"""Tokenizer, loader and embeddings of `afina.gpt`, against their references on fresh random inputs."""

from __future__ import annotations

import gzip
import json
import pickle
import random
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.gpt.embeddings import add_positions, look_up, rotary, sinusoidal
from afina.gpt.loader import IGNORED, Windows, batches, pack, pad, read_documents, ribbon
from afina.gpt.tokenizer import END, Tokenizer, load_tokenizer, merge, save_tokenizer, split, train_bpe

ROOT = Path(__file__).resolve().parent.parent
PROSE = read_documents(ROOT / "data" / "prose_train.txt.gz")
QUICK = settings(max_examples=40, deadline=None)
SPECIALS = (END, "<|usuario|>")


def by_library(texts, vocab_size, specials=(END,), min_count=2) -> tokenizers.Tokenizer:
    reference = tokenizers.Tokenizer(tokenizers.models.BPE())
    reference.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(specials),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    reference.train_from_iterator(texts, trainer)
    return reference


def model_of(tokenizer: Tokenizer, folder: Path) -> dict:
    save_tokenizer(tokenizer, folder / "tokenizer.json")
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]


def random_corpus(seed: int) -> list[str]:
    """Made-up words from syllables, so that pairs repeat and tie, with digits, signs and accents between them."""
    rng = random.Random(seed)
    syllables = ["ba", "be", "ção", "çõe", "la", "lo", "tra", "é", "ni", "qu", "ü", "ß", "na", "an"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(60)] + [
        "-",
        "…",
        "12",
        "R$",
        "\n",
        "  ",
    ]
    return [" ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(30)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(6)


# --- byte pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab_size", [300, 700, 2000])
def test_the_course_corpus_gives_the_librarys_merges_and_ids(vocab_size, tmp_path):
    ours, reference = train_bpe(PROSE[:3000], vocab_size), by_library(PROSE[:3000], vocab_size)
    theirs = json.loads(reference.to_str())["model"]
    saved = model_of(ours, tmp_path)
    assert saved["merges"] == theirs["merges"] and len(saved["merges"]) > 40
    assert saved["vocab"] == theirs["vocab"]
    for text in PROSE[3000:3100]:
        assert ours.encode(text) == reference.encode(text).ids


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("min_count", [1, 3])
def test_random_corpora_give_the_librarys_merges_and_ids(seed, min_count, tmp_path):
    corpus = random_corpus(seed)
    ours = train_bpe(corpus, 420, SPECIALS, min_count)
    reference = by_library(corpus, 420, SPECIALS, min_count)
    saved, theirs = model_of(ours, tmp_path), json.loads(reference.to_str())["model"]
    assert (saved["merges"], saved["vocab"]) == (theirs["merges"], theirs["vocab"])
    for text in random_corpus(seed + 100):
        assert ours.encode(text) == reference.encode(text).ids


def test_of_pairs_seen_equally_often_the_one_with_smaller_ids_goes_first():
    tokenizer = train_bpe(["xy ab xy ab"], 258)
    assert tokenizer.tokens[-1] == b"ab"  # "xy" came first in the text, but a is before x


def test_counts_kept_up_to_date_are_the_counts_made_anew():
    """The textbook's way, which counts every pair again before each merge, learns the same merges."""
    corpus = random_corpus(99)
    tokenizer = train_bpe(corpus, 330)
    pieces = [piece for text in corpus for piece in split(text)]
    words = [[tokenizer.byte_ids[byte] for byte in piece.encode()] for piece in pieces]
    for pair, new in tokenizer.merges.items():
        counts: dict[tuple[int, int], int] = {}
        for word in words:
            for neighbours in pairwise(word):
                counts[neighbours] = counts.get(neighbours, 0) + 1
        assert pair == min(counts, key=lambda each: (-counts[each], each))
        words = [merge(word, pair, new) for word in words]


TRAINED = train_bpe(PROSE[:500], 600, SPECIALS)


@QUICK
@given(st.text())
@example("Olá, 世界! 🦜 \u0301e\x00\r\n\t  ﷽ ½ Ⅷ 𝟘")
@example("")
def test_any_text_comes_back_from_its_ids(text):
    assert "".join(split(text)) == text
    assert TRAINED.decode(TRAINED.encode(text)) == text
    assert TRAINED.decode(TRAINED.encode(text, specials=False), specials=False) == text


@QUICK
@given(st.text(alphabet=st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn"])))
def test_any_text_has_the_librarys_ids(text):
    reference = tokenizers.Tokenizer.from_str(LIBRARY_COPY)
    assert TRAINED.encode(text) == reference.encode(text).ids


@pytest.fixture(scope="module", autouse=True)
def _library_copy(tmp_path_factory):
    global LIBRARY_COPY
    path = tmp_path_factory.mktemp("copy") / "tokenizer.json"
    save_tokenizer(TRAINED, path)
    LIBRARY_COPY = path.read_text(encoding="utf-8")


def test_the_file_goes_both_ways(tmp_path):
    path = tmp_path / "tokenizer.json"
    save_tokenizer(TRAINED, path)
    again = load_tokenizer(path)
    assert (again.tokens, again.merges, again.specials) == (TRAINED.tokens, TRAINED.merges, TRAINED.specials)
    reference = by_library(PROSE[:500], 600, SPECIALS)
    reference.save(str(path))
    theirs = load_tokenizer(path)
    assert (theirs.tokens, theirs.merges, theirs.specials) == (TRAINED.tokens, TRAINED.merges, TRAINED.specials)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_older_form_of_gpt2_is_read_too(tmp_path):
    """Merges as "a b", no type, empty prefixes, and the special token at the end of the vocabulary."""
    plain = train_bpe(PROSE[:500], 599, ())
    content = json.loads(LIBRARY_COPY)
    model = model_of(plain, tmp_path) | {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    model["vocab"]["<|endoftext|>"] = 599
    del model["type"]
    end = content["added_tokens"][0] | {"id": 599, "content": "<|endoftext|>"}
    (tmp_path / "old.json").write_text(json.dumps(content | {"model": model, "added_tokens": [end]}), encoding="utf-8")
    old = load_tokenizer(tmp_path / "old.json")
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "old.json"))
    text = PROSE[600] + "<|endoftext|> água 🦜"
    assert old.end == 599 and len(old) == 600
    assert old.encode(text) == reference.encode(text).ids and old.decode(old.encode(text)) == text


def test_the_library_and_transformers_read_our_file(tmp_path):
    from transformers import PreTrainedTokenizerFast

    save_tokenizer(TRAINED, tmp_path / "tokenizer.json")
    text = f"O Benfica joga em Lisboa.{END}<|usuario|>Olá 🦜"
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    ids = TRAINED.encode(text)
    assert ids == reference.encode(text).ids == fast(text)["input_ids"]
    assert reference.decode(ids, skip_special_tokens=False) == TRAINED.decode(ids) == text
    assert reference.decode(ids) == TRAINED.decode(ids, specials=False)


def test_special_tokens_are_one_id_unless_a_stranger_writes_them():
    assert TRAINED.encode(END) == [TRAINED.end] == [0]
    assert TRAINED.encode("<|usuario|>") == [1]
    plain = TRAINED.encode(END, specials=False)
    assert TRAINED.end not in plain and TRAINED.decode(plain) == END
    assert TRAINED.decode([0, *TRAINED.encode("oi"), 1], specials=False) == "oi"
    assert pickle.loads(pickle.dumps(TRAINED)).encode("oi") == TRAINED.encode("oi")


def test_a_tensor_of_ids_is_decoded_too():
    assert TRAINED.decode(torch.tensor(TRAINED.encode("São Paulo"))) == "São Paulo"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: train_bpe([], 300), "vazio"),
        (lambda: train_bpe(["", ""], 300), "vazio"),
        (lambda: train_bpe("um texto só", 300), "lista"),
        (lambda: train_bpe(["oi"], 256), "257"),
        (lambda: train_bpe(["oi"], 300, ("fim",)), r"<\|nome\|>"),
        (lambda: train_bpe(["oi"], 300, (END, END)), "diferentes"),
        (lambda: TRAINED.decode([5, 600]), "600.*0 a 599"),
        (lambda: TRAINED.decode([-1]), "-1"),
        (lambda: TRAINED.encode("a\ud800"), "meio caractere"),
    ],
)
def test_bad_input_gets_one_clear_error(call, words):
    with pytest.raises(CourseError, match=words):
        call()
    assert len(train_bpe(["oi oi"], 257)) == 257  # the smallest vocabulary that is allowed learns nothing


def damaged_files() -> dict[str, str]:
    whole = json.loads(Path(ROOT / "models" / "bert-pt" / "tokenizer.json").read_text(encoding="utf-8"))
    return {
        "truncated": '{"version": "1.0", "model": {"ty',
        "wordpiece": json.dumps(whole),
        "a list": "[]",
        "empty": "",
    }


@pytest.mark.parametrize(
    "kind", ["truncated", "wordpiece", "a list", "empty", "missing", "folder", "unknown part", "hole"]
)
def test_a_file_that_is_not_such_a_tokenizer_is_refused(kind, tmp_path):
    path = tmp_path / "tokenizer.json"
    if kind in ("unknown part", "hole"):
        content = json.loads(LIBRARY_COPY)
        if kind == "hole":
            del content["model"]["vocab"]["!"]
        else:
            content["model"]["merges"].append(["zzz", "!"])
        path.write_text(json.dumps(content), encoding="utf-8")
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text(damaged_files()[kind], encoding="utf-8")
    with pytest.raises(CourseError, match=r"tokenizer\.json"):
        load_tokenizer(path)


# --- windows, padding, packing -----------------------------------------------------------------------------------------


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


# --- vectors and positions ---------------------------------------------------------------------------------------------


def test_a_look_up_is_a_one_hot_product():
    table, ids = torch.randn(50, 8), torch.randint(50, (3, 7))
    assert torch.equal(look_up(table, ids), F.one_hot(ids, 50).float() @ table)
    for wrong in (50, -1):
        with pytest.raises(CourseError, match=rf"{wrong}.*0 a 49"):
            look_up(table, torch.tensor([[3, wrong]]))


def test_positions_are_added_row_by_row_and_end_with_the_table():
    x, table = torch.randn(2, 5, 8), torch.randn(6, 8)
    assert torch.equal(add_positions(x, table)[1, 3], x[1, 3] + table[3])
    with pytest.raises(CourseError, match=r"5 tokens.*4 posições"):
        add_positions(x, table[:4])


def test_sinusoids_are_the_formula():
    table = sinusoidal(40, 16)
    for position, column in torch.randint(8, (30, 2)).tolist():
        angle = torch.tensor(position / 10_000 ** (2 * column / 16))
        assert torch.allclose(table[position, 2 * column], angle.sin(), atol=1e-6)
        assert torch.allclose(table[position, 2 * column + 1], angle.cos(), atol=1e-6)
    products = table @ table.T  # they, too, know the distance
    assert torch.allclose(products[3:20, 3:20], products[:17, :17], atol=1e-4)


def test_turned_vectors_know_their_distance_only():
    query, key = torch.randn(64), torch.randn(64)
    for distance in (0, 1, 17):
        at = torch.randint(0, 200, (6,)).float()
        turned = rotary(query.expand(6, 64), at + distance) * rotary(key.expand(6, 64), at)
        products = turned.sum(-1)
        assert torch.allclose(products, products[:1].expand(6), atol=2e-3)
        assert torch.allclose(rotary(query[None], at[:1]).norm(), query.norm(), rtol=1e-4)


def test_the_turn_is_that_of_transformers_llama():
    """Llama pairs column i with i + width/2; with the columns put in that order it is the same turn."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    width, tokens = 32, 9
    x = torch.randn(1, 1, tokens, width)
    config = LlamaConfig(hidden_size=width, num_attention_heads=1, max_position_embeddings=64)
    halves = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    cos, sin = LlamaRotaryEmbedding(config)(x, torch.arange(tokens)[None])
    theirs, _ = apply_rotary_pos_emb(x[..., halves], x[..., halves], cos, sin)
    assert torch.allclose(rotary(x, torch.arange(tokens).float())[..., halves], theirs, atol=1e-5)
