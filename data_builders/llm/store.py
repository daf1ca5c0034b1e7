"""Replies that were paid for, in one SQLite file for all recipes of a runs folder: written the moment they arrive.

A reply lies under the digest of its question. Before a question is sent its key is claimed, so that two processes never
ask the same thing at once; the claims of a process that died are void. The file is in WAL mode: what is written
survives `kill -9`; a power cut may take the last replies of a second or so. It needs a local disk.

Of a reply that is more than its text the JSON is kept beside it, and is read anew each time: what a later version of
`replies` understands better needs no second question.
"""

import errno
import json
import os
import socket
import sqlite3
import time
import uuid
from contextlib import contextmanager

from data_builders.llm.chat import Raw
from data_builders.llm.replies import read_message
from recipes.base.errors import RecipeError

FORMAT = 1
STALE = 15.0  # seconds without a sign of life after which another machine's claims are void
TABLES = """
CREATE TABLE IF NOT EXISTS replies (
  key TEXT PRIMARY KEY, root TEXT, agent TEXT, model TEXT, prompt_version TEXT, content TEXT, finish TEXT,
  tokens_in INTEGER, tokens_out INTEGER, seconds REAL, arrived TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX IF NOT EXISTS by_root ON replies (root);
CREATE TABLE IF NOT EXISTS bodies (key TEXT PRIMARY KEY, body TEXT);
CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT);
CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, seen REAL);
CREATE TABLE IF NOT EXISTS batches (token TEXT PRIMARY KEY, endpoint TEXT, owner TEXT, id TEXT);
CREATE TABLE IF NOT EXISTS batched (
  token TEXT, key TEXT, root TEXT, agent TEXT, model TEXT, prompt_version TEXT, sent INTEGER,
  PRIMARY KEY (token, key));
CREATE TABLE IF NOT EXISTS traits (endpoint TEXT, trait TEXT, PRIMARY KEY (endpoint, trait));
"""


