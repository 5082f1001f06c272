"""Instructions by hand: data without leaks, a loss that is transformers' and blind to padding, grades, and the mutants of each."""

import json
import math
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from afina.errors import CourseError
from afina.gpt import attention, instruct
from afina.gpt.instruct import (
    agreement,
    alpaca,
    answers,
    ask_judge,
    encode_example,
    instruction_rows,
    known_values,
    leaks,
    masked_loss,
    mix,
    pad_examples,
    prompt_ids,
    read_instructions,
    read_verdict,
    rubric,
    says,
    score,
    shift,
    stated,
)
from afina.gpt.loader import IGNORED, Windows
from afina.gpt.model import GPT, GPTConfig, next_token_loss
from afina.gpt.train import Recipe, train
from afina.gpt.weights import to_gpt2
from afina.runtime import course_root
from workshop.make.instructions import instructions

pytestmark = pytest.mark.usefixtures("one_thread")


SPLITS = ("train", "validation", "test_combinations", "test_phrasings")

CONTEXT = 128


@pytest.fixture(scope="module")
def data():
    return {split: read_instructions(split) for split in SPLITS}


@pytest.fixture(scope="module")
def known(data):
    return known_values([row for rows in data.values() for row in rows])


@pytest.fixture
def model(tokenizer):
    """Small, with every weight far from zero: what must not matter would show."""
    built = GPT(GPTConfig(len(tokenizer), CONTEXT, 32, 4, 2)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return built


@pytest.fixture
def encoded(data, tokenizer):
    return [encode_example(row, tokenizer, CONTEXT) for row in data["train"][:12]]


def prove_nothing_leaks(data):
    train = data["train"]
    for name in ("validation", "test_combinations"):
        assert not leaks(train, data[name], "combinations")
    assert not leaks(data["validation"], data["test_combinations"], "combinations")
    assert not leaks(train, data["test_phrasings"], "phrasing")
    for name in SPLITS[1:]:
        assert not leaks(train, data[name], "request")


def test_nothing_leaks(data):
    prove_nothing_leaks(data)
    assert leaks(data["train"], data["test_phrasings"], "combinations")  # there, only the words are new


@pytest.mark.parametrize("split", SPLITS[1:])
@pytest.mark.parametrize("place", [0, 50, 100])
def test_mutant_a_test_row_in_the_training(data, split, place):
    with pytest.raises(AssertionError):
        prove_nothing_leaks({**data, "train": [*data["train"], data[split][place]]})


def test_mutant_a_combination_in_the_training_under_other_words(data):
    row = data["test_combinations"][0]
    copied = {**row, "instruction": "Outro pedido.", "phrasing": data["train"][0]["phrasing"]}
    with pytest.raises(AssertionError):
        prove_nothing_leaks({**data, "train": [*data["train"], copied]})


def test_rows_are_what_the_docstring_says(data, known):
    assert {split: len(rows) for split, rows in data.items()}["train"] == 1884
    everything = [row for rows in data.values() for row in rows]
    assert len({alpaca(row["instruction"], row["input"]) for row in everything}) == len(everything)
    for split, rows in data.items():
        assert len(Counter(row["kind"] for row in rows)) == 9 or split == "validation"
        for row in rows:
            assert rubric(row, row["output"], known) == 5
            for name, value in row["attributes"].items():
                assert value.lower() in stated(row["output"], known[name])
            assert not re.search(r"[{}|]|\s{2}", row["instruction"] + row["input"] + row["output"])
            if row["input"]:  # nothing is asked that the text does not say
                assert all(
                    value.lower() in f"{row['instruction']} {row['input']}".lower()
                    for value in row["attributes"].values()
                )


def test_the_instruction_decides_the_answer(data):
    """One text, several right answers: reading the input alone is not enough."""
    by_kind = Counter(row["kind"] for row in data["train"])
    assert max(by_kind.values()) == 300 and by_kind["cor"] == by_kind["material"] == by_kind["preço"]
    asked = {row["kind"] for row in data["train"] if row["input"].startswith("À venda: ")}
    assert asked == {"cor", "material", "preço", "ficha"}


def test_the_same_seed_gives_the_same_rows():
    clubs = json.loads((course_root() / "data" / "clubes.json").read_text(encoding="utf-8"))
    rows = list(instructions(clubs))
    assert rows == [row for row in instructions(clubs)]
    assert rows[:50] != list(instructions(clubs, 7))[:50]
    prove_nothing_leaks({split: [row for row in instructions(clubs, 7) if row["split"] == split] for split in SPLITS})


def test_labels_are_the_answer_and_its_end(data, tokenizer):
    for row in data["train"][:200]:
        ids, labels = encode_example(row, tokenizer, CONTEXT)
        start = labels.index(next(label for label in labels if label != IGNORED))
        assert tokenizer.decode(ids[1:start]) == alpaca(row["instruction"], row["input"])
        assert labels[start:] == ids[start:] and len(ids) == len(labels)
        assert tokenizer.decode(labels[start:-1]) == row["output"] and labels[-1] == tokenizer.end
        assert ids[:start] == prompt_ids(row, tokenizer)


def test_a_typed_end_token_is_common_text(data, tokenizer):
    row = {**data["train"][0], "instruction": "Pare.<|fim|>", "input": "<|fim|>", "output": "<|fim|> não"}
    ids, labels = encode_example(row, tokenizer, CONTEXT)
    assert ids.count(tokenizer.end) == 2 and labels.count(tokenizer.end) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction": " "}, "instruction"),
        ({"instruction": None}, "instruction"),
        ({"output": ""}, "output"),
        ({"input": "azul " * 200}, "tokens"),
    ],
)
def test_bad_rows_are_refused(data, tokenizer, change, message):
    with pytest.raises(CourseError, match=message):
        encode_example({**data["train"][0], **change}, tokenizer, CONTEXT)


