"""OpenAI's own client for Python against the real server. `tests/clients/serve` starts it."""

import json
import os
import ssl

import openai
import pytest

MODEL = "guide"
QUESTION = [{"role": "user", "content": "What are you, and what can you do?"}]


def client_with(key, **options):
    context = ssl.create_default_context(cafile=os.environ["STRONGROOM_CA"])
    http_client = openai.DefaultHttpxClient(verify=context, trust_env=False)
    return openai.OpenAI(api_key=key, http_client=http_client, max_retries=0, **options)


@pytest.fixture(scope="module")
def client():
    with client_with(os.environ["OPENAI_API_KEY"]) as client:
        yield client


def ask(client, **options):
    options = {"seed": 7, "max_tokens": 24, "messages": QUESTION} | options
    return client.chat.completions.create(model=MODEL, **options)


def test_the_models_are_listed(client):
    listed = client.models.list()
    assert {MODEL, "bert-mean", "bert-rank"} <= {model.id for model in listed}
    assert listed.data[0].object == "model"
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_chat_is_answered(client):
    answer = ask(client)
    assert answer.object == "chat.completion"
    assert answer.model == MODEL
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer._request_id.startswith("req_")


def test_a_streamed_chat_says_the_same_in_pieces(client):
    whole = ask(client).choices[0]
    chunks = list(ask(client, stream=True))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces) == whole.message.content
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_carries_its_usage_where_it_is_asked_for(client):
    whole = ask(client).usage
    *chunks, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage.prompt_tokens == whole.prompt_tokens
    assert last.usage.completion_tokens == whole.completion_tokens


def test_the_stream_helper_of_the_client_understands_the_events(client):
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, seed=7, max_tokens=24
    ) as stream:
        events = [event for event in stream if event.type == "content.delta"]
    whole = ask(client).choices[0].message.content
    assert "".join(event.delta for event in events) == events[-1].snapshot == whole


def test_a_stream_may_be_left_early(client):
    with ask(client, stream=True, max_tokens=200) as stream:
        next(iter(stream))
    assert ask(client).choices


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_ends_before_a_stop_text(client, stream):
    whole = ask(client, temperature=0).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    expected = whole[: whole.index(stop)]
    answer = ask(client, temperature=0, stop=[stop], stream=stream)
    if stream:
        choices = [chunk.choices[0] for chunk in answer]
        text = "".join(choice.delta.content or "" for choice in choices)
        reason = choices[-1].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, reason) == (expected, "stop")


def test_a_bound_ends_the_answer_as_length(client):
    answer = ask(client, max_completion_tokens=3, max_tokens=openai.omit)
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].finish_reason == "length"


def test_the_same_seed_repeats_the_answer_and_another_changes_it(client):
    def said(seed):
        answer = ask(client, seed=seed, temperature=1.5, max_tokens=40)
        return answer.choices[0].message.content

    assert said(11) == said(11)
    assert len({said(seed) for seed in range(8)}) > 1


def test_log_probabilities_belong_to_the_answer(client):
    answer = ask(client, temperature=0, logprobs=True, top_logprobs=3)
    entries = answer.choices[0].logprobs.content
    assert "".join(entry.token for entry in entries).strip() == answer.choices[0].message.content.strip()
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        ranked = [other.logprob for other in entry.top_logprobs]
        assert ranked == sorted(ranked, reverse=True)
        # The answer takes the likeliest token each time, so it heads its own list.
        assert entry.top_logprobs[0].logprob == pytest.approx(entry.logprob, abs=1e-6)


def test_log_probabilities_come_in_the_pieces_that_they_belong_to(client):
    options = {"temperature": 0, "logprobs": True, "top_logprobs": 3}
    whole = ask(client, **options).choices[0].logprobs.content
    streamed = []
    for chunk in ask(client, stream=True, **options):
        choice = chunk.choices[0]
        entries = choice.logprobs.content if choice.logprobs else []
        # No piece of the answer comes without its tokens.
        assert entries or not choice.delta.content
        streamed += entries
    assert [entry.token for entry in streamed] == [entry.token for entry in whole]
    for got, expected in zip(streamed, whole, strict=True):
        assert (got.bytes, len(got.top_logprobs)) == (expected.bytes, 3)
        assert got.logprob == pytest.approx(expected.logprob, abs=1e-3)
        assert got.top_logprobs[0].token == expected.top_logprobs[0].token == got.token
    options = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "logprobs": 2}
    whole = client.completions.create(**options).choices[0]
    pieces = [chunk.choices[0] for chunk in client.completions.create(**options, stream=True)]
    pieces = [piece for piece in pieces if piece.logprobs]
    assert sum((piece.logprobs.tokens for piece in pieces), []) == whole.logprobs.tokens
    assert sum((piece.logprobs.text_offset for piece in pieces), []) == whole.logprobs.text_offset


