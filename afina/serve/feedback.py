"""What people said of the answers, in SQLite, and its way back to training: chat JSONL and preference pairs (DPO).

    afina feedback list                        # what there is, counted
    afina feedback export --out build/feedback # chat.jsonl and dpo.jsonl, each checked by the validator

An answer with a thumb up teaches as it is; one with a correction teaches the correction, and the pair says which of the
two to prefer. A thumb down alone says that something was wrong and not what is right: it is counted, not exported.
Whoever may write here writes your next training file: read it before you train.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from afina.errors import CourseError
from afina.jsonl import Report, chat_messages, validate, write_jsonl
from afina.jsonl.chat import ROLES, check_dpo, obey
from afina.runtime import build_folder

RATINGS = ("up", "down")
TABLE = """\
CREATE TABLE IF NOT EXISTS feedback (
    id TEXT PRIMARY KEY, created REAL NOT NULL, updated REAL NOT NULL, model TEXT NOT NULL,
    messages TEXT NOT NULL, answer TEXT NOT NULL, rating TEXT, correction TEXT
)"""
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
    reports: list[Report] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Something was written, and the validator found no error in it."""
        return bool(self.reports) and all(report.ok for report in self.reports)

    def __str__(self) -> str:
        counts = self.counts
        lines = [f"{counts['read']} opiniões lidas: {counts['chat']} exemplos de chat, {counts['pairs']} pares."]
        lines += [f"  de fora: {counts[name]}, {text}" for name, text in REASONS.items() if counts[name]]
        lines += [f"  {path}" for path in (self.chat, self.pairs) if path]
        return "\n".join(lines)


class Feedback:
    """The store: one SQLite file, safe for several processes, readable by its owner alone. CourseError: not a store."""

    def __init__(self, path: Path | str | None = None):
        self.path = Path(path) if path is not None else default_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with self._open() as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute(TABLE)
                db.execute(
                    "SELECT id, created, updated, model, messages, answer, rating, correction FROM feedback LIMIT 0"
                )
        except (OSError, sqlite3.Error) as error:
            remedy = "Confira o caminho e as permissões, ou use outro arquivo."
            raise CourseError(f"não consigo guardar opiniões aqui ({error}).", remedy, where=self.path) from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=10)) as db, db:
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
            if not isinstance(text, str):
                raise CourseError("esperava um texto.", "Mande o que o modelo respondeu.", where=name)
        if rating not in (None, *RATINGS):
            raise CourseError(f"{rating!r} não é uma nota.", 'Use "up", "down" ou null.', where="rating")
        if correction is not None and (not isinstance(correction, str) or not correction.strip()):
            raise CourseError("a correção está vazia.", "Escreva a resposta certa, ou não mande o campo.", "correction")
        if correction is not None and correction.strip() == answer.strip():
            raise CourseError("a correção é igual à resposta.", "Mude o que estava errado.", where="correction")
        if id is not None and (not isinstance(id, str) or not 0 < len(id) <= 100):
            raise CourseError("esperava um texto de até 100 letras.", "Mande o id da resposta.", where="id")
        id, now = id or "fb-" + secrets.token_hex(8), time.time()
        text = json.dumps(messages, ensure_ascii=False)
        with self._open() as db:
            db.execute(
                "INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET updated = excluded.updated,"
                " model = excluded.model, messages = excluded.messages, answer = excluded.answer, rating = excluded.rating,"
                " correction = excluded.correction",
                (id, now, now, model, text, answer, rating, correction),
            )
        return id

    def rows(self) -> list[dict]:
        """Every opinion, the one touched last at the end."""
        with self._open() as db:
            found = db.execute("SELECT * FROM feedback ORDER BY updated, rowid").fetchall()
        return [{**dict(row), "messages": json.loads(row["messages"])} for row in found]

    def export(self, folder: Path | str) -> Export:
        """Write chat.jsonl and dpo.jsonl into `folder`, one row a question, and have the validator read both.

        Where one question has several opinions the newest counts. A file of an earlier export that would have no rows
        now is removed.
        """
        folder = Path(folder)
        rows = self.rows()
        counts = {"read": len(rows), "chat": 0, "pairs": 0} | dict.fromkeys(REASONS, 0)
        chat: dict[str, dict] = {}
        pairs: dict[str, dict] = {}
        for row in rows:
            reason = _left_out(row)
            if reason:
                counts[reason] += 1
                continue
            question = json.dumps(row["messages"], sort_keys=True)
            counts["replaced"] += question in chat
            chat.pop(question, None)
            pairs.pop(question, None)
            chat[question] = chat_messages([*row["messages"], _said(row["correction"] or row["answer"])])
            if row["correction"] and row["answer"].strip():
                pair = {
                    "input": {"messages": row["messages"]},
                    "preferred_output": [_said(row["correction"])],
                    "non_preferred_output": [_said(row["answer"])],
                }
                pairs[question] = obey(pair, check_dpo)
        done = Export(_write(folder / "chat.jsonl", chat), _write(folder / "dpo.jsonl", pairs), counts)
        counts["chat"], counts["pairs"] = len(chat), len(pairs)
        for path, form in ((done.chat, "openai-chat"), (done.pairs, "openai-dpo")):
            if path:
                done.reports.append(validate(path, format=form, tokens="estimate"))
        return done


def _checked(messages: Sequence[dict]) -> list[dict]:
    """The messages with role and content alone. CourseError where they are not a conversation that ends with a question."""
    if not isinstance(messages, list | tuple) or not messages:
        raise CourseError("esperava a lista de mensagens.", 'Mande [{"role": "user", "content": "…"}].', "messages")
    for number, message in enumerate(messages):
        right = isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)
        if not right or not message["content"].strip():
            raise CourseError(
                "a mensagem não tem role e content.",
                'Mande {"role": "user", "content": "…"}, com texto dentro.',
                where=f"messages[{number}]",
            )
    if messages[-1]["role"] != "user":
        raise CourseError("a última mensagem não é uma pergunta.", "Mande até a do usuário.", where="messages")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _left_out(row: dict) -> str | None:
    if row["correction"]:
        return None
    if row["rating"] == "up":
        return None if row["answer"].strip() else "empty_answer"
    return "thumb_down_only" if row["rating"] == "down" else "no_opinion"


def _said(text: str) -> dict:
    return {"role": "assistant", "content": text}


def _write(path: Path, rows: dict[str, dict]) -> Path | None:
    if not rows:
        path.unlink(missing_ok=True)
        return None
    write_jsonl(path, rows.values())
    return path
