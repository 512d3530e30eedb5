"""What the guard finds in texts, as OpenAI's own client asks for it."""

import os

import openai
import pytest
from test_openai import client_with

CARD = "My card is 4111 1111 1111 1111."


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def test_a_text_is_judged_in_the_categories_of_the_client(client):
    answer = client.moderations.create(model="omni-moderation-latest", input="What is a heron?")
    assert answer.id.startswith("modr-")
    [result] = answer.results
    assert result.flagged is False
    assert result.categories.self_harm is result.categories.illicit_violent is False
    assert result.category_scores.hate_threatening == 0
    # Nothing here looks for hatred, and the answer says so.
    assert result.category_applied_input_types.hate == []
    assert result.category_applied_input_types.illicit == ["text"]


def test_every_text_of_a_list_is_judged_by_itself(client):
    results = client.moderations.create(input=["What is a heron?", CARD]).results
    assert [result.flagged for result in results] == [False, True]
    found = results[1].strongroom["categories"]
    assert [(one["category"], one["action"]) for one in found] == [("personal.card", "redact")]


def test_parts_are_one_input_and_images_are_refused_by_name(client):
    parts = [{"type": "text", "text": "What is a heron?"}, {"type": "text", "text": CARD}]
    [result] = client.moderations.create(input=parts).results
    assert result.flagged
    image = {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(input=[image])
    assert refused.value.param == "input[0].image_url"
