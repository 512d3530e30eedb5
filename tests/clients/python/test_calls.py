"""What OpenAI's client does around a request, against the real server: raw responses, retries that wait
as they are told, time-outs, asynchronous streams, and an error that comes when the answer has begun."""

import asyncio
import contextlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import ssl
import time

import openai
import pytest
from test_openai import QUESTION

# Lasts until it is ended.
ENDLESS = {"extra_body": json.loads(os.environ["STRONGROOM_ENDLESS"])}
SERVE = pathlib.Path(__file__).parents[1] / "serve"


class Watch:
    """What went over the wire: when each request left, and what came back. `hidden` is kept from the client."""

    def __init__(self, after_response=lambda: None, hidden=()):
        self.sent, self.received, self.after_response, self.hidden = [], [], after_response, hidden

    def on_request(self, request):
        self.sent.append((time.monotonic(), request))

    def on_response(self, response):
        self.received.append((time.monotonic(), response))
        for name in self.hidden:
            del response.headers[name]
        self.after_response()

    async def on_request_later(self, request):
        self.on_request(request)

    async def on_response_later(self, response):
        self.on_response(response)

    def statuses(self):
        return [response.status_code for _, response in self.received]

    def check_waits(self):
        """Each further request left when the answer before it said, and counted itself."""
        for number, (_, request) in enumerate(self.sent):
            assert request.headers["x-stainless-retry-count"] == str(number)
        for (came, response), (left, _) in zip(self.received, self.sent[1:], strict=False):
            told_s, told_ms = (response.headers[name] for name in ("retry-after", "retry-after-ms"))
            assert int(told_s) >= int(told_ms) / 1000 > 0
            assert int(told_ms) / 1000 <= left - came < int(told_ms) / 1000 + 10


def context():
    return ssl.create_default_context(cafile=os.environ["STRONGROOM_CA"])


def client_that(watch=None, **options):
    watch = watch or Watch()
    http_client = openai.DefaultHttpxClient(
        verify=context(), trust_env=False,
        event_hooks={"request": [watch.on_request], "response": [watch.on_response]})
    return openai.OpenAI(http_client=http_client, **options)


def asynchronous_client_that(watch=None, **options):
    watch = watch or Watch()
    http_client = openai.DefaultAsyncHttpxClient(
        verify=context(), trust_env=False,
        event_hooks={"request": [watch.on_request_later], "response": [watch.on_response_later]})
    return openai.AsyncOpenAI(http_client=http_client, **options)


def ask(client, **options):
    # What stands in `extra_body` goes before it.
    return client.chat.completions.create(**{"model": "guide", "messages": QUESTION, "max_tokens": 8} | options)


def until_it_runs(stream):
    """Reads the stream up to the first word: its role is said while it still waits."""
    next(chunk for chunk in stream if chunk.choices[0].delta.content)


@contextlib.contextmanager
def both_places_taken():
    """One request runs on `guide-narrow` and one waits, until this is left."""
    with client_that(max_retries=0) as client, contextlib.ExitStack() as streams:
        running = streams.enter_context(ask(client, model="guide-narrow", stream=True, **ENDLESS))
        until_it_runs(running)
        streams.enter_context(ask(client, model="guide-narrow", stream=True, **ENDLESS))
        yield


def use_up_the_rate(client):
    with pytest.raises(openai.RateLimitError):
        for _ in range(40):
            ask(client, model="guide-metered", max_tokens=1)


def test_a_raw_response_has_the_headers_and_the_same_answer():
    with client_that() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="guide", messages=QUESTION, seed=7, max_tokens=8)
        assert raw.status_code == 200
        assert raw.headers["x-request-id"] == raw.request_id
        assert raw.headers["content-type"] == "application/json"
        assert raw.retries_taken == 0
        answer = raw.parse()
        assert answer.choices[0].message.content == ask(client, seed=7).choices[0].message.content
        vector = client.embeddings.with_raw_response.create(model="bert-mean", input="t9")
        assert len(vector.parse().data[0].embedding) == 64


