"""OpenAI's two training formats: chat examples and preference pairs (DPO). Builders first, then the rules they obey.

Source: developers.openai.com/api/docs/guides/supervised-fine-tuning and .../direct-preference-optimization. What the
service refuses is an error; what it accepts but seldom means what the author wanted is a warning.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from afina.errors import CourseError
from afina.jsonl.problem import ROLE_GUESS, Say, brief, list_problem, seen, text_problem, type_name, typed, unknown_keys


def need_text(value: object, name: str) -> str:
    """`value` if it is a text with something in it; CourseError otherwise."""
    if isinstance(value, str) and value.strip():
        return value
    raise CourseError(f"esperava um texto não vazio e recebi {brief(value)}.", "Confira a linha de origem.", name)


def chat_example(
    user: str, assistant: str, *, system: str | None = None, weight: int | None = None, **more: Any
) -> dict[str, Any]:
    """One question and its answer as an OpenAI chat example; `weight` 0 keeps the answer out of the loss, `more` as below."""
    turns = [("user", need_text(user, "user")), ("assistant", need_text(assistant, "assistant"))]
    messages: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in turns]
    if system is not None:
        messages.insert(0, {"role": "system", "content": need_text(system, "system")})
    if weight is not None:
        messages[-1]["weight"] = weight
    return chat_messages(messages, **more)


def chat_messages(
    messages: Iterable[Mapping[str, Any]], *, tools: list[dict] | None = None, parallel_tool_calls: bool | None = None
) -> dict[str, Any]:
    """A whole conversation as an OpenAI chat example. It must obey the format's rules, or CourseError names the breach."""
    row = {"messages": list(map(dict, messages)), "tools": tools, "parallel_tool_calls": parallel_tool_calls}
    return obey({key: value for key, value in row.items() if value is not None}, check_chat)


def chat_rows(rows: Iterable[Mapping[str, Any] | tuple], *, system: str | None = None) -> Iterator[dict[str, Any]]:
    """Chat examples from rows: mappings with user, assistant and maybe system/weight, or (user, assistant) pairs.

    `system` is the prompt of every row that brings none of its own. CourseError names the row (from 1) that is wrong.
    """
    return build_rows(rows, chat_example, ("user", "assistant", "system", "weight"), system)


def build_rows(
    rows: Iterable[Mapping[str, Any] | tuple], build: Callable[..., dict], names: tuple[str, ...], system: str | None
) -> Iterator[dict[str, Any]]:
    """`build` of each row, whose columns are `names`, the first two needed; CourseError names the row (from 1)."""
    for number, row in enumerate(rows, 1):
        try:
            fields = {"system": system} | row_fields(row, names)
            asked, answer = (fields.pop(name) for name in names[:2])
            yield build(asked, answer, **fields)
        except CourseError as error:
            raise CourseError(error.problem, error.remedy, where=f"exemplo {number}, {error.where}") from error


