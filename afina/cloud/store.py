"""The twin's memory: JSON documents in one SQLite file, and a folder for bytes. Two processes share it.

A document has a kind ("job", "file", …), an id and maybe a parent. Order is the order of arrival. SQLite in WAL mode
outlives kill -9: a document is as before a change or as after it.
"""

import json
import secrets
import sqlite3
import string
import threading
import time
from collections.abc import Callable
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

    def add(self, kind: str, id: str, body: dict, parent: str = "") -> dict:
        """Store a new document. KeyError if the kind already has this id."""
        row = (kind, id, parent, json.dumps(body))
        try:
            with self._lock:
                self._db.execute("INSERT INTO documents (kind, id, parent, body) VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise KeyError(id) from error
        return body

    def get(self, kind: str, id: str) -> dict | None:
        with self._lock:
            row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return json.loads(row[0]) if row else None

    def edit(self, kind: str, id: str, change: Callable[[dict], object]) -> dict:
        """Apply `change` to the document in place and return it; nothing else writes meanwhile. KeyError if unknown.

        Whatever `change` raises leaves the document as it was.
        """
        with self._lock, self._db:  # it commits at the end, and rolls back an error
            self._db.execute("BEGIN IMMEDIATE")
            body = self.get(kind, id)
            if body is None:
                raise KeyError(id)
            change(body)
            self._db.execute("UPDATE documents SET body = ? WHERE kind = ? AND id = ?", (json.dumps(body), kind, id))
        return body

    def delete(self, kind: str, id: str) -> bool:
        with self._lock:
            return self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, id)).rowcount > 0

    def all(self, kind: str, parent: str | None = None) -> list[dict]:
        """Every document of the kind (and parent), oldest first."""
        where, values = ("", ()) if parent is None else (" AND parent = ?", (parent,))
        query = f"SELECT body FROM documents WHERE kind = ?{where} ORDER BY seq"
        with self._lock:
            rows = self._db.execute(query, (kind, *values)).fetchall()
        return [json.loads(body) for (body,) in rows]
