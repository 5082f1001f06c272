"""What `afina serve` loads and how it answers many at once, in this process: no server, no browser."""

import asyncio
import json
import random
import shutil
import threading

import pytest
import torch
from cloud_base import tiny_base
from safetensors.torch import save_file

from afina.cloud.chat import END, Line, Refused, Turn
from afina.errors import CourseError
from afina.gpt.instruct import prompt_ids
from afina.gpt.lora import LoRASettings, add_lora, save_lora
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt
from afina.runtime import course_root
from afina.serve import engine, load_checkpoint, save_chat_gpt
from afina.serve.feedback import Feedback, main
from afina.tune.bert import captured_log, classifier, predict

MODELS = course_root() / "models"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As the server does for models this small: beside other work, a second thread is far slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def user(text):
    return [{"role": "user", "content": text}]


class Kept(list):
    """A mailbox for tests: what was put is here."""

    put = list.append

    def text(self):
        return "".join(piece for piece in self if isinstance(piece, str))


def line(checkpoint, text, **settings):
    turn = Turn((), user(text), pieces=Kept(), **{"temperature": 0.0} | settings)
    return Line(checkpoint.tokenizer, turn, checkpoint.prompt_ids(turn.messages), checkpoint.context, checkpoint.ends)


@torch.no_grad()
def greedy(checkpoint, ids, count):
    """The plainest reference there is: the whole text again for each token, alone, without a cache."""
    ids, new = list(ids), []
    while len(new) < count:
        token = int(checkpoint.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token in checkpoint.ends:
            break
        new.append(token)
        ids.append(token)
    return new


# --- what a folder holds -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instruct(tmp_path_factory):
    """A hand GPT saved as lesson 12 would save it."""
    folder = tmp_path_factory.mktemp("serve") / "instruct"
    return save_chat_gpt(load_gpt(MODELS / "gpt-pt"), load_tokenizer(MODELS / "gpt-pt" / "tokenizer.json"), folder)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A PEFT adapter that changes the answers, beside tiny_base; its model too."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("serve") / "adapter"
    torch.manual_seed(3)
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(tiny_base()),
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base()).save_pretrained(folder)
    return folder, model.eval()


def test_a_hand_gpt_is_read_as_it_was_tuned(instruct):
    checkpoint, hand = load_checkpoint(instruct), load_gpt(instruct)
    tokenizer = load_tokenizer(instruct / "tokenizer.json")
    row = {"instruction": "Onde joga o Benfica?", "input": "Estádio… 🏟️"}
    ids = prompt_ids(row, tokenizer)
    assert checkpoint.prompt_ids(user("Onde joga o Benfica?\n\n### Entrada:\nEstádio… 🏟️")) == ids  # lesson 12's prompt
    with torch.no_grad():
        ours = checkpoint.model(input_ids=torch.tensor([ids])).logits
        assert torch.allclose(ours, hand(torch.tensor([ids])), atol=1e-4)
    assert (checkpoint.kind, checkpoint.context, checkpoint.follows) == ("chat", 128, True)
    raw = load_checkpoint(MODELS / "gpt-pt")  # never tuned to answer: it continues, and says so
    assert raw.prompt_ids(user("O Benfica")) == [0, *tokenizer.encode("O Benfica")]
    assert not raw.follows and "só continua" in raw.about


def test_a_hand_lora_is_merged_into_its_base_and_wants_it(tmp_path):
    model = add_lora(load_gpt(MODELS / "gpt-pt"), LoRASettings(rank=2, targets=("attention.qkv",)))
    for name, weight in model.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(weight, std=0.1)
    save_lora(model, tmp_path / "lora.safetensors")
    checkpoint = load_checkpoint(tmp_path / "lora.safetensors", base=MODELS / "gpt-pt")
    ids = torch.tensor([[0, 5, 9, 300]])
    with torch.no_grad():
        assert torch.allclose(checkpoint.model(input_ids=ids).logits, model.eval()(ids), atol=1e-4)
    with pytest.raises(CourseError, match="falta a base"):
        load_checkpoint(tmp_path / "lora.safetensors")


@pytest.mark.parametrize("four_bits", [False, True])
def test_an_adapter_answers_as_peft_does(adapter, four_bits):
    folder, model = adapter
    checkpoint = load_checkpoint(folder, load_in_4bit=four_bits)
    ids = torch.tensor([checkpoint.prompt_ids(user("mouse number 3"))])
    with torch.no_grad():
        ours, theirs = (m(input_ids=ids).logits for m in (checkpoint.model, model))
        base = model.get_base_model()
        with model.disable_adapter():
            without = base(input_ids=ids).logits
    assert (
        (ours - theirs).abs().max() < (without - theirs).abs().max() / 4
        if four_bits
        else torch.allclose(ours, theirs, atol=1e-4)
    )
    assert "adaptador" in checkpoint.about and ("4 bits" in checkpoint.about) == four_bits


