"""Every parameter that OpenAI's client has a name for, of every endpoint that is served: none of them is
unknown here, each stands in the tables of docs/openai-compat.md, and what is refused is refused by its name.
`tests/clients/serve` starts the server."""

import os
import pathlib
import re

import openai
import pytest
from openai.types import completion_create_params, embedding_create_params, moderation_create_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import input_token_count_params, response_create_params
from test_openai import client_with

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs/openai-compat.md").read_text(encoding="utf-8")
QUESTION = [{"role": "user", "content": "Hi"}]

# Where each goes, the class of the client's that lists its parameters, what a request needs, and the table.
ENDPOINTS = {
    "/chat/completions": (chat_params.CompletionCreateParamsStreaming,
                          {"model": "guide", "messages": QUESTION, "max_tokens": 1}, "parameters"),
    "/completions": (completion_create_params.CompletionCreateParamsStreaming,
                     {"model": "guide", "prompt": "Hi", "max_tokens": 1}, "parameters"),
    "/responses": (response_create_params.ResponseCreateParamsStreaming,
                   {"model": "guide", "input": "Hi", "max_output_tokens": 1}, "responses"),
    "/responses/input_tokens": (input_token_count_params.InputTokenCountParams,
                                {"model": "guide", "input": "Hi"}, None),
    "/embeddings": (embedding_create_params.EmbeddingCreateParams,
                    {"model": "bert-mean", "input": "t9"}, "embeddings"),
    "/moderations": (moderation_create_params.ModerationCreateParams, {"input": "Hi"}, "moderations"),
}


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def published(kind):
    """Those of the class and of what it is made from."""
    return sorted(kind.__required_keys__ | kind.__optional_keys__)


def documented(table):
    """The names in a table of the documentation."""
    [rows] = re.findall(rf"<!-- table: {table} -->\n(.*?)<!-- end -->", DOCS, re.DOTALL)
    return set(re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE))


@pytest.mark.parametrize("path", ENDPOINTS)
def test_no_parameter_of_the_client_is_unknown(client, path):
    kind, least, _ = ENDPOINTS[path]
    names = published(kind)
    assert set(least) - {"max_tokens", "max_output_tokens"} <= set(names) | {"model"}, names
    for name in names:
        for value in (None, [], {"no": "value"}):
            try:
                client.post(path, body=least | {name: value}, cast_to=object)
            except openai.BadRequestError as refused:
                # What stands inside of one may be unknown.
                assert (refused.code, refused.param) != ("unknown_parameter", name)
                assert refused.param.startswith(name), (path, name, refused.param)


@pytest.mark.parametrize("path", [path for path, (_, _, table) in ENDPOINTS.items() if table])
def test_every_parameter_of_the_client_is_documented(path):
    kind, _, table = ENDPOINTS[path]
    assert set(published(kind)) <= documented(table)


@pytest.mark.parametrize(("path", "options"), [
    ("/completions", {"suffix": "x"}),
    ("/completions", {"best_of": 2}),
    ("/chat/completions", {"verbosity": "low"}),
    ("/chat/completions", {"reasoning_effort": "very"}),
    ("/chat/completions", {"prediction": {"type": "content", "content": "x"}}),
])
def test_what_is_not_honoured_is_refused(client, path, options):
    _, least, _ = ENDPOINTS[path]
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(path, body=least | options, cast_to=object)
    assert [refused.value.param] == list(options)


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_an_effort_is_taken(client, effort):
    answer = client.chat.completions.create(
        model="guide", messages=QUESTION, max_tokens=2, reasoning_effort=effort)
    assert answer.choices[0].message.role == "assistant"
