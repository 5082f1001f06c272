"""The server as a person and a program meet it: the API, the page in a real browser, and a crowd."""

import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import openai
import psutil
import pytest
from browser import CHROMIUM, browser
from cloud_base import tiny_base

from afina.runtime import course_root
from afina.serve import serving
from afina.serve.feedback import Feedback

MODELS = course_root() / "models"
ASK = [{"role": "user", "content": "Crimson Mouse by Solnova"}]
FOREVER = {
    "model": tiny_base().name,
    "messages": ASK,
    "max_tokens": 200,
    "temperature": 0,
    "extra_body": {"ignore_eos": True},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(place):
    with serving(MODELS / "llama-base", feedback=place / "chat.sqlite", show=False) as server:
        yield server
        assert server.log() == ""  # nothing went wrong that nobody asked for


class Narrow:
    """A server in this process, two at a time and two in the queue, whose model takes `delay` seconds a token."""

    def __init__(self, place):
        import torch
        import uvicorn

        from afina.chat.checkpoint import load_checkpoint
        from afina.serve.server import Service, listening

        torch.set_num_threads(1)
        checkpoint = load_checkpoint(tiny_base())
        forward, self.delay = checkpoint.model.forward, 0.03

        def slowly(*args, **kwargs):
            time.sleep(self.delay)
            return forward(*args, **kwargs)

        checkpoint.model.forward = slowly
        checkpoint.tokenizer.eos_token_id = 399  # it never ends by itself
        checkpoint.model.generation_config.eos_token_id = None
        door = listening("127.0.0.1", 0)
        self.url, self.api_key = f"http://127.0.0.1:{door.getsockname()[1]}", "chave"
        self.base_url, self.page = f"{self.url}/v1", f"{self.url}/#key=chave"
        self.service = Service(checkpoint, self.api_key, Feedback(place / "narrow.sqlite"), 2, 2, 60.0)
        self.uvicorn = uvicorn.Server(uvicorn.Config(self.service.application(), lifespan="on", log_level="warning"))
        self.thread = threading.Thread(target=self.uvicorn.run, args=([door],), daemon=True)
        self.thread.start()
        until(lambda: self.uvicorn.started)

    def client(self, **options):
        return openai.OpenAI(base_url=self.base_url, api_key=self.api_key, **options)

    def idle(self):
        until(lambda: (busy(self)["active"], busy(self)["waiting"]) == (0, 0))


@pytest.fixture(scope="module")
def narrow(place):
    server = Narrow(place)
    yield server
    server.uvicorn.should_exit = True
    server.thread.join(10)


@pytest.fixture(scope="module")
def judge(place):
    """A classifier, saved as lesson 13 saves it."""
    from transformers import BertTokenizerFast

    from afina.tune.bert import captured_log, classifier

    folder = place / "classifier"
    with captured_log():
        classifier(MODELS / "bert-pt").save_pretrained(folder)
    BertTokenizerFast.from_pretrained(MODELS / "bert-pt").save_pretrained(folder)
    with serving(folder, feedback=place / "judge.sqlite", show=False) as server:
        yield server


def client(server, **options):
    return server.client(**{"max_retries": 0, "timeout": 60} | options)


def send(server, path, body=b"", key=None, method="POST", headers=()):
    """(status, JSON or text) of one plain request."""
    wire = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    wire.request(
        method, path, body, {"Authorization": f"Bearer {server.api_key if key is None else key}", **dict(headers)}
    )
    answer = wire.getresponse()
    text = answer.read().decode()
    wire.close()
    return answer.status, json.loads(text) if answer.getheader("content-type", "").startswith(
        "application/json"
    ) else text


def busy(server):
    return send(server, "/health", method="GET")[1]


def until(what, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


# --- the API -----------------------------------------------------------------------------------------------------------


def test_the_official_client_talks_and_streams(server):
    ours = client(server)
    (model,) = ours.models.list().data
    assert model.id == "llama-base" == ours.models.retrieve("llama-base").id and model.context == 512
    ask = {"model": "llama-base", "messages": ASK, "temperature": 0, "max_tokens": 30}
    whole = ours.chat.completions.create(**ask)
    choice, used = whole.choices[0], whole.usage
    assert (
        choice.finish_reason in ("stop", "length") and used.total_tokens == used.prompt_tokens + used.completion_tokens
    )
    chunks = list(ours.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == choice.message.content != "" and len([p for p in pieces if p]) > 1
    assert (
        chunks[0].choices[0].delta.role == "assistant" and chunks[-2].choices[0].finish_reason == choice.finish_reason
    )
    assert chunks[-1].usage.model_dump() == used.model_dump() and len({chunk.id for chunk in chunks}) == 1
    parts = [{"role": "user", "content": [{"type": "text", "text": ASK[0]["content"]}]}]
    assert (
        ours.chat.completions.create(**ask | {"messages": parts}).choices[0].message.content == choice.message.content
    )


def test_several_answers_come_from_one_batch(server):
    """n=3: the seed decides each of them, streaming or not."""
    ours = client(server)
    ask = {"model": "llama-base", "messages": ASK, "temperature": 1.0, "max_tokens": 12, "n": 3, "seed": 4}
    whole = ours.chat.completions.create(**ask)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2] and len(set(texts)) == 3
    second = ours.chat.completions.create(**ask | {"n": 1, "seed": 5})
    assert second.choices[0].message.content == texts[1]
    said = ["", "", ""]
    chunks = list(ours.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    for choice in (chunk.choices[0] for chunk in chunks if chunk.choices):
        said[choice.index] += choice.delta.content or ""
    assert said == texts and chunks[-1].usage == whole.usage


def test_curl_talks_too(server):
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    body = json.dumps({"messages": ASK, "max_tokens": 5, "stream": True})
    command = ["curl", "-sN", "--noproxy", "*", f"{server.base_url}/chat/completions", "-d", body]
    command += ["-H", f"Authorization: Bearer {server.api_key}", "-H", "Content-Type: application/json"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(line.removeprefix("data: "))["object"] == "chat.completion.chunk" for line in lines[:-2])


@pytest.mark.parametrize(
    ("body", "status", "code", "told"),
    [
        (b"{", 400, "invalid_json", "não é JSON"),
        (b"\xff\xfe", 400, "invalid_json", "UTF-8"),
        (b"[" * 100_000, 400, "invalid_json", "não é JSON"),
        (b"[]", 400, "invalid_json", "objeto"),
        (b"", 400, "invalid_json", "não é JSON"),
        ({}, 400, "invalid_value", '"messages"'),
        ({"messages": []}, 400, "invalid_value", '"messages"'),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "invalid_value", "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_value", "messages[0]"),
        ({"messages": ASK, "stream": "sim"}, 400, "invalid_value", '"stream"'),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_value", "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "invalid_value", "só lê textos"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "invalid_value", "vazias"),
        ({"messages": ASK, "model": "gpt-9"}, 404, "model_not_found", "'llama-base'"),
        ({"messages": ASK, "temperature": 3}, 400, "invalid_value", "de 0 a 2"),
        ({"messages": ASK, "temperature": "0"}, 400, "invalid_value", '"temperature"'),
        ({"messages": ASK, "max_tokens": 0}, 400, "invalid_value", "um inteiro"),
        ({"messages": ASK, "max_tokens": True}, 400, "invalid_value", "um inteiro"),
        ({"messages": ASK, "stop": ["a"] * 5}, 400, "invalid_value", '"stop"'),
        ({"messages": ASK, "n": 9}, 400, "invalid_value", '"n"'),
        ({"messages": ASK, "tools": [{}]}, 400, "unsupported", '"tools"'),
        ({"messages": [{"role": "user", "content": "mouse " * 600}]}, 400, "context_length_exceeded", "lê até 512"),
        ({"messages": [{"role": "user", "content": "x" * 300_000}]}, 413, "request_too_large", "256 KB"),
    ],
)
def test_a_bad_request_is_told_in_the_form_of_the_api(body, status, code, told, server):
    got, answer = send(server, "/v1/chat/completions", body)
    error = answer["error"]
    assert (got, error["code"]) == (status, code) and told in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_keys_and_addresses(server):
    for key in ("", "errada", server.api_key + "x", "ção"):
        for path, method in (("/v1/models", "GET"), ("/v1/chat/completions", "POST"), ("/v1/feedback", "POST")):
            head = {"Authorization": f"Bearer {key}".encode()}
            status, answer = send(server, path, {"messages": ASK}, method=method, headers=head)
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), (key, path)
    assert send(server, "/health", method="GET", key="") == (200, {"status": "ok"})
    assert busy(server)["model"] == "llama-base"
    assert send(server, "/v1/nothing", method="GET")[1]["error"]["code"] == "unknown_url"
    assert send(server, "/../server.py", method="GET")[0] == 404
    assert send(server, "/v1/chat/completions", method="GET")[1]["error"]["code"] == "method_not_allowed"
    assert server.api_key not in repr(server) and urlsplit(server.url).hostname == "127.0.0.1"
    wire = http.client.HTTPConnection(urlsplit(server.url).netloc)
    wire.request("GET", "/")
    answer = wire.getresponse()
    assert "default-src 'none'" in answer.getheader("content-security-policy") and answer.getheader("server") is None
    assert server.api_key.encode() not in answer.read()