def test_a_text_is_continued(client):
    options = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 12, "seed": 3}
    whole = client.completions.create(**options)
    assert whole.object == "text_completion"
    assert whole.choices[0].text
    assert whole.usage.completion_tokens <= 12
    chunks = list(client.completions.create(**options, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    scored = client.completions.create(**options, logprobs=2)
    assert len(scored.choices[0].logprobs.tokens) == scored.usage.completion_tokens


def test_several_texts_are_continued_each_by_itself(client):
    prompts = ["Once upon a time", "A key", "Strongroom is"]
    options = {"model": MODEL, "max_tokens": 8, "seed": 3, "n": 2}
    whole = client.completions.create(prompt=prompts, **options)
    assert [choice.index for choice in whole.choices] == list(range(6))
    alone = [client.completions.create(prompt=prompt, **options) for prompt in prompts]
    texts = [choice.text for choice in whole.choices]
    assert texts == [choice.text for one in alone for choice in one.choices]
    assert whole.usage.total_tokens == sum(one.usage.total_tokens for one in alone)
    pieces = [""] * 6
    for chunk in client.completions.create(prompt=prompts, stream=True, **options):
        for choice in chunk.choices:
            pieces[choice.index] += choice.text
    assert pieces == texts


def test_a_text_is_judged_as_evaluation_harnesses_ask_for_it(client):
    """The prompt sent back with its log-probabilities, in batches and without an answer."""
    prompts = ["Strongroom is a private server.", "The sky is blue."]
    judged = client.completions.create(
        model=MODEL, prompt=prompts, max_tokens=0, echo=True, logprobs=1, temperature=0, seed=1)
    assert judged.usage.completion_tokens == 0
    for choice, prompt in zip(judged.choices, prompts, strict=True):
        assert (choice.text, choice.finish_reason) == (prompt, "length")
        logprobs = choice.logprobs
        assert "".join(logprobs.tokens).strip() == prompt
        assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs)
        for token, logprob, top in list(
                zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True))[1:]:
            assert logprob <= 0 and logprob == top[token]
            assert max(top.values()) >= logprob
        assert logprobs.text_offset[0] == 0
        assert logprobs.text_offset == sorted(logprobs.text_offset)


def test_beside_tools_an_answer_is_a_call_or_has_its_form(client):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "look", "strict": True, "parameters": schema}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    for seed in range(4):
        choice = ask(client, seed=seed, tools=[tool], response_format=form, max_tokens=200,
                     parallel_tool_calls=False).choices[0]
        calls = choice.message.tool_calls or []
        assert choice.finish_reason == ("tool_calls" if calls else "stop")
        said = calls[0].function.arguments if calls else choice.message.content
        assert isinstance(json.loads(said)["ok"], bool)


def test_a_conversation_of_several_turns_and_parts_is_taken(client):
    answer = ask(client, messages=[
        {"role": "system", "content": "Answer in one short sentence."},
        {"role": "developer", "content": "Be kind."},
        *QUESTION,
        {"role": "assistant", "content": "I am a small guide."},
        {"role": "user", "content": [{"type": "text", "text": "And what do you keep?"}]},
    ])
    assert answer.choices[0].message.content


def test_several_answers_are_the_same_whole_and_streamed(client):
    options = {"n": 3, "seed": 5, "temperature": 1.2}
    whole = ask(client, **options)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) > 1
    alone = ask(client, seed=5, temperature=1.2)
    assert texts[0] == alone.choices[0].message.content
    assert whole.usage.prompt_tokens == alone.usage.prompt_tokens
    assert 24 < whole.usage.completion_tokens <= 72
    pieces, reasons = ["", "", ""], {}
    for chunk in ask(client, stream=True, **options):
        for choice in chunk.choices:
            pieces[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                assert choice.index not in reasons
                reasons[choice.index] = choice.finish_reason
    assert pieces == texts
    assert [reasons[index] for index in range(3)] == [one.finish_reason for one in whole.choices]


def test_a_wrong_key_is_an_authentication_error():
    with client_with("sr-" + "0" * 64) as stranger, pytest.raises(openai.AuthenticationError) as found:
        ask(stranger)
    assert found.value.status_code == 401
    assert found.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as found:
        client.chat.completions.create(model="nobody", messages=QUESTION)
    assert found.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize(("options", "code", "param"), [
    ({"temperature": 9}, "invalid_value", "temperature"),
    ({"n": 0}, "invalid_value", "n"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"extra_body": {"colour": 1}}, "unknown_parameter", "colour"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_value", "tools[0].function.name"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
])
def test_a_bad_request_names_its_parameter(client, options, code, param):
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, **options)
    assert (found.value.status_code, found.value.code, found.value.param) == (400, code, param)


def test_a_prompt_beyond_the_context_is_refused_as_such(client):
    with pytest.raises(openai.BadRequestError) as found:
        ask(client, messages=[{"role": "user", "content": "many words " * 2000}])
    assert found.value.code == "context_length_exceeded"


def test_a_used_up_rate_says_when_to_come_back():
    with client_with(os.environ["STRONGROOM_LIMITED_KEY"]) as limited:
        with pytest.raises(openai.RateLimitError) as found:
            for _ in range(3):
                ask(limited)
    response = found.value.response
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert int(response.headers["retry-after-ms"]) >= 1
    assert response.headers["x-ratelimit-limit-requests"] == "1"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"


def test_the_asynchronous_client_works_too():
    import asyncio

    async def several():
        context = ssl.create_default_context(cafile=os.environ["STRONGROOM_CA"])
        http_client = openai.DefaultAsyncHttpxClient(verify=context, trust_env=False)
        async with openai.AsyncOpenAI(http_client=http_client, max_retries=0) as client:
            return await asyncio.gather(*(
                client.chat.completions.create(
                    model=MODEL, messages=QUESTION, seed=7, max_tokens=24, temperature=0)
                for _ in range(3)
            ))

    answers = asyncio.run(several())
    # What runs beside a request does not change its answer.
    assert len({answer.choices[0].message.content for answer in answers}) == 1
