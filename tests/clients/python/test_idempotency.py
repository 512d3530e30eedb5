"""`Idempotency-Key` with OpenAI's own client against the real server, and answers in codings.

The client sends the header where it is told to, and the same one when it asks again by itself.
"""

import os
import ssl
import uuid

import httpx2
import openai
import pytest
from test_openai import MODEL, QUESTION, client_with


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def ask(client, name, **options):
    options = {"max_tokens": 16, "temperature": 1, "messages": QUESTION} | options
    headers = {"Idempotency-Key": name}
    return client.chat.completions.with_raw_response.create(
        model=MODEL, extra_headers=headers, **options
    )


def is_again(raw):
    return raw.headers.get("idempotency-replayed") == "true"


def test_the_same_request_has_the_same_answer(client):
    name = str(uuid.uuid4())
    first, again = ask(client, name), ask(client, name)
    assert (is_again(first), is_again(again)) == (False, True)
    assert first.parse() == again.parse()
    other = ask(client, str(uuid.uuid4()))
    assert not is_again(other)
    assert other.parse().id != first.parse().id


def test_a_name_is_of_one_request(client):
    name = str(uuid.uuid4())
    ask(client, name)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, name, max_tokens=8)
    assert refused.value.code == "idempotency_key_reused"
    assert refused.value.param == "idempotency-key"


def test_a_stream_comes_again_as_the_same_chunks(client):
    name = str(uuid.uuid4())
    first = list(ask(client, name, stream=True).parse())
    raw = ask(client, name, stream=True)
    assert is_again(raw)
    assert list(raw.parse()) == first
    assert first[-1].choices[0].finish_reason in ("stop", "length")


def test_a_client_whose_own_retries_are_named_sends_one_name(client):
    names = []
    context = ssl.create_default_context(cafile=os.environ["STRONGROOM_CA"])

    class Losing(httpx2.HTTPTransport):
        """Loses the first answer on its way."""

        def handle_request(self, request):
            response = super().handle_request(request)
            names.append(request.headers.get("idempotency-key"))
            if len(names) == 1:
                response.read()
                raise httpx2.ReadError("the connection broke", request=request)
            return response

    http_client = httpx2.Client(transport=Losing(verify=context))
    key = os.environ["OPENAI_API_KEY"]
    with openai.OpenAI(api_key=key, http_client=http_client, max_retries=2) as losing:
        raw = ask(losing, str(uuid.uuid4()), seed=7)
    assert len(names) == 2
    assert names[0] == names[1]
    assert is_again(raw)
    assert raw.parse().choices[0].message.content


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_long_answers_are_read_in_every_coding(client, coding):
    texts = ["a word"] * 8
    made = client.embeddings.with_raw_response.create(
        model="bert-mean",
        input=texts,
        encoding_format="float",
        extra_headers={"Accept-Encoding": coding},
    )
    named = made.headers.get("content-encoding")
    assert named == (None if coding == "identity" else coding)
    assert len(made.parse().data) == len(texts)