def test_the_client_raises_its_own_errors(server, judge):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError, match="/v1/classify") as error:
        client(judge).chat.completions.create(model="classifier", messages=ASK)
    assert error.value.code == "wrong_kind_of_model"


def test_a_classifier_classifies(judge, server):
    texts = ["Gostei muito.", "Não presta.", "Gostei muito."]
    status, told = send(judge, "/v1/classify", {"model": "classifier", "input": texts})
    assert status == 200 and [row["index"] for row in told["data"]] == [0, 1, 2]
    for row in told["data"]:
        assert sum(row["probs"]) == pytest.approx(1, abs=1e-5) and row["num_classes"] == len(told["labels"])
        assert row["label"] == told["labels"][row["probs"].index(max(row["probs"]))]
    assert told["data"][0]["probs"] == pytest.approx(told["data"][2]["probs"], abs=1e-6)
    assert send(judge, "/classify", {"input": "Gostei muito."})[1]["data"][0]["label"] == told["data"][0]["label"]
    for body, code in (
        ({"input": []}, "invalid_value"),
        ({"input": [" "]}, "invalid_value"),
        ({"input": "bom " * 200}, "context_length_exceeded"),
        ({"input": ["x"] * 100}, "invalid_value"),
    ):
        status, answer = send(judge, "/v1/classify", body)
        assert (status, answer["error"]["code"]) == (400, code)
    assert send(server, "/v1/classify", {"input": "x"})[1]["error"]["code"] == "wrong_kind_of_model"