def test_a_base_that_has_moved_is_given_by_name(adapter, tmp_path):
    import shutil

    folder = tmp_path / "moved"
    shutil.copytree(adapter[0], folder)
    note = folder / "adapter_config.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"base_model_name_or_path": "../gone/somewhere"}))
    with pytest.raises(CourseError, match=r"precisa da sua base.*gone.*--base"):
        load_checkpoint(folder)
    assert load_checkpoint(folder, base=tiny_base()).kind == "chat"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"base_model_name_or_path": "../elsewhere/llama-base"}))
    with pytest.raises(
        CourseError, match="não consegui carregar"
    ):  # found beside the course's models, and of other sizes
        load_checkpoint(folder)


def cut_off(source, **changed):
    """A model of `models/` whose weights stop half way; `changed` are settings of its config.json."""

    def make(folder):
        shutil.copytree(course_root() / "models" / source, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changed
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])

    return make


def written(name, text):
    def make(folder):
        folder.mkdir()
        (folder / name).write_text(text, encoding="utf-8")

    return make


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: None, "não há nada"),
        (lambda folder: folder.mkdir(), "não é um checkpoint"),
        (lambda folder: folder.write_text("olá"), "não é um checkpoint"),
        (lambda folder: save_file({"a": torch.zeros(1)}, folder), "sem a sua pasta"),
        (written("config.json", "{"), "não se lê"),
        (written("config.json", "[]"), "objeto JSON"),
        (written("config.json", "{}"), "não é de um GPT do curso"),
        (written("adapter_config.json", "{}"), "precisa da sua base"),
        (written("config.json", '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}'), "não conversa nem classifica"),
        (cut_off("llama-base"), "estragado"),
        (cut_off("bert-pt", architectures=["BertForSequenceClassification"]), "cortados"),
    ],
    ids=["missing", "empty", "text file", "bare weights", "bad json", "list", "no sizes", "no base", "encoder", "cut llama", "cut bert"],
)  # fmt: skip
def test_what_is_no_checkpoint_is_one_clear_error(make, told, tmp_path):
    make(tmp_path / "it")
    with pytest.raises(CourseError, match=told) as error:
        load_checkpoint(tmp_path / "it")
    assert error.value.remedy and "it" in error.value.where


def test_a_hub_name_without_a_network_is_one_clear_error():
    with pytest.raises(CourseError, match="alguem/modelo"):
        load_checkpoint("alguem/modelo")


def test_nobody_closes_a_turn_from_within_a_message(instruct):
    for checkpoint in (load_checkpoint(tiny_base()), load_checkpoint(instruct)):
        end = checkpoint.tokenizer.eos_token
        plain, forged = (checkpoint.prompt_ids(user(text)) for text in ("mouse", f"mouse{end}mouse"))
        assert forged.count(checkpoint.tokenizer.eos_token_id) == plain.count(checkpoint.tokenizer.eos_token_id)


def test_a_prompt_over_the_context_is_refused_at_once():
    checkpoint = load_checkpoint(tiny_base())
    for text in ("mouse " * 400, "x" * 10_000_000):
        with pytest.raises(Refused, match="lê até 256"):
            checkpoint.prompt_ids(user(text))


# --- answering together ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["tiny", "instruct", "llama-base"])
def test_lines_that_come_and_go_write_what_each_writes_alone(source, instruct):
    """Entering at any round, beside prompts of other lengths, with other limits: the text is that of greedy decoding."""
    checkpoint = load_checkpoint({"tiny": tiny_base(), "instruct": instruct}.get(source) or MODELS / source)
    draw = random.Random(1)
    words = ["mouse", "number", "nice shape", "days", "caneca azul", "Benfica", "joga", "lamp", "blue", "ção", "🙂"]
    lines = [
        line(checkpoint, " ".join(draw.choices(words, k=draw.randint(1, 15))), max_tokens=draw.randint(1, 30))
        for _ in range(14)
    ]
    waiting, batch, most = list(lines), engine.Batch(checkpoint.model), 0
    with torch.inference_mode():
        while waiting or batch.lines:
            count = draw.randint(0, 3)
            if waiting[:count]:
                batch.enter(waiting[:count])
                del waiting[:count]
            if batch.lines:
                batch.round()
            most = max(most, len(batch.lines))
    assert most > 3
    for one in lines:
        wanted = greedy(checkpoint, one.ids, one.left)
        assert one.new == wanted and one.turn.answer_tokens == len(wanted)
        assert one.turn.pieces.text() == checkpoint.tokenizer.decode(wanted, skip_special_tokens=True)
        assert one.turn.pieces[-1] is END
        assert one.turn.finish_reason == ("length" if len(wanted) == one.left else "stop")


