"""The forms in which instructions are written are the same wherever they stand."""

import jinja2
import pytest

from afina.gpt import instruct
from afina.tune.templates import ALPACA, ALPACA_CHAT, LLAMA_CHAT
from workshop.make.documents import alpaca_form


def chat(template: str, *messages: tuple[str, str], prompt: bool = True) -> str:
    said = [{"role": role, "content": content} for role, content in messages]
    ends = {"bos_token": "<s>", "eos_token": "</s>"}
    return jinja2.Template(template).render(messages=said, add_generation_prompt=prompt, **ends)


def test_the_template_is_the_one_the_base_model_knows():
    assert ALPACA.format("Describe it", "A title", "An answer") == alpaca_form("Describe it", "A title", "An answer")


def test_a_chat_with_the_llama_is_the_form_of_its_corpus():
    assert chat(LLAMA_CHAT, ("user", "What color is it?")) == alpaca_form("What color is it?")
    whole = chat(LLAMA_CHAT, ("user", "What color is it?"), ("assistant", "Teal."), prompt=False)
    assert whole == alpaca_form("What color is it?", answer="Teal.") + "</s>\n"


@pytest.mark.parametrize("given", ["", "uma caneca azul"])
def test_a_chat_with_a_gpt_by_hand_is_the_form_of_lesson_12(given):
    message = "Descreva" + (f"\n\n### Entrada:\n{given}" if given else "")
    assert chat(ALPACA_CHAT, ("user", message)) == "<s>" + instruct.alpaca("Descreva", given)


def test_system_text_comes_first_and_as_it_is():
    for template, opening in ((LLAMA_CHAT, ""), (ALPACA_CHAT, "<s>")):
        assert chat(template, ("system", "Be brief."), prompt=False) == f"{opening}Be brief.\n\n"
