"""What people said of the answers, in SQLite, and its way back to training: chat JSONL and preference pairs (DPO).

An answer with a thumb up teaches as it is; one with a correction teaches the correction, and the pair says which of the
two to prefer. A thumb down alone says that something was wrong and not what is right: it is counted, not exported.
Whoever may write here writes your next training file: read it before you train.
"""

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from afina import whole
from afina.data.reading import digest_of
from afina.errors import CourseError, require
from afina.jsonl import ValidationReport, chat_messages, validate, write_jsonl
from afina.jsonl.chat import ROLES, check_dpo, obey
from afina.runtime import build_folder

MARK = ".afina-feedback.sha256"  # beside an export: the sums of the files that it wrote, as sha256sum has them
RATINGS = ("up", "down")
TABLE = """\
CREATE TABLE IF NOT EXISTS feedback (
    id TEXT PRIMARY KEY, created REAL NOT NULL, updated REAL NOT NULL, model TEXT NOT NULL,
    messages TEXT NOT NULL, answer TEXT NOT NULL, rating TEXT, correction TEXT
)"""
COLUMNS = "id, created, updated, model, messages, answer, rating, correction"
# why a row is in neither file, as the student reads it
REASONS = {
    "thumb_down_only": "polegar para baixo, sem correção",
    "no_opinion": "sem polegar e sem correção",
    "empty_answer": "polegar para cima em resposta vazia",
    "replaced": "a mesma pergunta teve opinião mais nova",
}


def default_path() -> Path:
    """build/serve/feedback.sqlite, in the repository or in the working folder."""
    return build_folder() / "serve" / "feedback.sqlite"


