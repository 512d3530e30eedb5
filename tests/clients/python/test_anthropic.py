"""Anthropic's own client for Python against the real server. `tests/clients/serve` starts it.

The model is far too small to say anything sensible: what is shown is that the client understands what it
is answered, and raises its own errors.
"""

import asyncio
import inspect
import json
import os
import pathlib
import re
import ssl
import time
import typing

import anthropic
import jsonschema
import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_params
from pydantic import BaseModel

MODEL = "guide"
ROOT = pathlib.Path(__file__).resolve().parents[3]
BASE = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
QUESTION = [{"role": "user", "content": "What are you, and what can you do?"}]
SCHEMA = {
    "type": "object",
    "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["unit", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA, "strict": True},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]


def trusting():
    return ssl.create_default_context(cafile=os.environ["STRONGROOM_CA"])


def client_with(**options):
    http_client = anthropic.DefaultHttpxClient(verify=trusting(), trust_env=False)
    return anthropic.Anthropic(base_url=BASE, http_client=http_client, **{"max_retries": 0} | options)


@pytest.fixture(scope="module")
def client():
    with client_with(api_key=os.environ["OPENAI_API_KEY"]) as client:
        yield client


def ask(client, **options):
    """Samples as `extra_body` says: this version of the client has no names for that."""
    given = {"model": MODEL, "max_tokens": 24, "messages": QUESTION} | options
    given["extra_body"] = {"seed": 7} | given.get("extra_body", {})
    return given


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_is_answered(client):
    message = client.messages.create(**ask(client))
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert said(message)
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert 0 < message.usage.output_tokens <= 24
    assert message._request_id.startswith("req_")


def test_a_conversation_goes_on_with_what_was_answered(client):
    first = client.messages.create(**ask(client))
    turns = [*QUESTION, first.to_param(), {"role": "user", "content": [{"type": "text", "text": "Go on."}]}]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    second = client.messages.create(**ask(client, messages=turns, system=system))
    assert second.usage.input_tokens + second.usage.cache_read_input_tokens > first.usage.output_tokens


def test_the_stream_helper_understands_the_events(client):
    whole = client.messages.create(**ask(client))
    with client.messages.stream(**ask(client)) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == said(message) == said(whole)
    assert message.stop_reason == whole.stop_reason
    assert message.usage.output_tokens == whole.usage.output_tokens
    assert stream.request_id.startswith("req_")


def test_raw_events_come_in_their_order(client):
    events = [event.type for event in client.messages.create(**ask(client, stream=True))]
    assert events[:2] == ["message_start", "content_block_start"]
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_the_asynchronous_client_streams_too():
    async def run():
        http_client = anthropic.DefaultAsyncHttpxClient(verify=trusting(), trust_env=False)
        key = os.environ["OPENAI_API_KEY"]
        async with anthropic.AsyncAnthropic(base_url=BASE, api_key=key, http_client=http_client) as client:
            async with client.messages.stream(**ask(client)) as stream:
                return "".join([text async for text in stream.text_stream])

    assert asyncio.run(run())


def test_a_stop_sequence_is_named(client):
    words = said(client.messages.create(**ask(client, max_tokens=40))).split()
    stop = next(word for word in words[2:] if len(word) > 2)
    message = client.messages.create(**ask(client, max_tokens=40, stop_sequences=["<never>", stop]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    assert stop not in said(message)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_forced_call_follows_its_schema_streamed_or_not(client, choice):
    options = ask(client, tools=TOOLS, tool_choice=choice | {"disable_parallel_tool_use": True}, max_tokens=200)
    whole = client.messages.create(**options)
    assert whole.stop_reason == "tool_use"
    [call] = whole.content
    if call.name == "weather":
        jsonschema.validate(call.input, SCHEMA)
    with client.messages.stream(**options) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    [streamed] = message.content
    assert (streamed.name, streamed.input) == (call.name, call.input)
    assert json.loads("".join(pieces) or "{}") == call.input


def test_an_agent_calls_its_tools_until_it_has_an_answer(client):
    """The loop that every agent has: ask, run what is called, give back what came of it."""
    turns, called = list(QUESTION), 0
    for step in range(4):
        choice = {"type": "any", "disable_parallel_tool_use": True} if step < 2 else {"type": "none"}
        message = client.messages.create(
            **ask(client, messages=turns, tools=TOOLS, tool_choice=choice, max_tokens=300)
        )
        turns.append(message.to_param())
        if message.stop_reason != "tool_use":
            break
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "Sunny.", "is_error": step == 1}
            for block in message.content
            if block.type == "tool_use"
        ]
        called += len(results)
        turns.append({"role": "user", "content": results})
    assert called == 2
    assert message.stop_reason in ("end_turn", "max_tokens")


def test_a_class_of_pydantic_is_parsed(client):
    class Point(BaseModel):
        is_far: bool
        unit: typing.Literal["C", "F"]

    message = client.messages.parse(**ask(client, output_format=Point, max_tokens=100))
    assert isinstance(message.parsed_output, Point)


def test_the_count_is_what_a_message_is_charged(client):
    system = "Be brief."
    counted = client.messages.count_tokens(model=MODEL, messages=QUESTION, system=system, tools=TOOLS)
    usage = client.messages.create(**ask(client, system=system, tools=TOOLS, max_tokens=1)).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_betas_are_asked_for_at_the_same_door(client):
    options = ask(client)
    message = client.beta.messages.create(**options, betas=["output-300k-2026-03-24"])
    assert said(message)


@pytest.mark.parametrize(("options", "kind", "param"), [
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.example"}}]}]},
     "unsupported_parameter", "messages[0].content[0].type"),
    ({"messages": [*QUESTION, {"role": "assistant", "content": "I"}]}, "unsupported_parameter", "messages[1].role"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "unsupported_parameter", "tools[0].type"),
    ({"speed": "fast"}, "unsupported_parameter", "speed"),
    ({"extra_body": {"colour": 1}}, "unknown_parameter", "colour"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
])
def test_what_cannot_be_done_is_refused_by_name(client, options, kind, param):
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(**ask(client, **options))
    error = refused.value
    assert (error.type, error.error_code) == ("invalid_request_error", kind)
    assert error.body["error"]["details"]["param"] == param
    assert error.request_id == error.body["request_id"]


def test_the_models_are_listed_page_by_page(client):
    names = [model.id for model in client.models.list()]
    assert {MODEL, "bert-mean", "bert-rank"} <= set(names)
    first = client.models.list(limit=2)
    assert [model.id for model in first.data] == names[:2] and first.has_more
    # The client asks for the next page by itself.
    assert [model.id for model in first] == names
    before = client.models.list(before_id=names[2], limit=1)
    assert [model.id for model in before.data] == [names[1]]
    one = client.models.retrieve(MODEL)
    assert (one.type, one.id, one.lifecycle) == ("model", MODEL, "active")
    assert one.created_at.tzinfo is not None
    assert [model.id for model in client.beta.models.list()] == names
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.models.retrieve("none")
    assert refused.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.models.list(after_id="none")
    assert refused.value.body["error"]["details"]["param"] == "after_id"
    with client_with(api_key="sr-" + "0" * 64) as stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.models.list()


def test_errors_are_the_classes_of_the_client(client):
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.create(**ask(client, model="none"))
    assert refused.value.type == "not_found_error"
    with client_with(api_key="sr-nothing") as stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(**ask(stranger))


def test_a_key_goes_as_a_token_and_as_a_key(client):
    key = os.environ["OPENAI_API_KEY"]
    with client_with(auth_token=key, api_key=None) as other:
        assert said(other.messages.create(**ask(other)))
    headers = {"x-api-key": key, "authorization": anthropic.omit}
    with client_with(api_key=key, default_headers=headers) as other:
        assert said(other.messages.create(**ask(other)))


def test_a_limit_is_waited_for_as_long_as_is_told(monkeypatch):
    """Of one request a minute the second is refused; nobody really waits here."""
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with client_with(api_key=os.environ["STRONGROOM_LIMITED_KEY"], max_retries=1) as limited:
        with pytest.raises(anthropic.RateLimitError) as refused:
            for _ in range(2):
                limited.messages.create(**ask(limited))
    assert refused.value.type == "rate_limit_error"
    [wait] = waited
    assert 0 < wait <= 60
    assert abs(wait - float(refused.value.response.headers["retry-after-ms"]) / 1000) < 5


def published():
    """Every parameter that the client has a name for, with the values of its types where those are words."""
    names = set()
    for module in (message_create_params, message_count_tokens_params, beta_params):
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and name.startswith("Message") and "Params" in name:
                names |= set(typing.get_type_hints(kind, vars(module)))
    return sorted(names)


def test_every_parameter_of_the_client_is_known(client):
    names = published()
    assert {"messages", "thinking", "mcp_servers"} <= set(names), names
    for name in names:
        try:
            client.messages.create(**ask(client, extra_body={name: {"no": "value"}}))
        except anthropic.BadRequestError as refused:
            # What stands inside of one may be unknown.
            named = refused.body["error"]["details"]["param"]
            assert (refused.error_code, named) != ("unknown_parameter", name)
            assert named.startswith(name), name


def test_the_code_that_is_shown_works(capsys):
    page = (ROOT / "docs/anthropic-compat.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S).group(1)
    for shown, real in [
        ('"sr-…"', os.environ["OPENAI_API_KEY"]),
        ('"strongroom-data/tls/ca.pem"', os.environ["STRONGROOM_CA"]),
        ('"https://127.0.0.1:8443"', BASE),
    ]:
        assert shown in code
        code = code.replace(shown, repr(real))
    exec(compile(code, "docs/anthropic-compat.md", "exec"), {})
    assert capsys.readouterr().out.strip()