class Store:
    """Opens or makes the file at `path`. Raises RecipeError where it is damaged or of another format."""

    def __init__(self, path):
        self.path = path
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._open()
        except sqlite3.DatabaseError as error:
            raise RecipeError(
                "The store of replies cannot be used.",
                where=str(path),
                got=str(error),
                allowed="an SQLite file made by this program, on a local disk",
                fix="move it away; its replies will be asked, and paid for, again",
            ) from None
        self.seen = 0.0
        self.beat()

    def _open(self):
        for attempt in range(50):
            try:
                self.db.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:  # another process is switching the same new file
                if attempt == 49:
                    raise
                time.sleep(0.1)
        self.db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            found = self.db.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, FORMAT):
                raise sqlite3.DatabaseError(f"format {found}, this program reads {FORMAT}")
            for statement in TABLES.split(";")[:-1]:
                self.db.execute(statement)
            self.db.execute(f"PRAGMA user_version = {FORMAT}")
            host = socket.gethostname()
            for (owner,) in self.db.execute("SELECT owner FROM owners").fetchall():
                machine, pid, _ = owner.rsplit(":", 2)
                if machine == host and not _alive(int(pid)):
                    self.db.execute("DELETE FROM owners WHERE owner = ?", (owner,))
            self.db.execute("DELETE FROM claims WHERE owner NOT IN (SELECT owner FROM owners)")

    @contextmanager
    def _transaction(self):
        """All or nothing. A full disk is raised as what it is, so that the run says so."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
            yield
            self.db.execute("COMMIT")
        except BaseException as error:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                raise OSError(errno.ENOSPC, "no space left for replies", str(self.path)) from error
            raise

    def close(self):
        """Give up all claims and close the file."""
        self.db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))
        self.db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))
        self.db.close()

    def beat(self):
        """A sign of life, written at most every second; without it the claims lapse after STALE seconds."""
        if time.time() - self.seen >= 1:
            self.seen = time.time()
            self.db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?)", (self.owner, self.seen))

    def get(self, key: str) -> Raw | None:
        """The `Raw` reply under a key, or None."""
        row = self.db.execute(
            "SELECT content, finish, tokens_in, tokens_out, seconds, body FROM replies LEFT JOIN bodies USING (key) "
            "WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        content, finish, tokens_in, tokens_out, seconds, body = row
        if body is None:
            return Raw(content, finish, tokens_in, tokens_out, seconds)
        message = read_message(json.loads(body))
        return Raw(message.content, message.finish, tokens_in, tokens_out, seconds, message.thinking, body)

    def claim(self, key):
        """Whether the caller may ask this question now: nobody else is asking it, and it has no reply yet."""
        self.beat()
        done = self.db.execute(
            "INSERT INTO claims SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM replies WHERE key = ?1) "
            "ON CONFLICT (key) DO UPDATE SET owner = excluded.owner "
            "WHERE claims.owner NOT IN (SELECT owner FROM owners WHERE seen > ?3)",
            (key, self.owner, time.time() - STALE),
        )
        return done.rowcount == 1

    def release(self, key):
        """Give up a claim without a reply."""
        self.db.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self.owner))

    def put(self, chat, root, raw):
        """Keep the reply to `chat`; `root` is the key of the question as it was asked first."""
        row = (chat.key, root, chat.agent, chat.model, chat.prompt_version)
        row += (raw.content, raw.finish, raw.tokens_in, raw.tokens_out, raw.seconds)
        with self._transaction():
            self.db.execute(
                "INSERT OR IGNORE INTO replies (key, root, agent, model, prompt_version, content, finish, tokens_in, "
                "tokens_out, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            if raw.body:
                self.db.execute("INSERT OR IGNORE INTO bodies VALUES (?, ?)", (chat.key, raw.body))
            self.db.execute("DELETE FROM claims WHERE key = ?", (chat.key,))

    def plan_batch(self, token, endpoint, items):
        """Remember, before anything is sent, which questions a batch will hold. `items` are `batch.Sent`."""
        with self._transaction():
            self.db.execute("INSERT INTO batches VALUES (?, ?, ?, NULL)", (token, endpoint, self.owner))
            rows = [(token, i.key, i.root, i.agent, i.model, i.prompt_version, i.sent) for i in items]
            columns = "token, key, root, agent, model, prompt_version, sent"
            self.db.executemany(f"INSERT INTO batched ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def name_batch(self, token, id):
        """The provider has taken the batch and calls it `id`."""
        self.db.execute("UPDATE batches SET id = ? WHERE token = ?", (id, token))

    def batches(self, endpoint):
        """[(token, the provider's id or None)] of batches whose results are not all here.

        Without an id and with an owner who is alive a batch is just being sent, and is not told.
        """
        return self.db.execute(
            "SELECT token, id FROM batches WHERE endpoint = ?1 AND (id IS NOT NULL OR owner = ?2 OR owner NOT IN "
            "(SELECT owner FROM owners WHERE seen > ?3)) ORDER BY rowid",
            (endpoint, self.owner, time.time() - STALE),
        ).fetchall()

    def batched(self, token):
        """The rows (key, root, agent, model, prompt_version, sent) of a batch."""
        columns = "key, root, agent, model, prompt_version, sent"
        return self.db.execute(f"SELECT {columns} FROM batched WHERE token = ?", (token,)).fetchall()

    def end_batch(self, token):
        """Forget a batch: its replies are stored, or it never came to be."""
        with self._transaction():
            self.db.execute("DELETE FROM batched WHERE token = ?", (token,))
            self.db.execute("DELETE FROM batches WHERE token = ?", (token,))

    def traits(self, endpoint):
        """What an endpoint was found not to take, remembered from earlier runs."""
        return {row[0] for row in self.db.execute("SELECT trait FROM traits WHERE endpoint = ?", (endpoint,))}

    def learn(self, endpoint, trait):
        self.db.execute("INSERT OR IGNORE INTO traits VALUES (?, ?)", (endpoint, trait))


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