def test_feedback_over_the_api(server):
    body = {"id": "api-1", "messages": ASK, "answer": "x", "rating": "down"}
    assert send(server, "/v1/feedback", body) == (200, {"id": "api-1", "object": "feedback"})
    assert send(server, "/v1/feedback", body | {"correction": "y"})[0] == 200
    (row,) = (row for row in Feedback(server.feedback).rows() if row["id"] == "api-1")
    assert (row["correction"], row["model"], row["rating"]) == ("y", "llama-base", "down")
    for wrong in ({"rating": "5"}, {"correction": ""}, {"other": 1}, {"messages": []}):
        assert send(server, "/v1/feedback", body | wrong)[0] == 400


# --- many at once ------------------------------------------------------------------------------------------------------


def test_one_long_answer_blocks_nobody(narrow):
    """A short question asked in the middle of a long answer is answered before it ends."""
    ours = client(narrow)
    long = ours.chat.completions.create(stream=True, **FOREVER)
    next(long)
    short = ours.chat.completions.create(**FOREVER | {"max_tokens": 3})
    assert short.usage.completion_tokens == 3
    assert busy(narrow)["active"] == 1  # the long one goes on
    long.close()
    narrow.idle()


def test_who_leaves_is_dropped_and_a_full_server_says_so(narrow):
    narrow.idle()
    ours = client(narrow)
    open_ones = [ours.chat.completions.create(stream=True, **FOREVER) for _ in range(4)]
    until(lambda: (busy(narrow)["active"], busy(narrow)["waiting"]) == (2, 2))
    with pytest.raises(openai.InternalServerError, match="cheio") as error:
        ours.chat.completions.create(stream=True, **FOREVER)
    assert error.value.status_code == 503 and error.value.response.headers["retry-after"] == "1"
    narrow.delay, before = 0.2, time.monotonic()  # 200 tokens would take 40 seconds now
    for one in open_ones:
        one.close()
    wire = http.client.HTTPConnection(urlsplit(narrow.url).netloc)
    head = {"Authorization": "Bearer chave"}
    wire.request("POST", "/v1/chat/completions", json.dumps({"messages": ASK, "ignore_eos": True}), head)
    until(lambda: (busy(narrow)["active"], busy(narrow)["waiting"]) == (1, 0))
    wire.close()  # not streaming, and nothing read
    narrow.idle()
    assert time.monotonic() - before < 20
    narrow.delay = 0.03


