"""Jobs that programs do with OpenAI's client, against the real server: an agent with tools, extraction
into classes that goes on for a second turn, and answers from documents that were looked up.

The model is too small to choose well, so each turn of an agent says what may come; the loop, the form of
what goes back and forth, and the classes are those of any program."""

import json
import os
from enum import StrEnum
from typing import Annotated

import openai
import pytest
from pydantic import BaseModel, Field
from test_openai import client_with

MODEL = "guide-long"


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


class City(StrEnum):
    PARIS = "Paris"
    OSLO = "Oslo"


class Forecast(BaseModel):
    """Tells the weather of the coming days."""

    city: City
    days: Annotated[int, Field(ge=1, le=5)]


class Packing(BaseModel):
    """Makes a list of what to pack."""

    items: Annotated[list[Annotated[str, Field(max_length=12)]], Field(min_length=1, max_length=3)]


def forecast(city, days):
    return {"city": city, "celsius": [18 + day for day in range(days)]}


def packing(items):
    return {"packed": len(items)}


TOOLS = [openai.pydantic_function_tool(Forecast, name="forecast"),
         openai.pydantic_function_tool(Packing, name="packing")]
TURNS = ({"type": "function", "function": {"name": "forecast"}}, "required", "none")
TASK = [{"role": "system", "content": "You help people to pack."},
        {"role": "user", "content": "I go to Oslo for two days. What do I take along?"}]


def carry_out(call):
    tool = {"forecast": forecast, "packing": packing}[call.function.name]
    return json.dumps(tool(**json.loads(call.function.arguments)))


def test_an_agent_calls_its_tools_and_answers(client):
    messages, called = list(TASK), []
    for choice in TURNS:
        completion = client.chat.completions.create(
            model=MODEL, messages=messages, tools=TOOLS, tool_choice=choice, seed=3, max_tokens=300,
            parallel_tool_calls=False)
        message = completion.choices[0].message
        messages.append(message)
        if not message.tool_calls:
            break
        assert completion.choices[0].finish_reason == "tool_calls"
        for call in message.tool_calls:
            called.append(call.function.name)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": carry_out(call)})
    assert len(called) == 2 and called[0] == "forecast"
    assert message.content and completion.choices[0].finish_reason in ("stop", "length")


def test_an_agent_that_streams_does_the_same(client):
    messages, called = list(TASK), []
    for choice in TURNS:
        with client.chat.completions.stream(
            model=MODEL, messages=messages, tools=TOOLS, tool_choice=choice, seed=3, max_tokens=300,
            parallel_tool_calls=False,
        ) as stream:
            done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
            message = stream.get_final_completion().choices[0].message
        messages.append(message.model_dump(
            include={"role": True, "content": True,
                     "tool_calls": {"__all__": {"id": True, "type": True, "function": {"name", "arguments"}}}},
            exclude_none=True))
        for event, call in zip(done, message.tool_calls or [], strict=True):
            assert isinstance(event.parsed_arguments, {"forecast": Forecast, "packing": Packing}[event.name])
            called.append(event.name)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": carry_out(call)})
    assert len(called) == 2 and called[0] == "forecast"
    assert message.content


class Invoice(BaseModel):
    customer: Annotated[str, Field(max_length=16)]
    amount: Annotated[int, Field(ge=0, le=100_000)]
    is_paid: bool


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_an_answer_that_was_parsed_goes_back_for_a_second_turn(client):
    messages = [{"role": "user", "content": "Invoice 7: Jones owes 120. Fill in the form."}]
    first = client.chat.completions.parse(
        model=MODEL, messages=messages, response_format=Invoice, seed=1, max_tokens=200)
    assert isinstance(first.choices[0].message.parsed, Invoice)
    messages += [first.choices[0].message, {"role": "user", "content": "Jones has paid. Fill it in again."}]
    second = client.chat.completions.parse(
        model=MODEL, messages=messages, response_format=Invoice, seed=2, max_tokens=200)
    assert isinstance(second.choices[0].message.parsed, Invoice)
    assert second.usage.prompt_tokens > first.usage.total_tokens


def test_calls_that_were_parsed_go_back_for_a_second_turn(client):
    messages = list(TASK)
    first = client.chat.completions.parse(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice=TURNS[0], seed=1, max_tokens=200,
        parallel_tool_calls=False)
    [call] = first.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Forecast)
    result = json.dumps(forecast(**call.function.parsed_arguments.model_dump()))
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": result}]
    # Not parsed: that raises where an answer is cut at its limit, as this one may be.
    second = client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice="none", seed=1, max_tokens=40)
    assert second.choices[0].message.content


def test_a_question_is_answered_from_what_was_looked_up(client):
    shelf = {"t9 t10": "Keys are made under Me.", "t200 t31": "Backups are made by night.", "t77": "Tea is at four."}
    stored = client.embeddings.create(model="bert-mean", input=list(shelf)).data
    [asked] = client.embeddings.create(model="bert-mean", input="t9 t10").data
    likeness = [sum(a * b for a, b in zip(one.embedding, asked.embedding, strict=True)) for one in stored]
    best = sorted(shelf, key=dict(zip(shelf, likeness, strict=True)).get, reverse=True)[:2]
    assert best[0] == "t9 t10"
    ranking = client.post("/rerank", cast_to=object,
                          body={"model": "bert-rank", "query": "t9 t10", "documents": best})
    order = [result["index"] for result in ranking["results"]]
    assert sorted(order) == [0, 1]
    found = "\n".join(shelf[best[place]] for place in order)
    answer = client.chat.completions.create(model=MODEL, max_tokens=40, seed=1, messages=[
        {"role": "system", "content": f"Answer from this alone:\n{found}"},
        {"role": "user", "content": "Where do I make a key?"}])
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 20
