"""`/v1/responses` with OpenAI's own client against the real server.

The model is far too small to say anything sensible: what is shown is that the client understands all
that comes, and that whatever is kept is found again, and by nobody else.
"""

import asyncio
import json
import os
import ssl
from typing import Literal

import openai
import pytest
from openai.types.responses import ResponseTextDeltaEvent
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import BaseModel
from test_openai import MODEL, client_with

QUESTION = "What are you, and what can you do?"


class Weather(BaseModel):
    """Tells the weather."""

    unit: Literal["C", "F"]


TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"unit": {"enum": ["C", "F"]}},
        "required": ["unit"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def ask(client, **options):
    options = {"max_output_tokens": 24, "input": QUESTION, "extra_body": {"seed": 7}} | options
    return client.responses.create(model=MODEL, **options)


def test_a_text_is_answered(client):
    answer = ask(client, instructions="Be brief.", metadata={"ticket": "7"})
    assert (answer.object, answer.model, answer.error) == ("response", MODEL, None)
    assert answer.output_text
    assert answer.status in ("completed", "incomplete")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (answer.instructions, answer.metadata) == ("Be brief.", {"ticket": "7"})
    assert answer._request_id.startswith("req_")


def test_events_say_the_same_in_pieces(client):
    whole = ask(client)
    events = list(ask(client, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    pieces = [event.delta for event in events if isinstance(event, ResponseTextDeltaEvent)]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.output_text == events[-1].response.output_text
    assert events[-1].type == f"response.{whole.status}"


def test_the_stream_helper_of_the_client_understands_the_events(client):
    options = {"model": MODEL, "input": QUESTION, "extra_body": {"seed": 7}}
    with client.responses.stream(text_format=Weather, max_output_tokens=200, **options) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert answer.output_parsed.unit in ("C", "F")
    options |= {"tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 300}
    with client.responses.stream(tools=[TOOL], **options) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert call.parsed_arguments["unit"] in ("C", "F")


def test_a_class_of_pydantic_is_parsed(client):
    answer = client.responses.parse(
        model=MODEL, input=QUESTION, text_format=Weather, max_output_tokens=100, extra_body={"seed": 1}
    )
    assert isinstance(answer.output_parsed, Weather)


def test_log_probabilities_belong_to_the_answer(client):
    answer = ask(client, include=["message.output_text.logprobs"], top_logprobs=2)
    [part] = answer.output[0].content
    said = bytes(byte for token in part.logprobs for byte in token.bytes).decode()
    assert said.strip() == part.text.strip()
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_loop_of_calls_ends_with_an_answer(client, keeps):
    options = {"tools": [TOOL], "max_output_tokens": 60}
    said = [{"role": "user", "content": QUESTION}]
    answer = ask(client, input=said, tool_choice="required", parallel_tool_calls=False, store=keeps, **options)
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert json.loads(call.arguments)["unit"] in ("C", "F")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    if keeps:
        more = {"input": [result], "previous_response_id": answer.id}
    else:
        # As the client gave them: items of an answer go back as they are.
        more = {"input": [*said, *answer.output, result]}
    last = ask(client, tool_choice="none", **more, **options)
    assert [item.type for item in last.output if item.type == "function_call"] == []
    # Where no function may be called the model is told of none, so this is held against the question alone.
    alone = ask(client, input=said, tool_choice="none", **options)
    assert last.usage.input_tokens > alone.usage.input_tokens


def test_a_conversation_goes_on_by_id_and_is_deleted(client):
    first = ask(client, input="Name a colour.")
    second = ask(client, input="Why?", previous_response_id=first.id)
    alone = ask(client, input="Why?", store=False)
    assert second.usage.input_tokens > alone.usage.input_tokens
    kept = client.responses.retrieve(first.id)
    assert kept.to_dict() == first.to_dict()
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert [item.content[0].text for item in items] == ["Why?"]
    named = ask(client, input=[{"type": "item_reference", "id": first.output[0].id},
                               {"role": "user", "content": "Why?"}])
    assert named.output_text
    client.responses.delete(first.id)
    for gone in (
        lambda: client.responses.retrieve(first.id),
        lambda: client.responses.delete(first.id),
        lambda: client.responses.input_items.list(first.id),
        lambda: ask(client, previous_response_id=second.id),
        lambda: client.responses.retrieve(alone.id),
    ):
        with pytest.raises(openai.NotFoundError):
            gone()


def test_the_count_is_what_a_response_is_charged(client):
    first = ask(client, input="Name a colour.")
    for options in (
        {"input": QUESTION},
        {"input": QUESTION, "instructions": "Be brief."},
        {"input": QUESTION, "tools": [TOOL]},
        {"input": "Why?", "previous_response_id": first.id},
    ):
        counted = client.responses.input_tokens.count(model=MODEL, **options)
        assert counted.object == "response.input_tokens"
        assert counted.input_tokens == ask(client, **options).usage.input_tokens


def test_what_is_complete_is_not_cancelled(client):
    kept = ask(client)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(kept.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_" + 32 * "0")
    with pytest.raises(openai.NotFoundError):
        client.responses.compact(model=MODEL, input=QUESTION)


def test_nobody_else_finds_it(client):
    kept = ask(client, input="Name a colour.")
    with client_with(os.environ["STRONGROOM_LIMITED_KEY"]) as stranger:
        with pytest.raises(openai.NotFoundError) as theirs:
            stranger.responses.retrieve(kept.id)
        with pytest.raises(openai.NotFoundError) as nobodys:
            stranger.responses.retrieve("resp_" + 32 * "0")
    assert theirs.value.body == nobodys.value.body


@pytest.mark.parametrize(("options", "param"), [
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "colour"}}}}, "text.format"),
])
def test_what_is_refused_is_refused_by_name(client, options, param):
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, **options)
    assert found.value.param == param


def test_every_parameter_that_the_client_knows_is_known_here(client):
    # Each by itself, with a value that means nothing: none of them is an unknown parameter.
    published = ResponseCreateParamsNonStreaming
    for name in sorted(published.__required_keys__ | published.__optional_keys__):
        try:
            client.post("/responses", body={"model": MODEL, "input": "Hi", "max_output_tokens": 1, name: []},
                        cast_to=object)
        except openai.BadRequestError as error:
            assert error.code != "unknown_parameter", name


async def _answer():
    context = ssl.create_default_context(cafile=os.environ["STRONGROOM_CA"])
    http_client = openai.DefaultAsyncHttpxClient(verify=context, trust_env=False)
    async with openai.AsyncOpenAI(http_client=http_client, max_retries=0) as client:
        stream = await client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=8, stream=True)
        return [event.type async for event in stream]


def test_the_asynchronous_client_works_too():
    kinds = asyncio.run(_answer())
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")
