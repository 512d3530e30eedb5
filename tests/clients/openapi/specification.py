"""The specification as the server gives it, and what a test needs to hold something against it."""

import copy
import functools
import json
import os

import jsonschema
import requests

BASE = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
KEY = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
PREFIX = "#/components/schemas/"


def send(method, path, body=None, headers=KEY, **options):
    return requests.request(method, BASE + path, json=body, headers=headers, timeout=300, **options)


@functools.cache
def document():
    answer = send("GET", "/openapi.json", headers={})
    assert answer.status_code == 200, answer.text
    return answer.json()


def operations():
    """Method, path and what is said of it."""
    return [(method.upper(), path, operation)
            for path, methods in document()["paths"].items() for method, operation in methods.items()]


def operation(method, path):
    return document()["paths"][path][method.lower()]


def closed(schema):
    """The same shape, in which nothing stands that it does not name: what the server adds unsaid is found."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "type" in made:
        made.setdefault("additionalProperties", False)
    return made


@functools.cache
def shapes():
    return closed(copy.deepcopy(document()["components"]["schemas"]))


def wrong(schema, value):
    """What is wrong with a value, in words; nothing where it has the shape."""
    whole = {"allOf": [schema], "components": {"schemas": shapes()}}
    errors = jsonschema.Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]


def of(name):
    return {"$ref": PREFIX + name}


def schema_of(method, path, status, kind="application/json"):
    return operation(method, path)["responses"][str(status)]["content"][kind]["schema"]


def check(method, path, answer, status=200):
    """Holds an answer against what is said of it at this address, and gives it."""
    assert answer.status_code == status, answer.text
    value = answer.json()
    assert wrong(schema_of(method, path, status), value) == [], json.dumps(value)[:2000]
    assert answer.headers["x-request-id"]
    return value


def events(answer):
    """The data of each event of a stream, in order, without the mark of its end."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def check_events(method, path, answer):
    """The same for a stream."""
    shape = operation(method, path)["responses"]["200"]["content"]["text/event-stream"]["x-event"]
    found = events(answer)
    assert found
    for event in found:
        assert wrong(shape, event) == [], json.dumps(event)[:2000]
    return found
