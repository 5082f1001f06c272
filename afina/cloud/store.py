"""The twin's memory: JSON documents in one SQLite file, and a folder for bytes. Two processes share it.

A document has a kind ("job", "file", …), an id and maybe a parent. Order is the order of arrival. SQLite in WAL mode
outlives kill -9: a document is as before a change or as after it.
"""

import contextlib
import json
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Iterator
from pathlib import Path

TABLE = """
CREATE TABLE IF NOT EXISTS documents (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, parent TEXT NOT NULL, body TEXT NOT NULL,
  UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS by_parent ON documents (kind, parent, seq);
"""
LETTERS = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24, letters: str = LETTERS) -> str:
    return prefix + "".join(secrets.choice(letters) for _ in range(length))


def now() -> int:
    return int(time.time())


class Store:
    """Documents by kind and id. Every method is one transaction, safe between threads and processes."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # isolation_level=None: transactions begin where we say so
        self._db = sqlite3.connect(folder / "state.sqlite", timeout=60, isolation_level=None, check_same_thread=False)
        self._lock = threading.RLock()
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(TABLE)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _run(self, query: str, *values: str) -> list[tuple]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def add(self, kind: str, id: str, body: dict, parent: str = "") -> dict:
        """Store a new document. sqlite3.IntegrityError if the kind already has this id."""
        query = "INSERT INTO documents (kind, id, parent, body) VALUES (?, ?, ?, ?)"
        self._run(query, kind, id, parent, json.dumps(body))
        return body

    def get(self, kind: str, id: str) -> dict | None:
        rows = self._run("SELECT body FROM documents WHERE kind = ? AND id = ?", kind, id)
        return json.loads(rows[0][0]) if rows else None

    @contextlib.contextmanager
    def edit(self, kind: str, id: str) -> Iterator[dict]:
        """The document, to be changed in place; nothing else writes meanwhile, an error undoes it all. KeyError: unknown."""
        with self._lock, self._db:  # it commits at the end, and rolls back an error
            self._db.execute("BEGIN IMMEDIATE")
            body = self.get(kind, id)
            if body is None:
                raise KeyError(id)
            yield body
            self._run("UPDATE documents SET body = ? WHERE kind = ? AND id = ?", json.dumps(body), kind, id)

    def delete(self, kind: str, id: str) -> bool:
        return bool(self._run("DELETE FROM documents WHERE kind = ? AND id = ? RETURNING id", kind, id))

    def all(self, kind: str, parent: str | None = None) -> list[dict]:
        """Every document of the kind (and parent), oldest first."""
        where, values = ("", ()) if parent is None else (" AND parent = ?", (parent,))
        rows = self._run(f"SELECT body FROM documents WHERE kind = ?{where} ORDER BY seq", kind, *values)
        return [json.loads(body) for (body,) in rows]