def test_a_response_is_read_as_it_comes():
    with client_that() as client:
        create = client.chat.completions.with_streaming_response.create
        with create(model="guide", messages=QUESTION, seed=7, max_tokens=8, stream=True) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["x-accel-buffering"] == "no"
            lines = [line for line in response.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert all(line.startswith("data: ") for line in lines)


def test_a_raw_response_of_a_refusal_is_raised_with_its_request_id():
    with client_that() as client, pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.with_raw_response.create(model="guide", messages=QUESTION, temperature=9)
    assert refused.value.request_id.startswith("req_")
    assert refused.value.response.headers["x-request-id"] == refused.value.request_id


def test_limits_are_told_in_the_headers_of_good_answers():
    with client_that(api_key=os.environ["STRONGROOM_LIMITED_KEY"], max_retries=0) as client:
        try:
            headers = client.chat.completions.with_raw_response.create(
                model="guide", messages=QUESTION, max_tokens=4).headers
        except openai.RateLimitError as error:
            headers = error.response.headers
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"]


def test_case_07_a_used_up_rate_is_waited_for_and_the_answer_comes():
    with client_that(max_retries=0) as greedy:
        use_up_the_rate(greedy)
    watch = Watch()
    with client_that(watch, max_retries=3) as patient:
        assert ask(patient, model="guide-metered").choices
    assert watch.statuses() == [429, 200]
    watch.check_waits()


def test_without_retries_a_used_up_rate_is_raised_at_once():
    watch = Watch()
    with client_that(max_retries=0) as greedy:
        use_up_the_rate(greedy)
    with client_that(watch, max_retries=0) as hasty, pytest.raises(openai.RateLimitError) as refused:
        ask(hasty, model="guide-metered")
    assert watch.statuses() == [429]
    assert refused.value.code == "rate_limit_exceeded"


def owner():
    """The owner in a browser."""
    loader = importlib.machinery.SourceFileLoader("serve", str(SERVE))
    serve = importlib.util.module_from_spec(importlib.util.spec_from_loader("serve", loader))
    loader.exec_module(serve)
    browser = serve.Browser(os.environ["OPENAI_BASE_URL"].removesuffix("/v1"), os.environ["STRONGROOM_CA"])
    browser.enter("/api/session", {"username": "olivia", "password": os.environ["STRONGROOM_PASSWORD"]})
    return browser


def spent_key(whose):
    """A key whose own budget is used up, or that of its person."""
    key = os.environ["STRONGROOM_SPENDING_KEY"]
    if whose == "key":
        small = {"name": "small", "limits": {"requests_per_month": 1}}
        key = owner().send("POST", "/api/me/keys", small)["secret"]
    with client_that(api_key=key, max_retries=0) as client, pytest.raises(openai.RateLimitError):
        for _ in range(3):
            ask(client, max_tokens=1)
    return key


def check_spent(refused):
    error = refused.value
    assert (error.status_code, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert "1 requests a month" in error.message
    assert error.response.headers["x-should-retry"] == "false"
    assert int(error.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("whose", ["key", "person"])
def test_case_07_a_used_up_budget_is_not_asked_again_and_others_go_on(whose):
    key, watch = spent_key(whose), Watch()
    with client_that(watch, api_key=key, max_retries=3) as client:
        for options in ({}, {"stream": True}):
            with pytest.raises(openai.RateLimitError) as refused:
                ask(client, **options)
            check_spent(refused)

    async def patiently():
        async with asynchronous_client_that(watch, api_key=key, max_retries=3) as client:
            await ask(client)

    with pytest.raises(openai.RateLimitError) as refused:
        asyncio.run(patiently())
    check_spent(refused)
    # One request each.
    assert watch.statuses() == [429, 429, 429]
    assert {request.headers["x-stainless-retry-count"] for _, request in watch.sent} == {"0"}
    with client_that(max_retries=0) as other:
        assert ask(other).choices


def test_it_is_the_word_of_the_server_that_keeps_a_client_from_asking_again():
    key = spent_key("person")
    # A wait of days keeps the client too, so it is not told of that one here.
    waits = ("retry-after", "retry-after-ms")
    for hidden, statuses in [(waits, [429]), ((*waits, "x-should-retry"), [429, 429])]:
        watch = Watch(hidden=hidden)
        with client_that(watch, api_key=key, max_retries=1) as client, pytest.raises(openai.RateLimitError):
            ask(client)
        assert watch.statuses() == statuses, hidden


def test_a_busy_server_is_asked_again_until_there_is_room():
    with contextlib.ExitStack() as taken:
        taken.enter_context(both_places_taken())
        watch = Watch(lambda: taken.close() if len(watch.received) == 2 else None)
        with client_that(watch, max_retries=5) as client:
            assert ask(client, model="guide-narrow").choices
    assert watch.statuses() == [503, 503, 200]
    watch.check_waits()


def test_a_busy_server_is_an_internal_server_error_in_the_end():
    watch = Watch()
    with both_places_taken(), client_that(watch, max_retries=1) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            ask(client, model="guide-narrow")
    assert watch.statuses() == [503, 503]
    assert (refused.value.status_code, refused.value.code) == (503, "busy")
    watch.check_waits()


def test_refusals_that_waiting_does_not_change_are_not_tried_again():
    for options, status in [({"temperature": 9}, 400), ({"model": "nobody"}, 404)]:
        watch = Watch()
        with client_that(watch, max_retries=3) as client, pytest.raises(openai.APIStatusError):
            ask(client, **options)
        assert watch.statuses() == [status]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_runs_out_of_time_leaves_and_others_are_served(stream):
    watch = Watch()
    limit = openai.Timeout(10, read=1)
    with contextlib.ExitStack() as taken, client_that(watch, max_retries=1, timeout=limit) as client:
        if stream:  # The first place is taken, so the stream says nothing.
            other = taken.enter_context(client_that(max_retries=0))
            running = taken.enter_context(ask(other, model="guide-narrow", stream=True, **ENDLESS))
            until_it_runs(running)
            waiting = taken.enter_context(ask(client, model="guide-narrow", stream=True, **ENDLESS))
            # The role is said at once; what comes next has to wait.
            with pytest.raises(openai.APITimeoutError):
                list(waiting)
            assert len(watch.sent) == 1
        else:
            with pytest.raises(openai.APITimeoutError):
                ask(client, model="guide-narrow", **ENDLESS)
            assert len(watch.sent) == 2
    # Nobody waits for who has left.
    with client_that(max_retries=2) as client:
        assert ask(client, model="guide-narrow").choices


def test_streams_of_the_asynchronous_client_run_side_by_side():
    async def said(client, seed):
        stream = await client.chat.completions.create(
            model="guide", messages=QUESTION, seed=seed, max_tokens=24, temperature=1.2, stream=True,
            stream_options={"include_usage": True})
        pieces, usage = [], None
        async for chunk in stream:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
            usage = chunk.usage or usage
        return "".join(pieces), usage.completion_tokens

    async def several():
        async with asynchronous_client_that() as client:
            return await asyncio.gather(*(said(client, seed) for seed in range(4)))

    together = asyncio.run(several())
    with client_that() as client:
        for seed, (text, tokens) in enumerate(together):
            alone = ask(client, seed=seed, temperature=1.2, max_tokens=24)
            assert (text, tokens) == (alone.choices[0].message.content, alone.usage.completion_tokens)


def test_an_asynchronous_stream_is_left_early_and_by_cancelling():
    async def leave():
        async with asynchronous_client_that(max_retries=0) as client:
            async with await ask(client, model="guide-narrow", stream=True, **ENDLESS) as stream:
                await anext(aiter(stream))
            task = asyncio.create_task(ask(client, model="guide-narrow", **ENDLESS))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # Both places are free again.
            return await ask(client, model="guide-narrow")

    assert asyncio.run(leave()).choices


def test_the_asynchronous_client_waits_as_it_is_told():
    watch = Watch()

    async def patiently():
        async with asynchronous_client_that(watch, max_retries=3) as client:
            return await ask(client, model="guide-metered")

    with client_that(max_retries=0) as greedy:
        use_up_the_rate(greedy)
    assert asyncio.run(patiently()).choices
    assert watch.statuses() == [429, 200]
    watch.check_waits()


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_case_05_an_error_in_a_stream_is_raised_after_what_was_said(is_asynchronous):
    browser = owner()
    key = browser.send("POST", "/api/me/keys", {"name": "to be withdrawn"})
    options = {"model": "guide-long", "stream": True, **ENDLESS}
    said = []

    def withdraw_once():
        if len(said) == 3:
            browser.send("DELETE", f"/api/me/keys/{key['key']['id']}")

    async def read():
        async with asynchronous_client_that(api_key=key["secret"]) as client:
            async for chunk in await ask(client, **options):
                said.append(chunk.choices[0])
                withdraw_once()

    with pytest.raises(openai.APIError) as raised:
        if is_asynchronous:
            asyncio.run(read())
        else:
            with client_that(api_key=key["secret"]) as client:
                for chunk in ask(client, **options):
                    said.append(chunk.choices[0])
                    withdraw_once()
    assert (raised.value.code, raised.value.type) == ("permission_denied", "permission_error")
    assert len(said) >= 3 and "".join(choice.delta.content or "" for choice in said)
    assert all(choice.finish_reason is None for choice in said)
    with client_that(api_key=key["secret"], max_retries=0) as client, pytest.raises(openai.AuthenticationError):
        ask(client)