def dpo_example(user: str, preferred: str, rejected: str, *, system: str | None = None) -> dict[str, Any]:
    """One question with the answer to prefer and the one to avoid, as an OpenAI preference pair."""
    messages = [{"role": "user", "content": need_text(user, "user")}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": need_text(system, "system")})
    row = {
        "input": {"messages": messages},
        "preferred_output": [{"role": "assistant", "content": need_text(preferred, "preferred")}],
        "non_preferred_output": [{"role": "assistant", "content": need_text(rejected, "rejected")}],
    }
    return obey(row, check_dpo)


def row_fields(row: Mapping[str, Any] | tuple, names: tuple[str, ...]) -> dict[str, Any]:
    """A row as a dict with only `names`; tuples are read in their order. A missing value (None) is left out."""
    if isinstance(row, Mapping):
        if strange := [key for key in row if key not in names]:
            problem = f"não sei o que fazer com a coluna {brief(strange[0])}."
            raise CourseError(problem, f"Use: {', '.join(names)}.", where="colunas")
        pairs = list(row.items())
    elif isinstance(row, tuple | list) and 2 <= len(row) <= len(names):
        pairs = list(zip(names, row, strict=False))
    else:
        raise CourseError(f"não entendo a linha {brief(row)}.", f"Dê um dicionário com {', '.join(names)}.", "linha")
    fields = {name: value for name, value in pairs if value is not None}
    if absent := [name for name in names[:2] if name not in fields]:
        raise CourseError(f'falta "{absent[0]}".', f"Cada linha precisa de {names[0]} e {names[1]}.", where="colunas")
    return fields


def obey(row: dict[str, Any], check: Callable) -> dict[str, Any]:
    """`row`, if `check` finds no error in it; else a CourseError with the first one."""

    def say(kind: str, field: str, found: str, remedy: str, warning: bool = False) -> None:
        if not warning:
            raise CourseError(found, remedy, where=field)

    check(row, say)
    return row


ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_MESSAGE_KEYS = dict.fromkeys(ROLES, ("role", "content", "name")) | {
    "assistant": ("role", "content", "name", "weight", "tool_calls", "function_call", "refusal"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
MESSAGE, ANSWER = '{"role": "user", "content": "…"}', '{"role": "assistant", "content": "…"}'


def check_chat(row: dict, say: Say) -> list[tuple[str, str]]:
    """Report every breach of the chat format in `row`; return its (role, text) pairs for the token count."""
    unknown_keys(row, ("messages", "tools", "parallel_tool_calls", "functions"), "", say)
    _check_tools(row, "", say)
    messages = list_problem(row, "messages", "", say, MESSAGE)
    texts = _check_messages(messages, "messages", ROLES, say)
    last = messages[-1] if messages else None
    if isinstance(last, dict) and last.get("role") in ROLES and last["role"] != "assistant":
        found = f"a última mensagem é do papel {brief(last['role'])}."
        remedy = f'Acrescente {ANSWER} ao fim de "messages".'
        say("no_answer", f"messages[{len(messages) - 1}]", found, remedy)
    answers = [m for m in messages if isinstance(m, dict) and m.get("role") == "assistant"]
    if answers and all(type(weight := m.get("weight")) is int and weight == 0 for m in answers):
        found = "todas as respostas têm weight 0: o modelo não aprende nada aqui."
        say("nothing_to_learn", "messages", found, "Deixe ao menos uma resposta com weight 1, ou retire o exemplo.")
    return texts


def _check_messages(messages: list, path: str, roles: tuple[str, ...], say: Say) -> list[tuple[str, str]]:
    texts: list[tuple[str, str]] = []
    open_calls: set[str] = set()
    turned = False  # has anyone but the system spoken?
    for index, message in enumerate(messages):
        field = f"{path}[{index}]"
        if not isinstance(message, dict):
            say("type", field, typed(message), f"Cada mensagem é {MESSAGE}.")
            continue
        role = _role_of(message, field, roles, say)
        if role is None:
            texts.append(("", _content_of(message, "user", field, say)))  # its text can be wrong too
            continue
        unknown_keys(message, _MESSAGE_KEYS[role], f"{field}.", say)
        if role not in ("system", "developer"):
            turned = True
        elif turned:
            found = f'a instrução "{role}" veio depois da conversa começar.'
            say("order", f"{field}.role", found, "Mova-a para o início de messages.", warning=True)
        text = _content_of(message, role, field, say)
        _check_name_and_weight(message, role, field, say)
        if role == "assistant":
            text += _check_calls(message, field, open_calls, say)
        if role == "tool":
            _check_answer_to_call(message, field, open_calls, say)
        texts.append((role, text))
    return texts


def _role_of(message: dict, field: str, roles: tuple[str, ...], say: Say) -> str | None:
    if "role" not in message:
        say("missing_key", f"{field}.role", 'falta "role".', f"Diga quem fala: {', '.join(roles)}.")
        return None
    role = message["role"]
    if isinstance(role, str) and role in roles:
        return role
    written = role.strip().lower() if isinstance(role, str) else ""
    near = ROLE_GUESS.get(written, written)
    hint = f'Você quis dizer "{near}"?' if near in roles else f"Use um destes: {', '.join(roles)}."
    say("role", f"{field}.role", f"não existe o papel {brief(role)} aqui.", hint)
    return None


def _content_of(message: dict, role: str, field: str, say: Say) -> str:
    """The text of a message; content may be a list of parts, and null where a tool call or refusal replaces it."""
    content = message.get("content")
    if isinstance(content, list):
        return _parts(content, role, f"{field}.content", say)
    stands_in = role == "assistant" and any(message.get(key) for key in ("tool_calls", "function_call", "refusal"))
    if (stands_in and content in (None, "")) or (role == "tool" and content == ""):
        return ""  # a tool may well answer nothing
    return text_problem(message, "content", f"{field}.", say)


def _parts(parts: list, role: str, path: str, say: Say) -> str:
    if not parts:
        say("empty_content", path, "a lista de partes está vazia.", 'Coloque {"type": "text", "text": "…"}.')
    texts = []
    for index, part in enumerate(parts):
        field = f"{path}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            unknown_keys(part, ("type", "text"), f"{field}.", say)
            texts.append(text_problem(part, "text", f"{field}.", say))
        elif kind == "image_url" and role == "user":
            picture = part.get("image_url")
            if not isinstance(picture, dict) or not isinstance(picture.get("url"), str):
                remedy = 'Use {"type": "image_url", "image_url": {"url": "…"}}.'
                say("type", f"{field}.image_url", seen(picture), remedy)
        else:
            say("type", field, f"não entendo a parte {brief(part)}.", 'Use {"type": "text", "text": "…"}.')
    return "\n".join(texts)


def _check_name_and_weight(message: dict, role: str, field: str, say: Say) -> None:
    if "name" in message and not (isinstance(message["name"], str) and message["name"]):
        say("type", f"{field}.name", seen(message["name"]), "O nome é um texto curto, sem espaços.")
    elif role == "function" and "name" not in message:
        say("missing_key", f"{field}.name", 'falta "name".', "Diga o nome da função que respondeu.")
    if role == "assistant" and "weight" in message:
        weight = message["weight"]
        if type(weight) is not int or weight not in (0, 1):
            say("weight", f"{field}.weight", seen(weight), "Use 0 (não treina) ou 1 (treina), sem aspas.")


def _check_calls(message: dict, field: str, open_calls: set[str], say: Say) -> str:
    """Check an answer's tool calls; return their names and arguments, which are trained on like text."""
    if message.get("tool_calls") is None:
        return ""
    call_form = '{"id": "call_1", "type": "function", "function": {"name": "…", "arguments": "{…}"}}'
    texts = []
    for index, call in enumerate(list_problem(message, "tool_calls", f"{field}.", say, call_form)):
        path = f"{field}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or call.get("type") != "function" or not isinstance(call.get("id"), str):
            say("tools", path, seen(call), f"Uma chamada tem a forma {call_form}.")
            continue
        open_calls.add(call["id"])
        name, arguments = function.get("name"), function.get("arguments")
        if not isinstance(name, str) or not name:
            say("tools", f"{path}.function.name", seen(name), "Escreva o nome da função.")
        if not isinstance(arguments, str):
            remedy = 'Os argumentos são um texto com JSON dentro: "{\\"cidade\\": \\"Recife\\"}".'
            say("tools", f"{path}.function.arguments", f"encontrei {type_name(arguments)}.", remedy)
        elif not _is_json(arguments):
            found, remedy = "o texto não é JSON válido.", "Gere-o com json.dumps."
            say("tools", f"{path}.function.arguments", found, remedy, warning=True)
        texts += [text for text in (name, arguments) if isinstance(text, str)]
    return " ".join(texts)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _check_answer_to_call(message: dict, field: str, open_calls: set[str], say: Say) -> None:
    call = message.get("tool_call_id")
    if not isinstance(call, str) or not call:
        remedy = "Copie o id da chamada que esta mensagem responde."
        say("tools", f"{field}.tool_call_id", seen(call), remedy)
    elif call not in open_calls:
        remedy = "Ela deve vir depois de uma mensagem assistant com tool_calls que tenha esse id."
        say("tools", f"{field}.tool_call_id", f"nenhuma chamada anterior tem o id {brief(call)}.", remedy)


def _check_tools(row: dict, path: str, say: Say) -> None:
    tools, parallel = row.get("tools", []), row.get("parallel_tool_calls", True)
    if not (isinstance(tools, list) and all(map(_is_tool, tools))):
        remedy = 'Use [{"type": "function", "function": {"name": "…", "parameters": {…}}}].'
        say("tools", f"{path}tools", seen(tools), remedy)
    if not isinstance(parallel, bool):
        say("type", f"{path}parallel_tool_calls", seen(parallel), "Use true ou false, sem aspas.")


def _is_tool(tool: object) -> bool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def check_dpo(row: dict, say: Say) -> list[tuple[str, str]]:
    """Report every breach of the preference-pair format in `row`; return its (role, text) pairs."""
    unknown_keys(row, ("input", "preferred_output", "non_preferred_output"), "", say)
    texts: list[tuple[str, str]] = []
    if not isinstance(entry := row.get("input"), dict):
        kind, found = ("type", seen(entry)) if "input" in row else ("missing_key", 'falta "input".')
        say(kind, "input", found, f'Use "input": {{"messages": [{MESSAGE}]}}.')
    else:
        unknown_keys(entry, ("messages", "tools", "parallel_tool_calls"), "input.", say)
        _check_tools(entry, "input.", say)
        messages = list_problem(entry, "messages", "input.", say, MESSAGE)
        texts += _check_messages(messages, "input.messages", ROLES, say)
        last = messages[-1] if messages else None
        if isinstance(last, dict) and last.get("role") in ("system", "developer", "assistant"):
            found = "o pedido não termina com uma mensagem do usuário."
            remedy = "As respostas vão em preferred_output e non_preferred_output."
            say("order", f"input.messages[{len(messages) - 1}]", found, remedy, warning=True)
    for key in ("preferred_output", "non_preferred_output"):
        outputs = list_problem(row, key, "", say, ANSWER)
        texts += _check_messages(outputs, key, ("assistant", "tool"), say)
        if outputs and not any(isinstance(m, dict) and m.get("role") == "assistant" for m in outputs):
            say("no_answer", key, "não há resposta do assistente.", f"Acrescente {ANSWER}.")
    if row.get("preferred_output") and row["preferred_output"] == row.get("non_preferred_output"):
        found, remedy = "as duas respostas são iguais.", "Sem diferença não há o que preferir."
        say("same_outputs", "non_preferred_output", found, remedy)
    return texts


# --- the fast lane: the shapes that most good lines have ---------------------------------------------------------------
# These structs accept a subset of what the rules above accept without a word. Anything else, right or wrong, goes to the
# rules. `fast.py` adds what a type cannot say: order, blank text, repeated keys, weights that are not an assistant's.

Text = Annotated[str, Meta(min_length=1)]


class Strict(Struct, forbid_unknown_fields=True, gc=False):
    """A JSON object with these keys and no other."""


class FastRow(Strict):
    """A line of one format. `shape()` gives who speaks, in order, and their texts; `keys` the number of JSON keys of a shape,
    weights aside, and 0 where the rules have something to say about its order.
    """

    def extra(self) -> int:
        """Keys beyond the shape's: weights. -1, which no line has, where nothing is left to learn."""
        return 0


class ChatTurn(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text
    weight: Literal[0, 1] | UnsetType = UNSET


class ChatRow(FastRow):
    messages: list[ChatTurn]

    def shape(self) -> tuple[tuple[str, ...], list[str]]:
        return tuple([turn.role for turn in self.messages]), [turn.content for turn in self.messages]

    @staticmethod
    def keys(roles: tuple[str, ...]) -> int:
        told = [role in ("system", "developer") for role in roles]
        if roles[-1:] != ("assistant",) or told != sorted(told, reverse=True):
            return 0
        return 1 + 2 * len(roles)

    def extra(self) -> int:
        weights = [turn.weight for turn in self.messages if turn.role == "assistant"]
        return -1 if weights.count(0) == len(weights) else len(weights) - weights.count(UNSET)


class DpoRow(FastRow):
    """Its shape is the request's speakers, then the two answers; an equal pair has the shape that is refused."""

    input: ChatRow
    preferred_output: Annotated[list[ChatTurn], Meta(min_length=1, max_length=1)]
    non_preferred_output: Annotated[list[ChatTurn], Meta(min_length=1, max_length=1)]

    def shape(self) -> tuple[tuple[str, ...], list[str]]:
        if self.preferred_output == self.non_preferred_output:
            return (), []
        turns = self.input.messages + self.preferred_output + self.non_preferred_output
        return tuple([turn.role for turn in turns]), [turn.content for turn in turns]

    @staticmethod
    def keys(roles: tuple[str, ...]) -> int:
        # the request must end with its user and hold no answer yet
        usual = (
            roles[-3:] == ("user", "assistant", "assistant") and roles.count("assistant") == 2 and ChatRow.keys(roles)
        )
        return 4 + 2 * len(roles) if usual else 0

    def extra(self) -> int:
        return sum(turn.weight is not UNSET for turn in self.preferred_output + self.non_preferred_output)
