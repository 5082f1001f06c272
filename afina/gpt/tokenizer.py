"""Byte-level byte-pair encoding by hand: train, encode, decode, save, load.

The text is cut into pieces by GPT-2's pattern, each piece is read as UTF-8 bytes, and the pair of neighbours seen most
often becomes one token, again and again. Merges, ids and the file are those of `tokenizers` with `ByteLevel`.

Source: Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016), and GPT-2 (2019).
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import regex

from afina import whole
from afina.errors import CourseError, require

END = "<|fim|>"  # closes every document
# Letters, digits or signs with the space before them; runs of spaces. The English endings come with GPT-2's pattern.
PIECE = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
CACHED_PIECES = 2**16

# GPT-2's order of the 256 bytes: first those that are a visible Latin-1 character, then the rest. In the file each byte
# is written as one visible character: itself, or for the rest one from U+0100 on.
_VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
BYTES = [*_VISIBLE, *(byte for byte in range(256) if byte not in _VISIBLE)]
_CHARACTERS = {byte: chr(byte if byte in _VISIBLE else 256 + i - len(_VISIBLE)) for i, byte in enumerate(BYTES)}
_BYTE_OF = {character: byte for byte, character in _CHARACTERS.items()}


def split(text: str) -> list[str]:
    """The pieces of `text`, in order; joined they are the text again. No token ever crosses their borders."""
    return PIECE.findall(text)


def merge(word: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """The ids of `word` with each `pair` replaced by `new`, from left to right."""
    merged, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


def alphabet(specials: tuple[str, ...]) -> list[bytes]:
    """Where every vocabulary begins: the special tokens, then the 256 bytes."""
    odd = [special for special in specials if not (special.startswith("<|") and special.endswith("|>"))]
    if odd or len(set(specials)) < len(specials):
        problem = f"tokens especiais precisam ser diferentes e ter a forma <|nome|>; recebi {list(specials)}."
        raise CourseError(problem, "Assim nenhum texto comum se confunde com eles.", where="specials")
    return [*(special.encode() for special in specials), *(bytes([byte]) for byte in BYTES)]


def count_pieces(texts: list[str], vocab_size: int, start: int) -> dict[str, int]:
    """How often each piece occurs in the corpus; CourseError for an empty corpus or a vocabulary without room to learn."""
    require(not isinstance(texts, str), "o corpus é um texto só.", "Passe uma lista de textos: [texto].", where="texts")
    remedy = f"São {start} antes da primeira fusão, os 256 bytes e os especiais: peça {start} ou mais."
    require(vocab_size >= start, f"um vocabulário de {vocab_size} é pequeno demais.", remedy, where="vocab_size")
    pieces = Counter(piece for text in texts for piece in split(text))
    problem = "o corpus está vazio: não há texto de onde aprender."
    require(pieces, problem, "Confira o arquivo e a leitura.", where="texts")
    return pieces


def train_bpe(texts: list[str], vocab_size: int, specials: tuple[str, ...] = (END,), min_count: int = 2) -> Tokenizer:
    """Learn byte pairs from `texts` until there are `vocab_size` tokens, or no pair is seen `min_count` times.

    The pair seen most often goes first; of equals, the one with the smaller ids, as in `tokenizers`. Counts are kept up to
    date instead of made anew: a merge touches only the pieces that hold its pair. The heap may hold an old count of a
    pair; it is put right when it comes up.
    """
    tokens = alphabet(specials)
    pieces = count_pieces(texts, vocab_size, len(tokens))
    ids = {token: i for i, token in enumerate(tokens)}
    words = [[ids[bytes([byte])] for byte in utf8(piece)] for piece in pieces]
    times = list(pieces.values())
    counts, where = Counter(), defaultdict(set)  # type: Counter[tuple[int, int]], defaultdict[tuple[int, int], set[int]]
    for i, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += times[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    merges = {}
    while heap and len(tokens) < vocab_size:
        count, best = heapq.heappop(heap)
        if -count != counts[best]:
            heapq.heappush(heap, (-counts[best], best))
            continue
        if -count < min_count:
            break
        joined = tokens[best[0]] + tokens[best[1]]
        merges[best] = new = ids.setdefault(joined, len(tokens))
        if new == len(tokens):
            tokens.append(joined)
        for pair in replace_pair(best, new, words, times, counts, where):
            heapq.heappush(heap, (-counts[pair], pair))
    return Tokenizer(tokens, merges, {special: ids[special.encode()] for special in specials})


def replace_pair(best, new, words, times, counts, where) -> set[tuple[int, int]]:
    """Merge `best` in the words that hold it and put the counts right; returns the pairs that did not stand there before."""
    born = set()
    for i in where.pop(best):
        before, words[i] = words[i], merge(words[i], best, new)
        for pair in pairwise(before):
            counts[pair] -= times[i]
        for pair in pairwise(words[i]):
            counts[pair] += times[i]
            if new in pair:
                where[pair].add(i)
                born.add(pair)
    return born


class Tokenizer:
    """Text to ids and back. `tokens[id]` is bytes; `merges` maps a pair of ids to the new one, in the order learnt.

    `specials` maps the text of each special token to its id; the first of them, `end`, closes documents.
    """

    def __init__(self, tokens: list[bytes], merges: dict[tuple, int], specials: dict[str, int]):
        self.tokens, self.merges, self.specials = tokens, merges, specials
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.byte_ids = {token[0]: i for i, token in enumerate(tokens) if len(token) == 1}
        self.known = {}  # type: dict[str, list[int]]  # pieces already encoded: words repeat

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def end(self) -> int:
        """The id of the token that closes a document."""
        return next(iter(self.specials.values()))

    def encode(self, text: str, specials: bool = True) -> list[int]:
        """The ids of `text`. With `specials=False`, "<|fim|>" in a text is just seven characters: use it for strangers."""
        marks = "|".join(map(regex.escape, self.specials)) if specials else ""
        ids = []
        for part in regex.split(f"({marks})", text) if marks else [text]:
            if specials and part in self.specials:
                ids.append(self.specials[part])
            else:
                ids += [i for piece in split(part) for i in self.encode_piece(piece)]
        return ids

    def encode_piece(self, piece: str) -> list[int]:
        """The ids of one piece: of the pairs in it, the one learnt first is merged first."""
        if piece in self.known:
            return self.known[piece]
        ids = [self.byte_ids[byte] for byte in utf8(piece)]
        while pairs := [pair for pair in pairwise(ids) if pair in self.ranks]:
            best = min(pairs, key=self.ranks.get)
            ids = merge(ids, best, self.merges[best])
        if len(self.known) < CACHED_PIECES:
            self.known[piece] = ids
        return ids

    def decode(self, ids, specials: bool = True) -> str:
        """The text of `ids` (a list, or a tensor of one dimension). Half a character shows as U+FFFD.

        `specials=False` leaves special tokens out. CourseError for an id that the vocabulary does not have.
        """
        left_out = () if specials else set(self.specials.values())
        ids = in_vocabulary(ids, len(self))
        return b"".join(self.tokens[i] for i in ids if i not in left_out).decode("utf-8", "replace")


def in_vocabulary(ids, size: int) -> list[int]:
    """The ids as a list of int; CourseError if one of them is not from 0 to `size` - 1."""
    ids = [int(i) for i in ids]
    wrong = [i for i in ids if not 0 <= i < size]
    if wrong:
        problem = f"o id {wrong[0]} não existe: o vocabulário vai de 0 a {size - 1}."
        raise CourseError(problem, "Texto e modelo precisam usar o mesmo tokenizador.", where="ids")
    return ids


def utf8(piece: str) -> bytes:
    """The bytes of `piece`; CourseError for half of a character pair (a lone surrogate), which no text file can hold."""
    try:
        return piece.encode()
    except UnicodeEncodeError as error:
        problem = f"o texto tem meio caractere ({piece[error.start]!a}), que não existe em UTF-8."
        remedy = 'Leia o arquivo com encoding="utf-8", ou limpe-o com texto.encode("utf-8", "replace").decode().'
        raise CourseError(problem, remedy, where="encode") from None


def visible(token: bytes) -> str:
    """A token as the file writes it, one visible character a byte: b" caf\\xc3\\xa9" is "ĠcafÃ©"."""
    return "".join(_CHARACTERS[byte] for byte in token)


def save_tokenizer(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write `tokenizer.json`, which `tokenizers` and `transformers` read too."""
    import tokenizers

    specials = {i: text for text, i in tokenizer.specials.items()}
    names = [specials.get(i, visible(token)) for i, token in enumerate(tokenizer.tokens)]
    merges = [(names[left], names[right]) for left, right in tokenizer.merges]
    library = tokenizers.Tokenizer(tokenizers.models.BPE({name: i for i, name in enumerate(names)}, merges))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.add_special_tokens([text for _, text in sorted(specials.items())])
    content = json.loads(library.to_str())
    content["decoder"] = content["pre_tokenizer"]
    whole.write(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a byte-level BPE `tokenizer.json`: ours, one made by `tokenizers`, or GPT-2's own. CourseError for any other."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model, steps = content["model"], content["pre_tokenizer"]
        kind = model.get("type", "BPE"), steps["type"], steps["add_prefix_space"], steps.get("use_regex", True)
        if kind != ("BPE", "ByteLevel", False, True) or content["normalizer"] or model["continuing_subword_prefix"]:
            raise ValueError(f"não é um BPE de bytes como o do GPT-2, mas {kind}")
        specials = {token["content"]: token["id"] for token in content["added_tokens"]}
        vocabulary = model["vocab"] | specials
        tokens = [b""] * len(vocabulary)
        for name, i in vocabulary.items():
            tokens[i] = name.encode() if name in specials else bytes(_BYTE_OF[character] for character in name)
        if b"" in tokens or not {bytes([byte]) for byte in range(256)} <= set(tokens):
            raise ValueError("o vocabulário tem buracos")
        merges = {}
        for pair in model["merges"]:
            left, right = pair.split(" ") if isinstance(pair, str) else pair  # files before 2024 have "a b"
            merges[vocabulary[left], vocabulary[right]] = vocabulary[left + right]
    except OSError:
        raise CourseError("não há este arquivo.", "Confira o caminho; a aula 04 grava um.", where=path) from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        problem = f"não consigo ler este tokenizador ({type(error).__name__}: {error})."
        raise CourseError(problem, "Grave-o de novo com save_tokenizer, ou baixe-o outra vez.", where=path) from None
    return Tokenizer(tokens, merges, specials)