def test_an_answer_that_takes_too_long_is_cut_with_an_error(narrow):
    narrow.idle()
    ours, narrow.service.timeout = client(narrow), 0.5
    try:
        with pytest.raises(openai.APIError, match=r"passou de 0.5 s") as error:
            list(ours.chat.completions.create(stream=True, **FOREVER))
        assert error.value.code == "timeout"
        with pytest.raises(openai.InternalServerError) as error:
            ours.chat.completions.create(**FOREVER)
        assert error.value.status_code == 504
    finally:
        narrow.service.timeout = 60.0
    narrow.idle()


def test_a_model_that_breaks_in_mid_answer_is_told_and_forgotten(narrow, capfd):
    narrow.idle()
    ours = client(narrow)
    stream = ours.chat.completions.create(stream=True, **FOREVER)
    next(stream)
    model = narrow.service.checkpoint.model
    forward = model.forward

    def broken(*args, **kwargs):
        model.forward = forward
        raise RuntimeError("no memory")

    model.forward = broken
    with pytest.raises(openai.APIError, match="falhou no meio"):
        list(stream)
    assert ours.chat.completions.create(**FOREVER | {"max_tokens": 2}).usage.completion_tokens == 2
    assert "no memory" in capfd.readouterr().err


def test_sixteen_clients_get_whole_answers(server):
    """Short and bounded; the one of a minute is benchmarks/serve.py."""
    ours, wanted = client(server), {}
    texts = [f"Crimson Mouse {n}" for n in range(4)]
    ask = {"model": "llama-base", "temperature": 0, "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    for text in texts:
        wanted[text] = ours.chat.completions.create(messages=[{"role": "user", "content": text}], **ask)
    done = [0] * 16

    def work(number):
        for turn in range(6):
            text = texts[(number + turn) % 4]
            messages = [{"role": "user", "content": text}]
            if number % 2:
                answer = ours.chat.completions.create(messages=messages, **ask)
                said = answer.choices[0].message.content
            else:
                chunks = ours.chat.completions.create(messages=messages, stream=True, **ask)
                said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert said == wanted[text].choices[0].message.content
            done[number] += 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert done == [6] * 16
    until(lambda: busy(server)["active"] == 0)


def test_a_body_that_never_comes_holds_nobody(server):
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as slow:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.api_key}\r\n"
        slow.sendall(f"{head}Content-Length: 50\r\n\r\n{{".encode())
        assert client(server).chat.completions.create(model="llama-base", messages=ASK, max_tokens=2).choices


# --- the page ----------------------------------------------------------------------------------------------------------

