"""Any checkpoint of the course behind an OpenAI-compatible API, with a chat page in Portuguese and a feedback store.

    afina serve models/llama-base                        # in a terminal, until Ctrl+C: prints the page's address and the key
    afina feedback export --out build/feedback           # what people said on the page, as chat JSONL and as DPO pairs

    from afina.serve import serving, load_checkpoint
    with serving("build/14_adaptador") as server:        # one child process on 127.0.0.1, a free port, a random key
        server.url                                       # "http://127.0.0.1:PORT": the page; also /health
        server.base_url, server.api_key                  # for openai.OpenAI(base_url=…, api_key=…); base_url ends in /v1
        server.client()                                  # that client, ready
        server.page                                      # the page's address with the key in its fragment
        server.feedback                                  # Path of the SQLite file where the page's feedback goes

    serving(checkpoint, *, base=None, load_in_4bit=False, feedback=None, batch=16, queue=64, timeout=60.0, threads=None,
            port=0, show=True)
      `checkpoint`: folder of a hand GPT, of a Llama (base, merged, or only its adapter), of a BERT classifier; a hand LoRA
      file of lesson 10 with base=…; on a GPU also a hub name. `base` overrides where an adapter looks for its base.
      `feedback`: SQLite file (default build/serve/feedback.sqlite; without the course's folders, ./build/…).

    checkpoint = load_checkpoint(path, base=None, load_in_4bit=False)    # what the server loads, in this process
      .name .kind ("chat" | "classifier") .model .tokenizer .context .labels .prompt_ids(messages)
    save_chat_gpt(model, tokenizer, folder)    # a hand GPT tuned in lesson 12, with the chat template of its prompts

    from afina.serve.feedback import Feedback
    store = Feedback(path)
    store.add(messages=[{"role": "user", "content": "…"}], answer="…", model="…", rating="up" | "down" | None,
              correction="…" | None, id=None) -> id      # the same id again updates the row: thumbs first, correction later
    store.rows() -> list[dict]                           # id, created, updated, model, messages, answer, rating, correction
    store.export(folder) -> Export                       # writes chat.jsonl and dpo.jsonl, each checked by afina.jsonl.validate
      .chat .pairs (Paths, or None where there was nothing to write) .counts (read, chat, pairs, and what was left out, why)
      .reports (one Report a file) .ok

API: GET /v1/models, POST /v1/chat/completions (stream or not), POST /v1/classify for a classifier (vLLM's /classify form),
POST /v1/feedback, GET /health; errors as {"error": {"message", "type", "code", "param"}}, messages in Portuguese.
"""