def test_the_input_may_be_left_out(tokenizer):
    bare = {"instruction": "Diga oi.", "output": "Oi."}
    assert encode_example(bare, tokenizer, CONTEXT) == encode_example({**bare, "input": ""}, tokenizer, CONTEXT)


def test_bad_requests_are_refused(data):
    with pytest.raises(CourseError, match="divisão"):
        read_instructions("teste")
    with pytest.raises(CourseError, match="nenhum exemplo"):
        instruction_rows([], None, CONTEXT)
    with pytest.raises(CourseError, match="share"):
        mix([], [], 1.0)
    with pytest.raises(CourseError, match="antigas"):
        mix([(1, 2)] * 9, [(3, 4)], 0.5)


def test_rows_fit_the_training_loop(data, tokenizer, model):
    some = data["train"][:24]
    pairs = instruction_rows(some, tokenizer, CONTEXT)
    width = len(pairs[0][0])
    assert len(pairs) == 24 and all(len(inputs) == len(targets) == width for inputs, targets in pairs)
    old = list(Windows(torch.arange(2000), width))
    mixed = mix(pairs, old, 0.25)
    assert len(mixed) == 32 and all(len(inputs) == width for inputs, _ in mixed)
    assert len({inputs[0].item() for inputs, _ in mixed[24:]}) == 8  # drawn without repeating
    diary = list(train(model, mixed, pairs[:4], Recipe(steps=12, batch_size=8, learning_rate=1e-2, warmup=2)))
    assert diary[-1]["loss"] < diary[0]["loss"]


def prove_the_loss_is_transformers(loss_of, pad, encoded, model):
    ids, labels = pad(encoded, 0)
    seen = torch.arange(ids.size(1)) < torch.tensor([len(row) for row, _ in encoded])[:, None]
    with torch.no_grad():
        inputs, targets = shift(ids, labels)
        honest = to_gpt2(model)(
            input_ids=ids,
            attention_mask=seen.long(),
            labels=torch.tensor([row + [IGNORED] * (ids.size(1) - len(row)) for _, row in encoded]),
        ).loss
        assert torch.allclose(loss_of(model(inputs), targets), honest, atol=1e-5)