UNICODE = (
    'Olá! Você descreve este produto, por favor? Ação e coração; 日本, 🙂, <b>não é HTML</b> & "aspas" \' \\ ${x}. ' * 6
)[:500]
ANSWER = "document.querySelector('#log li.assistant:last-child')"
IDLE = f"{ANSWER}?.getAttribute('aria-busy') === 'false'"
READY = "document.querySelector('#model').textContent && document.activeElement.id === 'question'"


@contextmanager
def opened(server):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browser(Path(folder)) as page:
        page.open(server.page)
        page.wait(READY)
        yield page


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@needs_chromium
def test_in_a_browser_ask_stream_judge_correct_and_export(server, tmp_path):
    with opened(server) as page:
        assert server.api_key not in page.run("location.href") and page.run("history.length") <= 2
        page.run("""window.seen = []; new MutationObserver(() => {
            const text = document.querySelector('li.assistant .text')?.textContent;
            if (text && text !== seen.at(-1)) seen.push(text);
        }).observe(document.querySelector('#log'), {subtree: true, childList: true, characterData: true}) || true""")
        page.type("Crimson Mouse by Solnova")
        page.press("Enter")
        page.wait(IDLE)
        answer = page.run(f"{ANSWER}.querySelector('.text').textContent")
        seen = page.run("seen")
        assert len(seen) > 1 and all(answer.startswith(part) for part in seen), seen  # it came in pieces
        assert "tokens em" in page.text("li.assistant .state")
        # by keyboard alone: the thumb, then the correction
        page.run(f"{ANSWER}.querySelector('[data-rating=up]').focus()")
        page.press("Tab")
        assert page.run("document.activeElement.dataset.rating") == "down"
        page.press(" ")
        page.wait(f"{ANSWER}.querySelector('[data-rating=down]').getAttribute('aria-pressed') === 'true'")
        page.press("Tab")
        page.press("Enter")
        page.wait("document.activeElement.tagName === 'TEXTAREA' && document.activeElement.id !== 'question'")
        assert page.run("document.activeElement.value") == answer
        page.run("document.activeElement.select() || true")
        page.type("É carmim, da Solnova: coração 🙂")
        page.press("Tab")
        page.press("Enter")
        page.wait(f"{ANSWER}.querySelector('.state').textContent.includes('Correção guardada')")
        page.wait("document.activeElement.className === 'fix'")
        (row,) = (row for row in Feedback(server.feedback).rows() if row["id"].startswith("chatcmpl-"))
        assert (row["rating"], row["correction"], row["answer"]) == ("down", "É carmim, da Solnova: coração 🙂", answer)
        assert row["messages"] == [{"role": "user", "content": "Crimson Mouse by Solnova"}]
        done = Feedback(server.feedback).export(tmp_path)
        pair = json.loads(done.pairs.read_text(encoding="utf-8").splitlines()[-1])
        assert pair["preferred_output"][0]["content"] == row["correction"]
        assert page.console == [] and all(address.startswith(server.url) for address in page.fetched)
        # the thumb can be taken back, and a theme and a phone change nothing but the looks
        page.run("document.querySelector('#theme').click()")
        assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 24, 29)"
        page.call("Emulation.setDeviceMetricsOverride", width=360, height=640, deviceScaleFactor=2, mobile=True)
        assert page.run("document.documentElement.scrollWidth") <= 360
        small = "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 36).length"
        assert page.run(small) == 0


@needs_chromium
def test_in_a_browser_500_characters_of_unicode_are_text(server):
    with opened(server) as page:
        assert len(UNICODE) == 500
        page.type(UNICODE)
        page.press("Enter")
        page.wait(IDLE)
        assert page.run("document.querySelector('li.user .text').textContent") == UNICODE.strip()
        assert page.run("document.querySelectorAll('#log b').length") == 0 and page.text("#notice") == ""
        # over the context: told in the page, and the box is free again
        page.type("mouse " * 700)
        page.press("Enter")
        page.wait("!document.querySelector('#notice').hidden")
        assert "lê até 512" in page.text("#notice")
        page.wait("document.activeElement.id === 'question' && !document.querySelector('#send').hidden")
        expected = [text for text in page.console if "400" not in text]  # the browser itself notes a refused request
        assert expected == []


