"""Answers held to a form, and calls of tools, with OpenAI's own client against the real server.

The model is far too small to say anything sensible: what is shown is that whatever it says has the
form that was asked for. The validator of schemas is `jsonschema`, which the server does not use.
"""

import json
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field
from test_openai import MODEL, client_with

QUESTION = [{"role": "user", "content": "Say something."}]
SCHEMAS = int(os.environ.get("SCHEMAS", "1000"))
TOOLS = [{"type": "function", "function": {
    "name": "weather",
    "description": "Tells the weather.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["unit", "days"],
        "additionalProperties": False,
    },
}}, {"type": "function", "function": {"name": "now"}}]


class Point(BaseModel):
    x: Annotated[int, Field(ge=-9, le=9)]
    is_far: bool


class Line(BaseModel):
    start: Point
    name: Annotated[str, Field(max_length=8)] | None


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def ask(client, **options):
    options = {"seed": 7, "max_tokens": 200, "messages": QUESTION} | options
    return client.chat.completions.create(model=MODEL, **options)


def schema_of(random, depth=0):
    """A random schema whose values are short."""
    kinds = ["boolean", "null", "integer", "enum", "const", "pattern", "string"]
    if depth < 3:
        kinds += ["object", "object", "array", "anyOf"]
    kind = random.choice(kinds) if depth else "object"
    if kind == "enum":
        return {"enum": random.sample(["a", "bc", "é", "", 1, -2.5, None, True], random.randint(1, 4))}
    if kind == "const":
        return {"const": random.choice(["x y", 7, False, None, ["a", 1], {"k": "v"}])}
    if kind == "integer":
        low = random.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + random.randint(0, 99)}
    if kind == "pattern":
        return {"type": "string", "pattern": random.choice(["^[a-c]{1,3}$", "^(on|off)$", "^[0-9]{2}-[0-9]{2}$"])}
    if kind == "string":
        low = random.randint(0, 2)
        return {"type": "string", "minLength": low, "maxLength": low + random.randint(0, 4)}
    if kind == "array":
        low = random.randint(0, 2)
        return {"type": "array", "items": schema_of(random, depth + 1), "minItems": low, "maxItems": low + 1}
    if kind == "anyOf":
        return {"anyOf": [schema_of(random, depth + 1) for _ in range(random.randint(1, 3))]}
    if kind == "object":
        names = random.sample(["a", "b c", "ü", "d\"e", "f"], random.randint(1, 3))
        return {
            "type": "object",
            "properties": {name: schema_of(random, depth + 1) for name in names},
            "required": [name for name in names if random.random() < 0.6],
            "additionalProperties": False,
        }
    return {"type": kind}


def test_answers_to_random_schemas_are_valid(client):
    chance = random.Random(20260101)
    schemas = [schema_of(chance) for _ in range(SCHEMAS)]

    def answered(schema):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
        choice = ask(client, response_format=form, temperature=1, max_tokens=150).choices[0]
        return choice.finish_reason, choice.message.content

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answered, schemas))
    ended = 0
    for schema, (reason, text) in zip(schemas, answers, strict=True):
        if reason == "stop":
            jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
            ended += 1
    assert ended > SCHEMAS * 0.9


def test_a_class_of_pydantic_is_parsed(client):
    answer = client.chat.completions.parse(
        model=MODEL, messages=QUESTION, response_format=Line, seed=1, max_tokens=400, temperature=0.7
    )
    assert isinstance(answer.choices[0].message.parsed, Line)


def test_patterns_choices_and_grammars_bind(client):
    def said(**form):
        return ask(client, extra_body={"structured_outputs": form}).choices[0].message.content

    assert re.fullmatch("[0-9]{3}-[a-f]{2}", said(regex="[0-9]{3}-[a-f]{2}"))
    assert said(choice=["yes", "no"]) in ("yes", "no")
    assert re.fullmatch("(ab){1,3}!", said(grammar='start: "ab"{1,3} "!"'))


def test_several_answers_are_each_held_to_the_form(client):
    schema = TOOLS[0]["function"]["parameters"]
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    more = {"typical_p": 0.95, "dry_multiplier": 0.8, "repeat_last_n": 64}
    options = {"n": 4, "temperature": 1.5, "logit_bias": {"300": 5}, "extra_body": more}
    answer = ask(client, response_format=form, **options)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    for choice in answer.choices:
        jsonschema.validate(json.loads(choice.message.content), schema)
    answer = ask(client, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, **options)
    ids = set()
    for choice in answer.choices:
        assert choice.finish_reason == "tool_calls"
        for call in choice.message.tool_calls:
            if call.function.name == "weather":
                jsonschema.validate(json.loads(call.function.arguments), schema)
            assert call.id not in ids
            ids.add(call.id)


def test_what_the_guard_takes_out_of_a_form_is_not_what_the_model_is_held_to(client):
    card = "4111 1111 1111 1111"
    answer = ask(client, extra_body={"structured_outputs": {"choice": [card]}})
    # The model says the placeholder; only who sent the number sees it again.
    assert answer.choices[0].message.content == card


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_call_follows_its_schema_streamed_or_not(client, choice):
    options = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}
    whole = ask(client, **options).choices[0]
    assert whole.finish_reason == "tool_calls"
    [call] = whole.message.tool_calls
    assert call.id and call.type == "function"
    schemas = {"weather": TOOLS[0]["function"]["parameters"], "now": {"maxProperties": 0}}
    jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])
    assert whole.message.content is None

    deltas = [chunk.choices[0].delta for chunk in ask(client, stream=True, **options)]
    pieces = [delta.tool_calls[0] for delta in deltas if delta.tool_calls]
    assert pieces[0].id and pieces[0].function.name == call.function.name
    assert all(piece.id is None for piece in pieces[1:])
    assert "".join(piece.function.arguments for piece in pieces) == call.function.arguments


def test_calls_and_their_results_go_back_to_the_model(client):
    call = ask(client, tools=TOOLS, tool_choice="required").choices[0].message
    results = [{"role": "tool", "tool_call_id": one.id, "content": "Sunny."} for one in call.tool_calls]
    messages = [*QUESTION, call.model_dump(exclude_none=True), *results]
    answer = ask(client, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=8)
    assert answer.choices[0].message.tool_calls is None


@pytest.mark.parametrize(("options", "param"), [
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "colour"}}}},
     "response_format"),
    ({"extra_body": {"structured_outputs": {"regex": "("}}}, "structured_outputs"),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": True,
                                                  "parameters": {"type": "colour"}}}]}, "tools"),
])
def test_a_form_that_cannot_be_followed_is_refused_by_name(client, options, param):
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, **options)
    assert (found.value.code, found.value.param) == ("invalid_value", param)