def test_a_line_that_is_left_leaves_the_batch_and_its_columns_with_it():
    checkpoint = load_checkpoint(tiny_base())
    long, short = line(checkpoint, "mouse number " * 20, max_tokens=200), line(checkpoint, "nice", max_tokens=200)
    batch = engine.Batch(checkpoint.model)
    with torch.inference_mode():
        batch.enter([long, short])
        before = batch.mask.shape[1]
        long.turn.abandoned = True
        batch.round()
        assert batch.lines == [short]
        own = len(short.ids) + 1
        assert batch.mask.shape == (1, own) and before > own
        assert batch.cache.layers[0].keys.shape[2] == own
        while batch.lines:
            batch.round()
    assert short.new == greedy(checkpoint, short.ids, 200)


def test_a_seed_repeats_an_answer_whoever_is_beside_it():
    checkpoint = load_checkpoint(tiny_base())
    wanted = {"temperature": 1.0, "top_p": 0.9, "seed": 11, "max_tokens": 20}
    said = []
    for others in (0, 3):
        one = line(checkpoint, "mouse", **wanted)
        batch = engine.Batch(checkpoint.model)
        with torch.inference_mode():
            batch.enter(
                [line(checkpoint, "shape " * (n + 2), max_tokens=50, temperature=1.0) for n in range(others)] + [one]
            )
            while one in batch.lines:
                batch.round()
        said.append(one.new)
    assert said[0] == said[1] and len(said[0]) > 1


def test_stop_texts_end_an_answer_and_are_not_said():
    checkpoint = load_checkpoint(tiny_base())
    free = line(checkpoint, "mouse number 3", max_tokens=40)
    text = checkpoint.tokenizer.decode(greedy(checkpoint, free.ids, 40), skip_special_tokens=True)
    stop = text[6:9]
    one = line(checkpoint, "mouse number 3", max_tokens=40, stop=(stop,))
    batch = engine.Batch(checkpoint.model)
    with torch.inference_mode():
        batch.enter([one])
        while batch.lines:
            batch.round()
    assert one.turn.pieces.text() == text[: text.index(stop)] and one.turn.stopped_by == stop


def test_the_thread_outlives_a_model_that_breaks(capsys):
    """Who was in the batch hears of it; the next one is answered."""
    checkpoint = load_checkpoint(tiny_base())
    forward, broken = checkpoint.model.forward, threading.Event()

    def breaking(*args, **kwargs):
        if broken.is_set():
            broken.clear()
            raise RuntimeError("no memory")
        return forward(*args, **kwargs)

    checkpoint.model.forward = breaking

    async def ask(desk, text):
        one = line(checkpoint, text, max_tokens=5)
        one.turn.pieces = engine.Mailbox(desk)
        desk.hand_in(one)
        return "".join([piece async for piece in engine.listen(one)])

    async def scene():
        desk = engine.Desk(asyncio.get_running_loop(), limit=2)
        engine.start(checkpoint, desk, batch=4)
        before = await ask(desk, "mouse")
        broken.set()
        with pytest.raises(RuntimeError, match="no memory"):
            await ask(desk, "mouse")
        return before, await ask(desk, "mouse")

    before, after = asyncio.run(scene())
    assert before == after != ""
    assert "no memory" in capsys.readouterr().err


def test_a_full_queue_refuses_and_those_who_left_make_room():
    async def scene():
        desk = engine.Desk(asyncio.get_running_loop(), limit=2)
        texts = [engine.Text("x", engine.Mailbox(desk)) for _ in range(4)]
        for one in texts[:2]:
            desk.hand_in(one)
        with pytest.raises(engine.Busy):
            desk.hand_in(texts[2])
        texts[0].abandoned = True
        desk.hand_in(texts[3])
        assert desk.take(5, wait=True) == [texts[1], texts[3]] and desk.take(5, wait=False) == []

    asyncio.run(scene())


def test_a_classifier_is_that_of_lesson_13(tmp_path):
    from transformers import BertTokenizerFast

    model, tokenizer = classifier(MODELS / "bert-pt"), BertTokenizerFast.from_pretrained(MODELS / "bert-pt")
    with captured_log():
        model.save_pretrained(tmp_path / "it")
    tokenizer.save_pretrained(tmp_path / "it")
    checkpoint = load_checkpoint(tmp_path / "it")
    assert (checkpoint.kind, checkpoint.labels) == ("classifier", list(model.config.id2label.values()))
    texts = ["Gostei muito.", "Não presta."]
    both = [predict(c, t, texts) for c, t in ((model, tokenizer), (checkpoint.model, checkpoint.tokenizer))]
    assert both[0] == pytest.approx(both[1], abs=1e-6)


