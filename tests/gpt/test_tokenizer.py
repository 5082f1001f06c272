"""The tokenizer by hand against the library's, on the course's corpus and on fresh random ones."""

from __future__ import annotations

import json
import pickle
import random
from itertools import pairwise
from pathlib import Path

import pytest
import tokenizers
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.gpt.loader import read_documents
from afina.gpt.tokenizer import END, Tokenizer, load_tokenizer, merge, save_tokenizer, split, train_bpe
from afina.runtime import course_root

ROOT = course_root()

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
