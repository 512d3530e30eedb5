"""Texts as tokens, as clients of vLLM and of llama.cpp ask for them. `tests/clients/serve` starts the server."""

import os

import openai
import pytest
from test_openai import client_with

TEXT = "Grüße, 12 €"


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def ask(client, path, **body):
    return client.post(path, body=body, cast_to=object)


def test_a_client_of_vllm_counts_what_the_chat_is_charged(client):
    messages = [{"role": "user", "content": TEXT}]
    counted = ask(client, "/tokenize", model="guide", messages=messages, add_special_tokens=False)
    chat = client.chat.completions.create(model="guide", messages=messages, max_tokens=1)
    assert counted["count"] == len(counted["tokens"]) == chat.usage.prompt_tokens
    assert counted["max_model_len"] > counted["count"]


def test_a_client_of_vllm_goes_there_and_back(client):
    read = ask(client, "/tokenize", model="guide", prompt=TEXT, return_token_strs=True)
    assert len(read["token_strs"]) == read["count"]
    assert ask(client, "/detokenize", model="guide", tokens=read["tokens"])["prompt"] == TEXT


def test_a_client_of_llama_cpp_goes_there_and_back(client):
    read = ask(client, "/tokenize", content=TEXT, with_pieces=True)
    ids = [token["id"] for token in read["tokens"]]
    assert ask(client, "/detokenize", tokens=ids)["content"] == TEXT


def test_clients_that_leave_v1_out_find_the_same(client):
    root = str(client.base_url).removesuffix("/v1/")
    read = ask(client, f"{root}/tokenize", model="guide", prompt=TEXT)
    assert read == ask(client, "/tokenize", model="guide", prompt=TEXT)
    assert ask(client, f"{root}/detokenize", model="guide", tokens=read["tokens"])["prompt"] == TEXT
    ranking = {"model": "bert-rank", "query": "t9", "documents": ["t9 t10", "t11"]}
    assert ask(client, f"{root}/rerank", **ranking)["results"] == ask(client, "/rerank", **ranking)["results"]


def test_what_cannot_be_done_is_refused_by_name(client):
    for path, body, param in [
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
        ("/detokenize", {"tokens": [4_000_000]}, "tokens"),
    ]:
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, path, **body)
        assert refused.value.param == param
    with pytest.raises(openai.NotFoundError):
        ask(client, "/tokenize", model="none", prompt="a")