@dataclass
class Export:
    """What `export` wrote: two files, or None where there was nothing to write, what the validator says, and the account.

    `counts` has "read", "chat", "pairs", and for each of REASONS how many were left out for it.
    """

    chat: Path | None
    pairs: Path | None
    counts: dict[str, int]
    reports: list[ValidationReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Something was written, and the validator found no error in it."""
        return bool(self.reports) and all(report.ok for report in self.reports)

    def __str__(self) -> str:
        lines = ["{read} opiniões lidas: {chat} exemplos de chat, {pairs} pares.".format(**self.counts)]
        lines += [f"  de fora: {self.counts[name]}, {text}" for name, text in REASONS.items() if self.counts[name]]
        lines += [f"  {path}" for path in (self.chat, self.pairs) if path]
        return "\n".join(lines)


class Feedback:
    """The store: one SQLite file, safe for several processes, readable by its owner alone. CourseError: not a store."""

    def __init__(self, path: Path | str | None = None, make: bool = True):
        self.path = Path(path) if path is not None else default_path()
        try:
            if make:  # else only a store that is there will do
                self.path.parent.mkdir(parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with self._open() as db:
                if make:
                    db.executescript(f"PRAGMA journal_mode=WAL; {TABLE}")
                db.execute(f"SELECT {COLUMNS} FROM feedback LIMIT 0")
        except (OSError, sqlite3.Error) as error:
            problem = f"não consigo {'guardar' if make else 'ler'} opiniões aqui ({error})."
            raise CourseError(problem, "Confira o caminho e as permissões, ou use outro arquivo.", self.path) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", timeout=10, uri=True)) as db, db:
            db.row_factory = sqlite3.Row
            yield db

    def add(
        self,
        messages: Sequence[dict],
        answer: str,
        model: str,
        rating: str | None = None,
        correction: str | None = None,
        id: str | None = None,
    ) -> str:
        """Store an opinion and return its id; the same id again replaces it (a thumb first, the correction later).

        `messages` are the conversation up to the question, `answer` what the model said. CourseError for messages that
        are not a conversation, an unknown rating, and a correction that is empty or the answer itself.
        """
        messages = _checked(messages)
        for name, text in (("answer", answer), ("model", model)):
            require(isinstance(text, str), "esperava um texto.", "Mande o que o modelo respondeu.", name)
        require(rating in (None, *RATINGS), f"{rating!r} não é uma nota.", 'Use "up", "down" ou null.', "rating")
        if correction is not None:
            full = isinstance(correction, str) and correction.strip()
            require(full, "a correção está vazia.", "Escreva a resposta certa, ou não mande o campo.", "correction")
            differs = correction.strip() != answer.strip()
            require(differs, "a correção é igual à resposta.", "Mude o que estava errado.", "correction")
        fits = id is None or (isinstance(id, str) and 0 < len(id) <= 100)
        require(fits, "esperava um texto de até 100 letras.", "Mande o id da resposta.", "id")
        id, now = id or "fb-" + secrets.token_hex(8), time.time()
        text = json.dumps(messages, ensure_ascii=False)
        with self._open() as db:
            db.execute(
                f"INSERT INTO feedback ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " (updated, model, messages, answer, rating, correction) = (excluded.updated, excluded.model,"
                " excluded.messages, excluded.answer, excluded.rating, excluded.correction)",
                (id, now, now, model, text, answer, rating, correction),
            )
        return id

    def rows(self) -> list[dict]:
        """Every opinion, the one touched last at the end. CourseError: one of them is damaged."""
        with self._open() as db:
            found = db.execute("SELECT * FROM feedback ORDER BY updated, rowid").fetchall()
        try:
            return [{**dict(row), "messages": _checked(json.loads(row["messages"]))} for row in found]
        except (CourseError, ValueError, TypeError, RecursionError) as error:
            raise CourseError(f"uma opinião está estragada ({error}).", "Use uma cópia boa.", self.path) from error

    def export(self, folder: Path | str) -> Export:
        """Write chat.jsonl and dpo.jsonl into `folder`, one row a question, and have the validator read both.

        Where one question has several opinions the newest counts. A file of an earlier export that would have no rows
        now is removed. CourseError, before anything is written: a file there is not as an earlier export left it.
        """
        rows, folder = self.rows(), Path(folder)
        counts = {"read": len(rows), "chat": 0, "pairs": 0} | dict.fromkeys(REASONS, 0)
        taught: dict[str, tuple[dict, dict | None]] = {}  # question: (row of chat.jsonl, row of dpo.jsonl)
        for row in rows:
            if reason := _left_out(row):
                counts[reason] += 1
                continue
            question = json.dumps(row["messages"], sort_keys=True)
            counts["replaced"] += taught.pop(question, None) is not None
            taught[question] = _examples(row)
        chat, pairs = [one for one, _ in taught.values()], [pair for _, pair in taught.values() if pair]
        _refuse_foreign(folder)
        done = Export(_write(folder / "chat.jsonl", chat), _write(folder / "dpo.jsonl", pairs), counts)
        sums = [f"{digest_of(path)}  {path.name}\n" for path in (done.chat, done.pairs) if path]
        whole.write(folder / MARK, "".join(sums)) if sums else whole.discard(folder / MARK)
        counts["chat"], counts["pairs"] = len(chat), len(pairs)
        forms = (done.chat, "openai-chat"), (done.pairs, "openai-dpo")
        done.reports = [validate(path, format=form, tokens="estimate") for path, form in forms if path]
        return done


def _checked(messages: Sequence[dict]) -> list[dict]:
    """The messages with role and content alone. CourseError where they are not a conversation that ends with a question."""
    listed = isinstance(messages, list | tuple) and messages
    require(listed, "esperava a lista de mensagens.", 'Mande [{"role": "user", "content": "…"}].', "messages")
    for number, message in enumerate(messages):
        right = isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)
        remedy, where = 'Mande {"role": "user", "content": "…"}, com texto dentro.', f"messages[{number}]"
        require(right and message["content"].strip(), "a mensagem não tem role e content.", remedy, where)
    asks = messages[-1]["role"] == "user"
    require(asks, "a última mensagem não é uma pergunta.", "Mande até a do usuário.", "messages")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _left_out(row: dict) -> str | None:
    if row["correction"]:
        return None
    if row["rating"] == "up":
        return None if row["answer"].strip() else "empty_answer"
    return "thumb_down_only" if row["rating"] == "down" else "no_opinion"


def _examples(row: dict) -> tuple[dict, dict | None]:
    """What an opinion teaches: a conversation and, where there are two answers, which of them to prefer."""
    question, texts = row["messages"], (row["correction"] or row["answer"], row["answer"])
    right, wrong = ([{"role": "assistant", "content": text}] for text in texts)
    chat = chat_messages([*question, *right])
    if not (row["correction"] and row["answer"].strip()):
        return chat, None
    pair = {"input": {"messages": question}, "preferred_output": right, "non_preferred_output": wrong}
    return chat, obey(pair, check_dpo)


def _refuse_foreign(folder: Path) -> None:
    """CourseError where an export would replace or remove a file that is not as an earlier one left it."""
    known = (folder / MARK).read_bytes().splitlines() if (folder / MARK).is_file() else []
    for path in (folder / "chat.jsonl", folder / "dpo.jsonl"):
        ours = not os.path.lexists(path) or (path.is_file() and f"{digest_of(path)}  {path.name}".encode() in known)
        require(ours, "este arquivo não é como uma exportação o deixou: não toco nele.", "Use outra pasta.", path)


def _write(path: Path, rows: list[dict]) -> Path | None:
    if not rows:
        path.unlink(missing_ok=True)
        return None
    write_jsonl(path, rows)
    return path