def prove_padding_never_counts(pad, encoded, model):
    """The loss of each row alone, and of the batch, whatever the filler and however long."""
    longer = ([5] * CONTEXT, [IGNORED] * CONTEXT)
    with torch.no_grad():

        def loss(rows, filler):
            inputs, targets = shift(*pad(rows, filler))
            return masked_loss(model(inputs), targets)

        counts = torch.tensor([sum(label != IGNORED for label in labels) for _, labels in encoded])
        alone = torch.stack([loss([row], 0) for row in encoded])  # nothing to fill
        expected = (alone * counts).sum() / counts.sum()
        for filler in (0, 7, 2000):
            for rows in (encoded, [*encoded, longer]):
                assert torch.allclose(loss(rows, filler), expected, atol=1e-5)


def pad_that_counts(encoded, filler):
    """The mutant: what was filled is learned, too."""
    ids, _ = pad_examples(encoded, filler)
    rows = [labels + [filler] * (ids.size(1) - len(labels)) for _, labels in encoded]
    return ids, torch.tensor(rows)


def pad_masked_by_id(encoded, filler):
    """The mutant that loses the ends of the answers, where the filler is the end token."""
    ids, labels = pad_examples(encoded, filler)
    return ids, labels.masked_fill(ids == filler, IGNORED)


def test_hand_loss_is_transformers(encoded, model):
    prove_the_loss_is_transformers(masked_loss, pad_examples, encoded, model)
    prove_the_loss_is_transformers(next_token_loss, pad_examples, encoded, model)


def test_padding_never_changes_the_loss(encoded, model):
    prove_padding_never_counts(pad_examples, encoded, model)


@pytest.mark.parametrize("mutant", [pad_that_counts, pad_masked_by_id])
def test_mutant_pad_in_the_loss(encoded, model, mutant):
    with pytest.raises(AssertionError):
        prove_padding_never_counts(mutant, encoded, model)
    with pytest.raises(AssertionError):
        prove_the_loss_is_transformers(masked_loss, mutant, encoded, model)


def test_mutant_the_mean_over_padding_too(encoded, model):
    def diluted(logits, targets):
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / targets.numel()

    with pytest.raises(AssertionError):
        prove_the_loss_is_transformers(diluted, pad_examples, encoded, model)


def test_mutant_missing_causal_mask(encoded, model, monkeypatch):
    """Without the mask, a token sees the padding at its right, and the answer that it should guess."""
    fused = F.scaled_dot_product_attention

    class Uncovered:
        def __getattr__(self, name):
            return getattr(F, name)

        @staticmethod
        def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False):
            return fused(query, key, value, dropout_p=dropout_p)

    monkeypatch.setattr(attention, "F", Uncovered())
    with pytest.raises(AssertionError):
        prove_padding_never_counts(pad_examples, encoded, model)
    with pytest.raises(AssertionError):
        prove_the_loss_is_transformers(masked_loss, pad_examples, encoded, model)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 30))
def test_masked_loss_is_pytorchs(seed, rows, width):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, width, 11, generator=generator)
    targets = torch.randint(11, (rows, width), generator=generator)
    targets[torch.rand(rows, width, generator=generator) < 0.6] = IGNORED
    targets[0, 0] = 3  # one at least
    assert torch.allclose(masked_loss(logits, targets), next_token_loss(logits, targets), atol=1e-5)


def test_answers_are_those_of_one_request_at_a_time(data, tokenizer, model):
    some = data["test_combinations"][:12]
    together = answers(model, tokenizer, some, 8)
    assert together == [answers(model, tokenizer, [row], 8)[0] for row in some]
    assert all("<|fim|>" not in text for text in together)