@needs_chromium
def test_in_a_browser_a_reload_in_mid_stream_keeps_what_came(narrow):
    narrow.idle()
    narrow.delay = 0.1  # twenty seconds: the reload comes in the middle
    with opened(narrow) as page:
        page.run("document.querySelector('#tokens').value = 200")
        page.type("mouse number 3")
        page.press("Enter")
        page.wait(f"{ANSWER}?.querySelector('.text').textContent.length > 5")
        assert busy(narrow)["active"] == 1
        page.run("window.before = true")
        page.call("Page.reload")
        page.wait(f"!window.before && {READY} && {ANSWER}")
        assert "recarregada no meio" in page.text("li.assistant .state")
        assert len(page.run(f"{ANSWER}.querySelector('.text').textContent")) > 5
        narrow.idle()  # the server noticed that nobody listens
        page.run("document.querySelector('#tokens').value = 3")
        page.run(f"{ANSWER}.querySelector('.again').click()")
        page.wait(f"document.querySelectorAll('li.assistant').length === 2 && {IDLE}")
        assert "3 tokens em" in page.text("#log li:last-child .state")
        # stopping
        page.run("document.querySelector('#tokens').value = 200")
        page.type("mouse")
        page.press("Enter")
        page.wait(
            f"document.querySelectorAll('li.assistant').length === 3 && {ANSWER}.querySelector('.text').textContent"
        )
        page.run("document.querySelector('#stop').click()")
        page.wait(IDLE)
        assert "Você parou" in page.text("#log li:last-child .state")
        narrow.idle()


@needs_chromium
def test_in_a_browser_a_wrong_key_is_asked_for_and_a_classifier_shows_its_classes(judge):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, browser(Path(folder)) as page:
        page.open(f"{judge.url}/#key=errada")
        page.wait("document.querySelector('#door').open && document.querySelector('#door-error').textContent")
        page.run("document.querySelector('#key').focus()")
        page.type(judge.api_key)
        page.press("Enter")
        page.wait(READY)
        page.type("Gostei muito.")
        page.press("Enter")
        page.wait(IDLE)
        label = send(judge, "/v1/classify", {"input": "Gostei muito."})[1]["data"][0]["label"]
        assert page.text("li.assistant .bars span") == label
        page.run(f"{ANSWER}.querySelector('.fix').click()")
        other = page.run("[...document.activeElement.options].map(o => o.value)")[-1]
        page.run(f"document.activeElement.value = {json.dumps(other)}")
        page.run("document.activeElement.form.requestSubmit() || true")
        page.wait(f"{ANSWER}.querySelector('.state').textContent.includes('guardada')")
        (row,) = Feedback(judge.feedback).rows()
        assert (row["answer"], row["correction"]) == (label, other)


def test_the_page_is_light_and_asks_for_nothing_outside():
    folder = course_root() / "afina" / "serve" / "page"
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert set(files) == {"index.html", "page.css", "page.js"} and sum(map(len, files.values())) < 30_000
    assert not any("http:" in text or "https:" in text or "@import" in text for text in files.values())
    assert "innerHTML" not in files["page.js"] and 'lang="pt-BR"' in files["index.html"]


def test_threads_are_left_to_no_client(server):
    """Fifty clients that hang up at once leave nothing behind."""
    before = psutil.Process(server.process.pid).num_threads()

    def ring():
        wire = socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.api_key}\r\n"
        body = json.dumps({"messages": ASK, "stream": True, "ignore_eos": True})
        wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        wire.close()

    threads = [threading.Thread(target=ring) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: (busy(server)["active"], busy(server)["waiting"]) == (0, 0))
    assert psutil.Process(server.process.pid).num_threads() < before + 40  # asyncio's own pool, bounded
