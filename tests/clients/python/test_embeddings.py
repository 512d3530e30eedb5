"""Embeddings by OpenAI's own client, and those of a real model. `tests/clients/serve` starts the server."""

import json
import math
import os
import pathlib
import struct

import openai
import pytest
from test_openai import client_with

MINILM = "all-MiniLM-L6-v2"
KEPT = pathlib.Path(__file__).parents[2] / "engine/minilm.json"


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_case_01_vectors_are_the_same_in_both_encodings(client):
    texts = ["t9 t10", "t11", "t9 t10"]
    # The client asks for base64 by itself.
    packed = client.embeddings.create(model="bert-mean", input=texts)
    plain = client.embeddings.create(model="bert-mean", input=texts, encoding_format="float")
    assert packed.model == "bert-mean"
    assert [one.index for one in packed.data] == [0, 1, 2]
    for one, other in zip(packed.data, plain.data, strict=True):
        as_f32 = struct.unpack("<64f", struct.pack("<64f", *other.embedding))
        assert tuple(one.embedding) == as_f32
        assert math.isclose(sum(x * x for x in as_f32), 1.0, abs_tol=1e-5)
    assert packed.data[0].embedding == packed.data[2].embedding
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == 11


def test_tokens_are_taken_in_the_place_of_texts(client):
    of_text = client.embeddings.create(model="bert-mean", input="t9 t10")
    of_tokens = client.embeddings.create(model="bert-mean", input=[[9, 10]])
    assert of_text.data[0].embedding == of_tokens.data[0].embedding


@pytest.mark.parametrize(("change", "param"), [
    ({"model": "guide"}, "model"),
    ({"dimensions": 32}, "dimensions"),
    ({"input": []}, "input"),
    ({"input": "t9 " * 200}, "input"),
])
def test_what_cannot_be_done_is_refused_by_name(client, change, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(**({"model": "bert-mean", "input": "t9"} | change))
    assert refused.value.param == param


def test_documents_are_ranked(client):
    body = {"model": "bert-rank", "query": "t9", "documents": ["t10", "t200 t31"], "top_n": 1}
    ranking = client.post("/rerank", body=body, cast_to=object)
    assert len(ranking["results"]) == 1
    assert 0 <= ranking["results"][0]["relevance_score"] <= 1


def test_a_real_model_gives_what_its_makers_own_code_gives(client):
    if "MINILM_GGUF" not in os.environ:
        pytest.skip("the real model is not at hand; tests/run fetches it")
    kept = json.loads(KEPT.read_text())
    made = client.embeddings.create(model=MINILM, input=kept["sentences"])
    assert len(made.data) == len(kept["vectors"]) >= 20
    for sentence, one, expected in zip(kept["sentences"], made.data, kept["vectors"], strict=True):
        assert cosine(one.embedding, expected) > 1 - 1e-3, sentence
