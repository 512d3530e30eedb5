"""Tools and forms with OpenAI's asynchronous client against the real server: a call and its result, and
classes of pydantic that answers are parsed into, in one piece and streamed, several side by side.

The model is far too small to say anything sensible: what is shown is that all of it has its form."""

import asyncio
import json
from typing import Annotated, Literal

import openai
from pydantic import BaseModel, Field
from test_calls import asynchronous_client_that
from test_forms import Line

# Its context holds a form that is written as long as it can be.
MODEL = "guide-long"
QUESTION = [{"role": "user", "content": "What will the weather be in Oslo?"}]


class Weather(BaseModel):
    """Tells the weather."""

    unit: Literal["C", "F"]
    days: Annotated[int, Field(ge=1, le=9)]


TOOL = openai.pydantic_function_tool(Weather, name="weather")
# Whatever its seed, no answer with these bounds is longer than that.
CALL = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 400}
FORM = {"response_format": Line, "max_tokens": 400}


def with_client(work):
    """Runs some work with a client of its own."""

    async def run():
        async with asynchronous_client_that(max_retries=0) as client:
            return await work(client.chat.completions)

    return asyncio.run(run())


async def last_of(manager):
    """The events of a stream and the answer that they make."""
    async with manager as stream:
        events = [event async for event in stream]
        return events, await stream.get_final_completion()


def test_a_tool_is_called_and_its_result_goes_back():
    async def work(chat):
        options = {"model": MODEL, "tools": [TOOL], "seed": 3}
        first = await chat.create(messages=QUESTION, **options | CALL)
        message = first.choices[0].message
        [call] = message.tool_calls
        result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"sky": "clear"})}
        messages = [*QUESTION, message.model_dump(exclude_none=True), result]
        options |= {"tool_choice": "none", "max_tokens": 40}
        bare = await chat.create(messages=QUESTION, **options)
        last = await chat.create(messages=messages, **options)
        return first, bare, last

    first, bare, last = with_client(work)
    assert first.choices[0].finish_reason == "tool_calls"
    [call] = first.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert Weather.model_validate_json(call.function.arguments)
    assert last.choices[0].message.tool_calls is None
    assert last.choices[0].message.content
    # The call and its result were read.
    assert last.usage.prompt_tokens > bare.usage.prompt_tokens


def test_calls_are_parsed_the_same_whole_and_streamed():
    async def work(chat):
        options = {"model": MODEL, "messages": QUESTION, **CALL}
        whole = await asyncio.gather(*(chat.parse(seed=seed, **options) for seed in range(3)))
        streamed = await asyncio.gather(*(last_of(chat.stream(seed=seed, **options)) for seed in range(3)))
        return whole, streamed

    for whole, (events, made) in zip(*with_client(work), strict=True):
        [call] = whole.choices[0].message.tool_calls
        assert isinstance(call.function.parsed_arguments, Weather)
        [same] = made.choices[0].message.tool_calls
        assert same.function.parsed_arguments == call.function.parsed_arguments
        assert made.choices[0].finish_reason == whole.choices[0].finish_reason == "tool_calls"
        deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
        assert "".join(event.arguments_delta for event in deltas) == call.function.arguments
        [done] = [event for event in events if event.type == "tool_calls.function.arguments.done"]
        assert done.parsed_arguments == call.function.parsed_arguments


def test_classes_are_parsed_the_same_whole_and_streamed():
    async def work(chat):
        options = {"model": MODEL, "messages": QUESTION, "temperature": 0.7, **FORM}
        whole = await asyncio.gather(*(chat.parse(seed=seed, **options) for seed in range(3)))
        streamed = await asyncio.gather(*(last_of(chat.stream(seed=seed, **options)) for seed in range(3)))
        return whole, streamed

    for whole, (events, made) in zip(*with_client(work), strict=True):
        line = whole.choices[0].message.parsed
        assert isinstance(line, Line)
        assert made.choices[0].message.parsed == line
        assert made.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
        deltas = [event for event in events if event.type == "content.delta"]
        assert len(deltas) > 1
        assert "".join(event.delta for event in deltas) == whole.choices[0].message.content
        [done] = [event for event in events if event.type == "content.done"]
        assert done.parsed == line
