"""Any checkpoint of the course behind an OpenAI-compatible API, with a chat page in Portuguese and a feedback store.

    afina serve models/llama-base                        # in a terminal, until Ctrl+C: prints the page's address and the key
    afina feedback export --out build/feedback           # what people said on the page, as chat JSONL and as DPO pairs

    from afina.serve import serving, load_checkpoint
    with serving("build/14_adaptador") as server:        # one child process on 127.0.0.1, a free port, a random key
        server.client()                                  # OpenAI's client, with server.base_url and server.api_key
        server.page                                      # the page of server.url, with the key in its fragment
        server.feedback                                  # Path of the SQLite file where the page's feedback goes

API: GET /v1/models, POST /v1/chat/completions (stream or not), POST /v1/classify for a classifier (vLLM's /classify form),
POST /v1/feedback, GET /health; errors as {"error": {"message", "type", "code", "param"}}, messages in Portuguese.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from afina.child import Child
from afina.errors import require

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Server", "load_checkpoint", "save_chat_gpt", "serving"]


def __getattr__(name: str):
    if name in ("load_checkpoint", "save_chat_gpt"):  # with torch and transformers: only for who loads in this process
        from afina.chat import checkpoint

        return getattr(checkpoint, name)
    raise AttributeError(name)


class Server(Child):
    """A running server, as above; `log()` is what went wrong in it. `close()`, or the end of its `with` block, ends it."""

    def __init__(self, options: dict):
        super().__init__("afina.serve.server", options, "o servidor", options["checkpoint"])
        self.url, self.api_key, self.model = self.told["url"], self.told["api_key"], self.told["model"]
        self.base_url, self.page = f"{self.url}/v1", f"{self.url}/#key={self.api_key}"
        self.feedback = Path(self.told["feedback"])

    def __repr__(self) -> str:
        return f"Server({self.model}, {self.url})"

    def client(self, **options) -> "OpenAI":
        """The official client, pointed here; `options` are its own."""
        from openai import OpenAI

        return OpenAI(base_url=self.base_url, api_key=self.api_key, **options)


def serving(
    checkpoint: str | Path,
    *,
    base: str | Path | None = None,
    load_in_4bit: bool = False,
    feedback: str | Path | None = None,
    batch: int = 16,
    queue: int = 64,
    timeout: float = 60.0,
    threads: int | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    show: bool = True,
) -> Server:
    """Start a child process that serves `checkpoint`, and wait until it answers.

    `checkpoint` and `base` are `load_checkpoint`'s. `feedback`: SQLite file (build/serve/feedback.sqlite). `batch`: answered
    together; `queue`: may wait beyond them; `timeout`: seconds for a request in all; `threads`: cores for the model (1 for
    the small ones); port 0: a free one. The key is AFINA_API_KEY where that is set.

    CourseError: what `load_checkpoint` refuses, a port that is taken, a feedback file that is none.
    """
    asked = dict(locals())  # what the child calls them too
    least = {"batch": 1, "queue": 1, "timeout": 0.1} | ({} if threads is None else {"threads": 1})
    for name, smallest in least.items():
        require(asked[name] >= smallest, f"{name} é {asked[name]!r}.", f"Use {smallest} ou mais.", "serve")
    server = Server(asked)
    if show:
        print(f"{server.model} em {server.url}")
    return server
