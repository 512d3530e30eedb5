"""HTTP/2 by libraries of others against the real server: a chat that is streamed, many requests side by side
on one connection, and one of them that is left in its middle while the others go on."""

import asyncio
import contextlib
import json
import os
import socket
import time
import urllib.parse

import h2.config
import h2.connection
import h2.events
import httpx2
from h2.errors import ErrorCodes
from test_calls import context
from test_openai import QUESTION

BASE = os.environ["OPENAI_BASE_URL"]
AUTHORIZATION = f"Bearer {os.environ['OPENAI_API_KEY']}"
MANY = 8
# Waiting ends here, with a failed test instead of a hanging one.
PATIENCE_S = 120


def body_of(**options):
    return {"model": "guide", "messages": QUESTION, "seed": 7, "max_tokens": 24, "temperature": 0.7} | options


ENDLESS = body_of(model="guide-long", stream=True) | json.loads(os.environ["STRONGROOM_ENDLESS"])


@contextlib.asynccontextmanager
async def client_of(**options):
    """A client that has one connection."""
    async with httpx2.AsyncClient(
        base_url=f"{BASE}/", headers={"authorization": AUTHORIZATION}, verify=context(), trust_env=False,
        http2=True, timeout=PATIENCE_S, limits=httpx2.Limits(max_connections=1), **options,
    ) as client:
        yield client


def data_of(line):
    return json.loads(line.removeprefix("data: ")) if line.startswith("data: {") else None


def said(chunks):
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def address_of(response):
    """This side's end of the connection."""
    return response.extensions["network_stream"].get_extra_info("client_addr")


async def whole(client, body):
    """The answer to a request, and on which connection and as which stream of it that came."""
    response = await client.post("chat/completions", json=body)
    assert (response.status_code, response.http_version) == (200, "HTTP/2"), response.text
    text = response.json()["choices"][0]["message"]["content"]
    return text, address_of(response), response.extensions["stream_id"]


def test_a_chat_is_streamed_over_http_2():
    async def work():
        async with client_of() as client:
            text, *_ = await whole(client, body_of())
            async with client.stream("POST", "chat/completions", json=body_of(stream=True)) as response:
                assert response.http_version == "HTTP/2"
                assert response.headers["content-type"].startswith("text/event-stream")
                # These belong to connections, and HTTP/2 has no place for them.
                assert not {"connection", "transfer-encoding", "keep-alive"} & set(response.headers)
                lines = [line async for line in response.aiter_lines() if line]
            return text, lines

    text, lines = asyncio.run(work())
    assert lines[-1] == "data: [DONE]"
    chunks = [data_of(line) for line in lines[:-1]]
    assert len(chunks) > 3
    assert said(chunks) == text


def test_many_requests_at_once_share_one_connection():
    async def work():
        async with client_of() as client:
            bodies = [body_of(seed=seed) for seed in range(MANY)]
            together = await asyncio.gather(*(whole(client, body) for body in bodies))
            alone = [await whole(client, body) for body in bodies]
            return together, alone

    together, alone = asyncio.run(work())
    assert [text for text, *_ in together] == [text for text, *_ in alone]
    assert len({text for text, *_ in together}) > 1
    assert len({address for _, address, _ in together + alone}) == 1
    assert len({stream for *_, stream in together + alone}) == 2 * MANY


def test_a_stream_that_is_left_in_its_middle_is_in_nobodys_way():
    async def work():
        async with client_of() as client:
            async with client.stream("POST", "chat/completions", json=ENDLESS) as left:
                async for line in left.aiter_lines():
                    if (chunk := data_of(line)) and said([chunk]):
                        break
                running = [asyncio.create_task(whole(client, body_of(seed=seed))) for seed in range(MANY - 1)]
                await asyncio.sleep(0)  # They set out.
            return address_of(left), await asyncio.gather(*running), await whole(client, body_of(seed=0))

    first, others, last = asyncio.run(work())
    assert {address for _, address, _ in [*others, last]} == {first}
    assert others[0][0] == last[0]


class Plain:
    """A connection on which nothing is done but what is said here: `httpx2` resets no stream that it leaves."""

    def __init__(self):
        url = urllib.parse.urlsplit(BASE)
        tls = context()
        tls.set_alpn_protocols(["h2"])
        self.host = url.netloc
        self.socket = tls.wrap_socket(
            socket.create_connection((url.hostname, url.port), PATIENCE_S), server_hostname=url.hostname)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.state.initiate_connection()
        self.texts, self.statuses, self.ended = {}, {}, set()
        self.send()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self):
        self.socket.sendall(self.state.data_to_send())

    def ask(self, body):
        stream, data = self.state.get_next_available_stream_id(), json.dumps(body).encode()
        self.state.send_headers(stream, [
            (":method", "POST"), (":scheme", "https"), (":authority", self.host),
            (":path", "/v1/chat/completions"), ("authorization", AUTHORIZATION),
            ("content-type", "application/json"), ("content-length", str(len(data)))])
        self.state.send_data(stream, data, end_stream=True)
        self.texts[stream] = ""
        self.send()
        return stream

    def leave(self, stream):
        self.state.reset_stream(stream, ErrorCodes.CANCEL)
        self.send()

    def read_until(self, is_so):
        while not is_so():
            received = self.socket.recv(65_536)
            assert received, "the server has closed the connection"
            for event in self.state.receive_data(received):
                match event:
                    case h2.events.ResponseReceived():
                        self.statuses[event.stream_id] = dict(event.headers)[":status"]
                    case h2.events.DataReceived():
                        self.texts[event.stream_id] += event.data.decode()
                        self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        self.ended.add(event.stream_id)
                    case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                        raise AssertionError(event)
            self.send()


def count(name, label=""):
    """A number of the server's, over all of it that have this label."""
    numbers = httpx2.get(
        f"{BASE.removesuffix('/v1')}/metrics", verify=context(), trust_env=False,
        headers={"authorization": f"Bearer {os.environ['STRONGROOM_NUMBERS_KEY']}"})
    numbers.raise_for_status()
    lines = [line.rpartition(" ") for line in numbers.text.splitlines()]
    return sum(float(value) for key, _, value in lines if key.split("{")[0] == name and label in key)


def ended_by_leaving():
    return count("strongroom_exchanges_total", 'outcome="cancelled"')


def wait_until(is_so):
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun < PATIENCE_S, "waited in vain"
        time.sleep(0.02)


def test_a_stream_that_is_reset_ends_the_work_and_the_others_go_on():
    # Whom other tests have left is forgotten first.
    wait_until(lambda: count("strongroom_exchanges_running") == 0)
    before = ended_by_leaving()
    with Plain() as connection:
        first, other = connection.ask(ENDLESS), connection.ask(ENDLESS)
        texts = connection.texts
        connection.read_until(lambda: all(texts[one].count("data: ") > 2 for one in (first, other)))
        connection.leave(first)
        wait_until(lambda: ended_by_leaving() == before + 1)
        # The other one is still being written, and one that is asked for now is answered too.
        length = len(texts[other])
        connection.read_until(lambda: len(texts[other]) > length)
        last = connection.ask(body_of(stream=True))
        connection.read_until(lambda: last in connection.ended)
        assert texts[last].endswith("data: [DONE]\n\n")
        assert connection.ended == {last}
        assert set(connection.statuses.values()) == {"200"}
        assert ended_by_leaving() == before + 1
