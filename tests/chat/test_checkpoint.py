"""What a folder holds is read from its files, and answers as what was saved there."""

import json
import shutil

import pytest
import torch
from chat_base import MODELS, instruct_folder, user
from cloud_base import tiny_base
from safetensors.torch import save_file

from afina.chat.checkpoint import load_checkpoint, load_model, save_chat_gpt
from afina.chat.turn import Refused, Turn
from afina.errors import CourseError
from afina.gpt.instruct import prompt_ids
from afina.gpt.lora import LoRASettings, add_lora, save_lora
from afina.gpt.tokenizer import load_tokenizer
from afina.gpt.weights import load_gpt
from afina.runtime import course_root
from afina.tune.bert import captured_log, classifier, predict

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_hand_gpt_is_read_as_it_was_tuned():
    instruct = instruct_folder()
    checkpoint, hand = load_checkpoint(instruct), load_gpt(instruct)
    tokenizer = load_tokenizer(instruct / "tokenizer.json")
    row = {"instruction": "Onde joga o Benfica?", "input": "Estádio… 🏟️"}
    ids = prompt_ids(row, tokenizer)
    assert checkpoint.prompts.ids(user("Onde joga o Benfica?\n\n### Entrada:\nEstádio… 🏟️")) == ids  # lesson 12's prompt
    with torch.no_grad():
        ours = checkpoint.model(input_ids=torch.tensor([ids])).logits
        assert torch.allclose(ours, hand(torch.tensor([ids])), atol=1e-4)
    assert (checkpoint.kind, checkpoint.context, "só continua" in checkpoint.about) == ("chat", 128, False)
    raw = load_checkpoint(MODELS / "gpt-pt")  # never tuned to answer: it continues, and says so
    assert raw.prompts.ids(user("O Benfica")) == [0, *tokenizer.encode("O Benfica")]
    assert not raw.tokenizer.chat_template and "só continua" in raw.about


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
    ids = torch.tensor([checkpoint.prompts.ids(user("mouse number 3"))])
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


def test_adapters_over_adapters_are_merged_in_order(adapter):
    """As a job of the twin that goes on from a tuned model: twice the same adapter is twice its difference."""
    from peft import PeftModel

    folder, peft = adapter
    base, once, twice = (load_model(tiny_base(), [folder] * times).state_dict() for times in range(3))
    assert base.keys() == once.keys() == twice.keys()
    for name in base:
        assert torch.allclose(twice[name], 2 * once[name] - base[name], atol=1e-5), name
    name = "model.layers.0.mlp.down_proj.weight"
    assert isinstance(peft, PeftModel) and not torch.allclose(once[name], base[name])


def test_a_turn_becomes_rows_within_the_context():
    checkpoint = load_checkpoint(tiny_base())
    turns = [Turn((), user("mouse"), max_tokens=most, seed=n) for n, most in enumerate((5, None, 9999))]
    rows = checkpoint.rows(turns)
    ids = checkpoint.prompts.ids(user("mouse"))
    assert [row.ids for row in rows] == [ids] * 3 and [turn.prompt_tokens for turn in turns] == [len(ids)] * 3
    assert [row.limit for row in rows] == [5, 256 - len(ids), 256 - len(ids)]
    assert rows[0].ends == checkpoint.ends == {1} and checkpoint.rows(turns, ())[0].ends == ()
    with pytest.raises(Refused, match=r"^too long for 256$"):
        checkpoint.rows([Turn((), user("mouse " * 400))], too_long="too long for {context}")


def test_saving_again_replaces_the_whole_folder(tmp_path):
    folder = tmp_path / "instruct"
    tokenizer = load_tokenizer(MODELS / "gpt-pt" / "tokenizer.json")
    for _ in range(2):
        assert save_chat_gpt(load_gpt(MODELS / "gpt-pt"), tokenizer, folder) == folder
        assert {file.name for file in folder.iterdir()} == {
            "config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja",
        }  # fmt: skip
        (folder / "of the old one").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["instruct"]


def test_a_base_that_has_moved_is_given_by_name(adapter, tmp_path):
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
