"""LiteLLM as a client of the real server: what it calls `openai/…`, with its own exceptions and its router."""

import asyncio
import json
import os
from typing import Annotated, Literal

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # Else it would ask for prices elsewhere.

import litellm
import pytest
from pydantic import BaseModel, ConfigDict, Field

WHERE = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
QUESTION = [{"role": "system", "content": "Answer in one sentence."}, {"role": "user", "content": "What are you?"}]


class Trip(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: Literal["Paris", "Oslo"]
    days: Annotated[int, Field(ge=1, le=5)]


TOOL = {"type": "function", "function": {
    "name": "forecast", "description": "Tells the weather.", "strict": True, "parameters": Trip.model_json_schema()}}


def options(**change):
    usual = {"model": "openai/guide-long", "messages": QUESTION, "seed": 7, "max_tokens": 40, "max_retries": 0}
    return usual | WHERE | change


def test_a_chat_is_answered_with_its_usage():
    answer = litellm.completion(**options())
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_put_together_again():
    whole = litellm.completion(**options())
    chunks = list(litellm.completion(**options(stream=True, stream_options={"include_usage": True})))
    together = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 1
    assert together.choices[0].message.content == whole.choices[0].message.content
    assert together.choices[0].finish_reason == whole.choices[0].finish_reason
    assert together.usage.completion_tokens == whole.usage.completion_tokens


def test_asynchronous_chats_and_streams_run_side_by_side():
    async def streamed():
        stream = await litellm.acompletion(**options(stream=True))
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def whole():
        return (await litellm.acompletion(**options())).choices[0].message.content

    async def several():
        return await asyncio.gather(streamed(), whole(), streamed())

    assert len(set(asyncio.run(several()))) == 1


def test_a_text_is_continued():
    options = {"model": "text-completion-openai/guide", "prompt": "Once upon a time", "max_tokens": 12, "seed": 3}
    whole = litellm.text_completion(**options, **WHERE)
    pieces = [chunk.choices[0].text or "" for chunk in litellm.text_completion(**options, **WHERE, stream=True)]
    assert "".join(pieces) == whole.choices[0].text != ""


def test_embeddings_are_made():
    made = litellm.embedding(model="openai/bert-mean", input=["t9 t10", "t11"], **WHERE)
    assert [len(one["embedding"]) for one in made.data] == [64, 64]
    assert made.usage.prompt_tokens == 7
    plain = litellm.embedding(model="openai/bert-mean", input=["t9 t10"], encoding_format="float", **WHERE)
    assert plain.data[0]["embedding"] == pytest.approx(made.data[0]["embedding"], abs=1e-6)


def test_documents_are_ranked():
    ranking = litellm.rerank(
        model="hosted_vllm/bert-rank", query="t9", documents=["t10", "t200 t31"], top_n=1, return_documents=True,
        **WHERE)
    [best] = ranking.results
    assert best["index"] in (0, 1) and 0 <= best["relevance_score"] <= 1


@pytest.mark.parametrize("form", [
    Trip, {"type": "json_schema", "json_schema": {"name": "trip", "strict": True, "schema": Trip.model_json_schema()}}])
def test_answers_follow_a_schema(form):
    answer = litellm.completion(**options(response_format=form, max_tokens=200))
    assert Trip.model_validate_json(answer.choices[0].message.content)


@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_calls_a_tool_and_answers(stream):
    messages = [{"role": "user", "content": "I go to Oslo for two days. What do I take along?"}]
    for choice in ({"type": "function", "function": {"name": "forecast"}}, "none"):
        answer = litellm.completion(**options(
            messages=messages, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False, stream=stream, max_tokens=200))
        if stream:
            answer = litellm.stream_chunk_builder(list(answer), messages=messages)
        message = answer.choices[0].message
        messages.append(message)
        for call in message.tool_calls or []:
            assert call.function.name == "forecast" and answer.choices[0].finish_reason == "tool_calls"
            trip = Trip.model_validate_json(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps({"celsius": [18] * trip.days})})
    assert [dict(message)["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[-1].content


@pytest.mark.parametrize(("change", "error", "status"), [
    ({"api_key": "sr-" + "0" * 64}, litellm.AuthenticationError, 401),
    ({"model": "openai/nobody"}, litellm.NotFoundError, 404),
    ({"temperature": 9}, litellm.BadRequestError, 400),
    ({"model": "openai/guide", "messages": [{"role": "user", "content": "many words " * 2000}]},
     litellm.ContextWindowExceededError, 400),
])
def test_refusals_are_the_exceptions_of_litellm(change, error, status):
    with pytest.raises(error) as refused:
        litellm.completion(**options(**change))
    assert refused.value.status_code == status


def use_up_the_rate():
    with pytest.raises(litellm.RateLimitError) as refused:
        for _ in range(40):
            litellm.completion(**options(model="openai/guide-metered", max_tokens=1))
    return refused.value


def test_a_used_up_rate_is_a_rate_limit_error_that_says_when_to_come_back():
    refused = use_up_the_rate()
    assert refused.status_code == 429
    headers = refused.litellm_response_headers or refused.response.headers
    assert int(headers["retry-after"]) >= 1


def test_a_used_up_rate_is_waited_for():
    use_up_the_rate()
    assert litellm.completion(**options(model="openai/guide-metered", max_tokens=1, max_retries=3)).choices


def test_who_does_not_wait_gets_a_timeout():
    endless = json.loads(os.environ["STRONGROOM_ENDLESS"])
    with pytest.raises(litellm.Timeout):
        litellm.completion(**options(model="openai/guide-narrow", extra_body=endless, timeout=0.5))
    assert litellm.completion(**options(model="openai/guide-narrow", max_retries=3)).choices


def test_a_router_goes_on_to_a_model_that_answers():
    router = litellm.Router(
        model_list=[{"model_name": name, "litellm_params": {"model": f"openai/{model}", **WHERE}}
                    for name, model in [("first", "nobody"), ("second", "guide")]],
        fallbacks=[{"first": ["second"]}], num_retries=0)
    answer = router.completion(model="first", messages=QUESTION, max_tokens=20, seed=7)
    assert answer.choices[0].message.content and answer.model.endswith("guide")