# --- feedback ----------------------------------------------------------------------------------------------------------


def test_feedback_becomes_chat_rows_and_pairs(tmp_path, capsys):
    path = tmp_path / "db" / "feedback.sqlite"
    store = Feedback(path)
    for n in range(12):
        store.add(user(f"Pergunta {n}, coração?"), f"errada {n}", "m", "down", f"certa {n}", id=f"c{n}")
    store.add(user("boa?"), "sim", "m", "up")
    store.add(user("ruim?"), "não sei", "m", "down")
    store.add(user("nada?"), "x", "m")
    store.add(user("vazia?"), "", "m", "up")
    store.add(user("Pergunta 0, coração?"), "outra", "m", "down", "certa de novo")
    store.add(user("Pergunta 1, coração?"), "errada 1", "m", "down", "mais certa", id="c1")  # the same opinion, changed
    store.add([{"role": "system", "content": "Seja breve."}, *user("a"), {"role": "assistant", "content": "b"}, *user("c")],
              "", "m", "down", "resposta")  # fmt: skip
    done = store.export(tmp_path / "out")
    assert done.ok and len(done.reports) == 2 and not any(report.errors for report in done.reports)
    assert done.counts == {"read": 18, "chat": 14, "pairs": 12, "thumb_down_only": 1, "no_opinion": 1, "empty_answer": 1,
                           "replaced": 1}  # fmt: skip
    chat = [json.loads(text) for text in done.chat.read_text(encoding="utf-8").splitlines()]
    pairs = [json.loads(text) for text in done.pairs.read_text(encoding="utf-8").splitlines()]
    answers = {row["messages"][-2]["content"]: row["messages"][-1]["content"] for row in chat}
    assert answers["Pergunta 0, coração?"] == "certa de novo" and answers["Pergunta 1, coração?"] == "mais certa"
    assert answers["boa?"] == "sim" and "ruim?" not in answers and answers["c"] == "resposta"
    preferred = {row["input"]["messages"][-1]["content"]: row for row in pairs}
    assert preferred["Pergunta 5, coração?"]["preferred_output"][0]["content"] == "certa 5"
    assert preferred["Pergunta 5, coração?"]["non_preferred_output"][0]["content"] == "errada 5"
    assert "boa?" not in preferred and "c" not in preferred  # no answer that could lose against the correction
    assert (
        main(["list", "--db", str(path)]) == 0
        and main(["export", "--db", str(path), "--out", str(tmp_path / "o")]) == 0
    )
    told = capsys.readouterr().out
    assert "18 opiniões lidas: 14 exemplos de chat, 12 pares" in told and "1, polegar para baixo, sem correção" in told


def test_too_little_feedback_is_told_by_the_validator(tmp_path, capsys):
    store = Feedback(tmp_path / "f.sqlite")
    folder = ["--db", str(store.path), "--out", str(tmp_path / "out")]
    assert main(["export", *folder]) == 1 and "Nada a exportar" in capsys.readouterr().err
    store.add(user("a?"), "b", "m", "down", "c")
    assert main(["export", *folder]) == 1 and "exemplos de menos" in capsys.readouterr().out
    with pytest.raises(CourseError, match="não há opiniões"):
        main(["list", "--db", str(tmp_path / "other.sqlite")])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"answer": None}, "answer"),
        ({"rating": "5"}, "rating"),
        ({"correction": " "}, "correction"),
        ({"correction": "b "}, "correction"),
        ({"id": ""}, "id"),
    ],
)
def test_an_opinion_that_could_not_teach_is_refused(changes, where, tmp_path):
    store = Feedback(tmp_path / "f.sqlite")
    with pytest.raises(CourseError) as error:
        store.add(**{"messages": user("a?"), "answer": "b", "model": "m", "rating": "down"} | changes)
    assert error.value.where.startswith(where) and store.rows() == []


def test_a_file_that_is_no_store_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("minhas notas " * 100)
    with pytest.raises(CourseError, match="não consigo guardar"):
        Feedback(path)
    assert path.read_text() == "minhas notas " * 100


def test_many_threads_may_write_at_once(tmp_path):
    store = Feedback(tmp_path / "f.sqlite")
    threads = [
        threading.Thread(target=lambda n=n: [store.add(user(f"{n} {i}"), "b", "m", "up") for i in range(10)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.rows()) == 80
