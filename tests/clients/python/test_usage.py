"""Who used what, as OpenAI's own client asks for it with a key of an administrator."""

import os
import time

import openai
import pytest
from test_openai import client_with

# A model that no other test asks much of.
MODEL = "guide-narrow"
DAY = 86_400


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


@pytest.fixture(scope="module")
def books():
    with client_with("unused", admin_api_key=os.environ["STRONGROOM_BOOKS_KEY"]) as client:
        yield client.admin.organization.usage


def midnight():
    return int(time.time()) // DAY * DAY


def summed(books, start):
    """Every result of every page since then, of this model."""
    results, page = [], openai.omit
    while True:
        found = books.completions(start_time=start, limit=1, page=page, models=[MODEL], group_by=["model", "user_id"])
        assert found.object == "page"
        assert len(found.data) == 1
        results += found.data[0].results
        if not found.has_more:
            assert found.next_page is None
            return results
        page = found.next_page


def test_sums_are_what_the_answers_said(client, books):
    start = midnight() - 2 * DAY
    before = summed(books, start)
    messages = [{"role": "user", "content": "What is a heron?"}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=4)
    after = summed(books, start)

    def total(results, name):
        return sum(getattr(result, name) for result in results)

    for name, told in [
        ("num_model_requests", 1),
        ("input_tokens", answer.usage.prompt_tokens),
        ("output_tokens", answer.usage.completion_tokens),
        ("input_cached_tokens", answer.usage.prompt_tokens_details.cached_tokens),
    ]:
        assert total(after, name) - total(before, name) == told, name
    assert all(result.model == MODEL and result.user_id.startswith("usr_") for result in after)
    assert all(result.object == "organization.usage.completions.result" for result in after)
    assert all(result.project_id is None for result in after)


def test_costs_are_of_the_models_that_have_a_price(client, books):
    messages = [{"role": "user", "content": "What is a heron?"}]
    client.chat.completions.create(model=MODEL, messages=messages, max_tokens=4)
    page = books.costs(start_time=midnight() - DAY, group_by=["line_item"])
    results = [result for bucket in page.data for result in bucket.results]
    assert {result.object for result in results} == {"organization.costs.result"}
    assert {result.amount.currency for result in results} == {"usd"}
    costs = {result.line_item: result.amount.value for result in results}
    assert costs[MODEL] > 0
    assert all(cost == 0 for model, cost in costs.items() if model != MODEL)


def test_embeddings_and_moderations_have_pages_of_their_own(client, books):
    client.embeddings.create(model="bert-mean", input="t9 t10")
    client.moderations.create(input="What is a heron?")
    embeddings = books.embeddings(start_time=midnight(), bucket_width="1h", limit=168)
    counted = [result for bucket in embeddings.data for result in bucket.results]
    assert all(result.input_tokens > 0 for result in counted)
    moderations = books.moderations(start_time=midnight() - DAY, group_by=["model"])
    assert {result.model for bucket in moderations.data for result in bucket.results} == {"guard"}


def test_what_is_not_there_is_refused_by_name(books):
    for asked, param in [
        ({"bucket_width": "1m"}, "bucket_width"),
        ({"project_ids": ["proj_1"]}, "project_ids[]"),
        ({"group_by": ["project_id"]}, "group_by[]"),
        ({"batch": True}, "batch"),
    ]:
        with pytest.raises(openai.BadRequestError) as refused:
            books.completions(start_time=midnight(), **asked)
        assert refused.value.param == param


def test_a_key_that_may_not_read_use_is_refused():
    with client_with("unused", admin_api_key=os.environ["OPENAI_API_KEY"]) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.admin.organization.usage.completions(start_time=midnight())
