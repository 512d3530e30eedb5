"""Open WebUI as a front end of the real server: it starts with nothing but its address and a key, lists the
models, and its own API chats, streams, names chats, and answers from a document that it embeds there."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

START_LIMIT_S = 240
QUESTION = [{"role": "user", "content": "What are you?"}]


class Refused(Exception):
    """An answer that is none: the status, and what it says."""


class Page:
    """What its page does: speaks to its API in somebody's name."""

    def __init__(self, base):
        self.base, self.token = base, None
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def open(self, method, path, data=None, kind="application/json"):
        headers = {"content-type": kind} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            return self.opener.open(request, timeout=120)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode()) from error

    def send(self, method, path, body=None):
        with self.open(method, path, None if body is None else json.dumps(body).encode()) as answer:
            return json.load(answer)

    def upload(self, name, text):
        head = f'--x\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\ncontent-type: text/plain\r\n\r\n'
        with self.open("POST", "/api/v1/files/?process=true&process_in_background=false",
                       f"{head}{text}\r\n--x--\r\n".encode(), "multipart/form-data; boundary=x") as answer:
            return json.load(answer)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    home, port = tmp_path_factory.mktemp("open-webui"), free_port()
    here = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environment = here | {
        "OPENAI_API_BASE_URL": os.environ["OPENAI_BASE_URL"], "OPENAI_API_KEY": os.environ["OPENAI_API_KEY"],
        "DATA_DIR": str(home), "WEBUI_SECRET_KEY": "of this test", "ENABLE_OLLAMA_API": "false",
        "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "false", "DO_NOT_TRACK": "true",
        # Documents are embedded by the same server.
        "RAG_EMBEDDING_ENGINE": "openai", "RAG_EMBEDDING_MODEL": "all-MiniLM-L6-v2",
        "RAG_OPENAI_API_BASE_URL": os.environ["OPENAI_BASE_URL"], "RAG_OPENAI_API_KEY": os.environ["OPENAI_API_KEY"],
    }
    log = home / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [pathlib.Path(sys.executable).with_name("open-webui"), "serve", "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=home)
    try:
        page = Page(f"http://127.0.0.1:{port}")
        end = time.monotonic() + START_LIMIT_S
        while True:
            try:
                assert page.send("GET", "/health") == {"status": True}
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"Open WebUI did not start:\n{log.read_text()[-4000:]}")
                time.sleep(0.5)
        account = {"name": "Olivia", "email": "olivia@example.org", "password": "nine herons beside the mill"}
        page.token = page.send("POST", "/api/v1/auths/signup", account)["token"]
        yield page
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def ask(**options):
    return {"model": "guide-long", "messages": QUESTION, "max_tokens": 40, "seed": 7, "stream": False} | options


def test_the_models_are_listed(page):
    listed = {model["id"] for model in page.send("GET", "/api/models")["data"]}
    assert {"guide", "guide-long", "bert-mean"} <= listed


def test_a_connection_is_verified_as_the_administrator_does(page):
    connection = {"url": os.environ["OPENAI_BASE_URL"], "key": os.environ["OPENAI_API_KEY"]}
    verified = page.send("POST", "/openai/verify", connection)
    assert "guide" in {model["id"] for model in verified["data"]}
    with pytest.raises(Refused):
        page.send("POST", "/openai/verify", connection | {"key": "sr-" + "0" * 64})


def test_a_chat_is_answered(page):
    answer = page.send("POST", "/api/chat/completions", ask())
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["total_tokens"] > 0


def test_a_chat_is_streamed_in_pieces(page):
    with page.open("POST", "/api/chat/completions", json.dumps(ask(stream=True)).encode()) as answer:
        lines = [line.decode().removeprefix("data: ").strip() for line in answer if line.strip()]
    assert lines[-1] == "[DONE]"
    pieces = [choice["delta"].get("content") or "" for line in lines[:-1] for choice in json.loads(line).get("choices", [])]
    whole = page.send("POST", "/api/chat/completions", ask())["choices"][0]["message"]["content"]
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces) == whole


def test_a_tool_is_called_through_it(page):
    tool = {"type": "function", "function": {"name": "forecast", "strict": True, "parameters": {
        "type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}}, "required": ["city"],
        "additionalProperties": False}}}
    answer = page.send("POST", "/api/chat/completions", ask(
        tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=200))
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["city"] in ("Paris", "Oslo")


def test_chats_get_a_title_and_follow_up_questions(page):
    said = [*QUESTION, {"role": "assistant", "content": "I am a small guide."}]
    for task in ("title", "follow_up"):
        answer = page.send("POST", f"/api/v1/tasks/{task}/completions", {"model": "guide-long", "messages": said})
        assert answer["choices"][0]["message"]["content"], task


def test_a_question_is_answered_from_an_uploaded_document(page):
    text = "People make their API keys on their own page.\n\nBackups are made every night, and are sealed."
    document = page.upload("house-rules.txt", text)
    assert document["id"]
    found = page.send("POST", "/api/v1/retrieval/query/collection", {
        "collection_names": [f"file-{document['id']}"], "query": "Where do I get a key for my program?", "k": 1})
    assert "API keys" in found["documents"][0][0]
    answer = page.send("POST", "/api/chat/completions", ask(
        messages=[{"role": "user", "content": "Where do I get a key for my program?"}],
        files=[{"type": "file", "id": document["id"]}]))
    assert answer["choices"][0]["message"]["content"]


def test_what_the_server_refuses_is_told(page):
    with pytest.raises(Refused, match="temperature") as refused:
        page.send("POST", "/api/chat/completions", ask(temperature=9))
    assert refused.value.args[0] == 400