ROW = {
    "instruction": "Anuncie o produto.",
    "input": "",
    "output": "À venda: caneca azul de louça por 70 reais.",
    "attributes": {"coisa": "caneca", "cor": "azul", "material": "louça", "preço": "70"},
}


@pytest.mark.parametrize(
    ("text", "wrong", "grade"),
    [
        (ROW["output"], set(), 5),
        ("Vendo uma CANECA azul, de louça, 70 reais!", set(), 5),
        ("À venda: caneca azul de louça por 70 reais. Ana tem um livro.", {"coisa"}, 3),
        ("À venda: caneca azul de louça por 70 reais, disse Bruno.", set(), 4),
        ("À venda: caneca verde de louça por 70 reais.", {"cor"}, 3),
        ("À venda: caneca azul ou verde de louça por 70 reais.", {"cor"}, 3),
        ("À venda: caneca azul de vidro por 170 reais.", {"material", "preço"}, 3),
        ("À venda: canecas azuladas.", {"coisa", "cor", "material", "preço"}, 1),
        ("", {"coisa", "cor", "material", "preço"}, 1),
    ],
)
def test_grades(known, text, wrong, grade):
    assert {name for name, right in says(ROW, text, known).items() if not right} == wrong
    assert rubric(ROW, text, known) == grade


def test_score(known):
    perfect = score([ROW, ROW], [ROW["output"]] * 2, known)
    assert perfect == pytest.approx({"attributes": 1, "all": 1, "equal": 1, "chrf": 100})
    half = score([ROW, ROW], [ROW["output"], "À venda: caneca azul de vidro por 7 reais."], known)
    assert half["attributes"] == 0.75 and half["all"] == half["equal"] == 0.5 and 50 < half["chrf"] < 100


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("4", 4), (" 5.\n", 5), ("Nota: 3", 3), ("2/5", 2), ("18 inch", None), ("6", None), ("45", None), ("", None)],
)
def test_verdicts(reply, verdict):
    assert read_verdict(reply) == verdict


def test_agreement():
    assert agreement([5, 1, 3], [5, 1, 3]) == {"answered": 1, "same": 1, "kappa": 1}
    kind = agreement([5, 5, 5, 5], [5, 1, 5, 1])
    assert kind["same"] == 0.5 and kind["kappa"] == 0
    silent = agreement([None, None], [5, 1])
    assert silent["answered"] == silent["same"] == 0 and math.isnan(silent["kappa"])
    assert agreement([None, 1], [5, 1])["same"] == 0.5


@pytest.fixture
def endpoint(known):
    """A service in OpenAI's protocol whose judge is the rubric: what the meter must then call perfect."""

    class Judge(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if asked["model"] != "rubrica":
                self.answer(404, {"error": {"message": "no such model"}})
                return
            text = re.search(r"Resposta do aluno: (.*)\nNota:", asked["messages"][-1]["content"], re.S)[1]
            content = f"Nota: {rubric(ROW, text, known)}"
            self.answer(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]})

        def answer(self, status, body):
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Judge)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_endpoint_can_judge(endpoint, known):
    import openai

    client = openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0)
    texts = [ROW["output"], "À venda: caneca verde de vidro por 70 reais.", "Não sei."]
    verdicts = [read_verdict(reply) for reply in ask_judge(client, "rubrica", [ROW] * 3, texts)]
    truth = [rubric(ROW, text, known) for text in texts]
    assert agreement(verdicts, truth) == {"answered": 1, "same": 1, "kappa": 1} and len(set(truth)) == 3
    with pytest.raises(CourseError, match="juiz"):
        ask_judge(client, "outro", [ROW], ["x"])


def test_the_judge_is_told_what_it_grades(data):
    row = next(row for row in data["train"] if row["input"])
    asked = instruct.judge_messages(row, "minha resposta")[-1]["content"]
    assert all(part in asked for part in (row["instruction"], row["input"], row["output"], "minha resposta"))
