"""Amazon Bedrock's two training formats: Converse records (Nova, Llama 3.2 and 3.3) and prompt/completion (Llama 3.1).

Sources: docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html and, for Nova's own rules
(order, reserved words), docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from afina.jsonl.chat import FastRow, Strict, Text, build_rows, need_text, obey
from afina.jsonl.problem import Say, brief, list_problem, seen, text_problem, typed, unknown_keys

SCHEMA_VERSION = "bedrock-conversation-2024"


def converse_example(user: str, assistant: str, *, system: str | None = None) -> dict[str, Any]:
    """One question and its answer as a Converse record."""
    turns = {"user": need_text(user, "user"), "assistant": need_text(assistant, "assistant")}
    return converse_messages([{"role": role, "content": text} for role, text in turns.items()], system=system)


def converse_messages(messages: Iterable[Mapping[str, Any]], *, system: str | None = None) -> dict[str, Any]:
    """A conversation as a Converse record. Texts become blocks, and a leading system message moves to "system"."""
    turns = [dict(message) for message in messages]
    if system is None and turns and turns[0].get("role") == "system":
        system = turns.pop(0).get("content")
    row: dict[str, Any] = {"schemaVersion": SCHEMA_VERSION}
    if system is not None:
        row["system"] = [{"text": need_text(system, "system")}]
    for turn in turns:
        if isinstance(turn.get("content"), str):
            turn["content"] = [{"text": turn["content"]}]
    row["messages"] = turns
    return obey(row, check_converse)


def completion_example(prompt: str, completion: str, *, system: str | None = None) -> dict[str, str]:
    """A prompt and its completion. The format has no system field: a system text goes before the prompt."""
    prompt = need_text(prompt, "prompt")
    if system is not None:
        prompt = f"{need_text(system, 'system')}\n\n{prompt}"
    return {"prompt": prompt, "completion": need_text(completion, "completion")}


def converse_rows(rows: Iterable[Mapping[str, Any] | tuple], *, system: str | None = None) -> Iterator[dict[str, Any]]:
    """Converse records from rows with user, assistant and maybe system (see `afina.jsonl.chat.chat_rows`)."""
    return build_rows(rows, converse_example, ("user", "assistant", "system"), system)


def completion_rows(rows: Iterable[Mapping[str, Any] | tuple], *, system: str | None = None) -> Iterator[dict]:
    """Prompt/completion records from rows with user, assistant and maybe system."""
    return build_rows(rows, completion_example, ("user", "assistant", "system"), system)


# Nova's training jobs fail when a user or system text has one of these.
RESERVED = ("User:", "Bot:", "Assistant:", "System:", "<image>", "<video>", "[EOS]")
_BLOCK = '{"text": "…"}'
_TURN = f'{{"role": "user", "content": [{_BLOCK}]}}'


def check_converse(row: dict, say: Say, nova: bool | None = None) -> list[tuple[str, str]]:
    """Report every breach of the Converse format in `row`; return its (role, text) pairs.

    `nova` True or False applies or leaves out what only Nova asks; None (unknown model) makes those warnings.
    """
    unknown_keys(row, ("schemaVersion", "system", "messages"), "", say)
    _check_version(row, say, nova)
    texts: list[tuple[str, str]] = []
    if "system" in row:
        for index, block in enumerate(list_problem(row, "system", "", say, _BLOCK)):
            field = f"system[{index}]"
            if isinstance(block, dict):
                unknown_keys(block, ("text",), f"{field}.", say)
                texts.append(("system", text_problem(block, "text", f"{field}.", say)))
                _check_reserved(texts[-1][1], f"{field}.text", say, nova)
            else:
                say("type", field, typed(block), f"Cada bloco é {_BLOCK}.")
    messages = list_problem(row, "messages", "", say, _TURN)
    last = ""
    for index, message in enumerate(messages):
        field = f"messages[{index}]"
        if not isinstance(message, dict):
            say("type", field, typed(message), f"Cada mensagem é {_TURN}.")
            last = ""
            continue
        unknown_keys(message, ("role", "content"), f"{field}.", say)
        last = _turn_of(message, index, last, say)
        texts.append((last, _blocks_of(message, last, field, say, nova)))
    if messages and last == "user":
        remedy = f'Acrescente {{"role": "assistant", "content": [{_BLOCK}]}} ao fim de "messages".'
        say("no_answer", f"messages[{len(messages) - 1}]", "a conversa termina no usuário.", remedy)
    return texts


def _turn_of(message: dict, index: int, last: str, say: Say) -> str:
    """Who speaks, after `last`; "" after telling that nobody known does."""
    role, field = message.get("role"), f"messages[{index}].role"
    if role not in ("user", "assistant"):
        remedy = 'No Bedrock só há "user" e "assistant"'
        remedy += '; a instrução vai em "system": [{"text": "…"}].' if role == "system" else "."
        if "role" in message:
            say("role", field, f"não existe o papel {brief(role)} aqui.", remedy)
        else:
            say("missing_key", field, 'falta "role".', remedy)
        return ""
    if index == 0 and role != "user":
        say("order", field, "a conversa começa pelo assistente.", "A primeira mensagem é do usuário.")
    elif role == last:
        found = f'duas mensagens seguidas de "{role}".'
        say("order", field, found, "No Bedrock os papéis se alternam: junte as duas em uma.")
    return role


def _check_version(row: dict, say: Say, nova: bool | None) -> None:
    if "schemaVersion" not in row:
        say("schema_version", "schemaVersion", "falta.", f'Acrescente "schemaVersion": "{SCHEMA_VERSION}".')
    elif row["schemaVersion"] != SCHEMA_VERSION:
        # Nova's page says that any text will do; no page says so for the others.
        lenient = nova is True and isinstance(row["schemaVersion"], str)
        found = seen(row["schemaVersion"])
        say("schema_version", "schemaVersion", found, f'Use "{SCHEMA_VERSION}".', warning=lenient)


def _blocks_of(message: dict, role: str, field: str, say: Say, nova: bool | None) -> str:
    if isinstance(message.get("content"), str):
        remedy = f'No Bedrock o conteúdo é uma lista de blocos: [{{"text": {brief(message["content"], 40)}}}].'
        say("type", f"{field}.content", "encontrei um texto solto.", remedy)
        return message["content"]
    texts = []
    for index, block in enumerate(list_problem(message, "content", f"{field}.", say, _BLOCK)):
        path = f"{field}.content[{index}]"
        kind = next(iter(block)) if isinstance(block, dict) and len(block) == 1 else ""
        if kind == "text":
            texts.append(text_problem(block, "text", f"{path}.", say))
            if role == "user":
                _check_reserved(texts[-1], f"{path}.text", say, nova)
        elif kind in ("image", "video", "document") and role == "user":
            if not isinstance(block[kind], dict):
                say("type", f"{path}.{kind}", seen(block[kind]), "Deve ser um objeto.")
        elif kind == "reasoningContent" and role == "assistant":
            if nova is not True:
                remedy = "Só o Nova 2 Lite aceita raciocínio no treino."
                say("tools", path, "há um bloco reasoningContent.", remedy, warning=True)
        elif kind in ("toolUse", "toolResult"):
            remedy = "A AWS avisa que o treino com ferramentas pode falhar; prefira só texto."
            say("tools", path, f"há um bloco {kind}.", remedy, warning=True)
        else:
            say("type", path, f"não entendo o bloco {brief(block)}.", f"Use {_BLOCK}.")
    return "\n".join(texts)


def _check_reserved(text: str, field: str, say: Say, nova: bool | None) -> None:
    for word in RESERVED:
        if word in text and nova is not False:
            remedy = "O treino do Nova falha com ela no texto: escreva de outro jeito."
            say("reserved_word", field, f'há a palavra reservada "{word}".', remedy, warning=nova is None)


def check_completion(row: dict, say: Say) -> list[tuple[str, str]]:
    """Report every breach of the prompt/completion format in `row`; return its (role, text) pairs."""
    unknown_keys(row, ("prompt", "completion"), "", say)
    return [("user", text_problem(row, "prompt", "", say)), ("assistant", text_problem(row, "completion", "", say))]


# The fast lane, as in `afina.jsonl.chat`.
class ConverseBlock(Strict):
    text: Text


class ConverseTurn(Strict):
    role: Literal["user", "assistant"]
    content: Annotated[list[ConverseBlock], Meta(min_length=1, max_length=1)]


class ConverseRow(FastRow):
    schemaVersion: Literal["bedrock-conversation-2024"]
    messages: list[ConverseTurn]
    system: Annotated[list[ConverseBlock], Meta(min_length=1, max_length=1)] | UnsetType = UNSET

    def shape(self) -> tuple[tuple[str, ...], list[str]]:
        roles: list[str] = [turn.role for turn in self.messages]
        texts = [turn.content[0].text for turn in self.messages]
        if self.system is not UNSET:
            roles.insert(0, "system")
            texts.insert(0, self.system[0].text)
        return tuple(roles), texts

    @staticmethod
    def keys(roles: tuple[str, ...]) -> int:
        turns = roles[roles[:1] == ("system",) :]
        if not turns or turns != ("user", "assistant") * (len(turns) // 2):
            return 0
        return 2 + 3 * len(turns) + 2 * (len(roles) - len(turns))


class CompletionRow(FastRow):
    prompt: Text
    completion: Text

    def shape(self) -> tuple[tuple[str, ...], list[str]]:
        return ("user", "assistant"), [self.prompt, self.completion]

    @staticmethod
    def keys(roles: tuple[str, ...]) -> int:
        return 2
