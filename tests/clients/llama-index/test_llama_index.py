"""LlamaIndex against the real server: an index of documents, questions to it, ranking, forms, and an agent
with tools. The model is too small to choose well, so the agent is told which call comes first."""

import asyncio
import os
from typing import Annotated, Literal

import openai
import pytest
from llama_index.core import Document, PromptTemplate, VectorStoreIndex
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCall, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from pydantic import BaseModel, Field

WHERE = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"], "max_retries": 0}
SHELF = [
    "People make their API keys on their own page. A key is shown once.",
    "Backups are made every night, and are sealed with a key of their own.",
    "The kitchen serves tea at four. On Fridays there is cake.",
]
QUESTION = "Where do I get an API key for my program?"


def model(**options):
    return OpenAILike(**(WHERE | {
        "model": "guide-long", "is_chat_model": True, "is_function_calling_model": True, "context_window": 8192,
        "max_tokens": 60, "additional_kwargs": {"seed": 7},
    } | options))


@pytest.fixture(scope="module")
def index():
    embedding = OpenAILikeEmbedding(model_name="all-MiniLM-L6-v2", **WHERE)
    documents = [Document(text=text, metadata={"page": page}) for page, text in enumerate(SHELF)]
    splitter = SentenceSplitter(chunk_size=64, chunk_overlap=8)
    return VectorStoreIndex.from_documents(documents, embed_model=embedding, transformations=[splitter])


def test_a_text_is_completed_and_streamed():
    whole = model().complete("What are you?")
    assert whole.text == [step.text for step in model().stream_complete("What are you?")][-1] != ""
    raw = model(is_chat_model=False, max_tokens=12)
    assert raw.complete("Once upon a time").text == [step.text for step in raw.stream_complete("Once upon a time")][-1]


def test_a_chat_is_answered_streamed_and_side_by_side():
    messages = [ChatMessage("Answer in one sentence.", role="system"), ChatMessage("What are you?", role="user")]
    whole = model().chat(messages).message.content
    pieces = [step.delta for step in model().stream_chat(messages)]
    assert whole == "".join(pieces) and len(pieces) > 1

    async def several():
        return await asyncio.gather(*(model().achat(messages) for _ in range(3)))

    assert {answer.message.content for answer in asyncio.run(several())} == {whole}


def test_what_fits_a_question_is_found(index):
    found = index.as_retriever(similarity_top_k=2).retrieve(QUESTION)
    assert [node.metadata["page"] for node in found] == [0, 1]
    assert found[0].score > found[1].score


def test_a_question_is_answered_from_the_index(index):
    answer = index.as_query_engine(llm=model(), similarity_top_k=2).query(QUESTION)
    assert str(answer)
    assert [node.metadata["page"] for node in answer.source_nodes] == [0, 1]


def test_an_answer_from_the_index_is_streamed(index):
    answer = index.as_query_engine(llm=model(), similarity_top_k=1, streaming=True).query(QUESTION)
    pieces = list(answer.response_gen)
    assert len(pieces) > 1 and "".join(pieces)


def test_an_answer_is_refined_from_page_to_page(index):
    engine = index.as_query_engine(llm=model(), similarity_top_k=3, response_mode="refine")
    answer = asyncio.run(engine.aquery(QUESTION))
    assert str(answer) and len(answer.source_nodes) == 3


def test_a_talk_about_the_index_keeps_what_was_said(index):
    engine = index.as_chat_engine(llm=model(), chat_mode="condense_plus_context", similarity_top_k=2)
    assert str(engine.chat(QUESTION))
    assert str(engine.chat("And who may do that?"))
    assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2


def test_what_was_found_is_ranked_anew(index):
    rerank = JinaRerank(top_n=2, model="bert-rank", base_url=WHERE["api_base"], api_key=WHERE["api_key"])
    engine = index.as_query_engine(llm=model(), similarity_top_k=3, node_postprocessors=[rerank])
    scores = [node.score for node in engine.query(QUESTION).source_nodes]
    assert len(scores) == 2 and 1 >= scores[0] >= scores[1] >= 0


class Trip(BaseModel):
    """Where somebody goes, and for how long."""

    city: Literal["Paris", "Oslo"]
    days: Annotated[int, Field(ge=1, le=5)]


def test_a_form_is_filled_in():
    prompt = PromptTemplate("Fill in the form: {text}")
    trip = model(max_tokens=200).structured_predict(Trip, prompt, text="Two days in Oslo.")
    assert isinstance(trip, Trip)
    direct = model(max_tokens=200, should_use_structured_outputs=True)
    assert isinstance(direct.structured_predict(Trip, prompt, text="Two days in Oslo."), Trip)
    assert isinstance(model(max_tokens=200).as_structured_llm(Trip).complete("Two days in Oslo.").raw, Trip)


def test_a_form_is_streamed_as_it_grows():
    prompt = PromptTemplate("Fill in the form: {text}")
    direct = model(max_tokens=200, should_use_structured_outputs=True)
    *_, last = direct.stream_structured_predict(Trip, prompt, text="Two days in Oslo.")
    assert Trip.model_validate(last.model_dump())


def forecast(city: str, days: int) -> str:
    """Tells the weather of the coming days."""
    return f"{city}: {18 + days} degrees"


# From the signature alone LlamaIndex would take no bounds over.
FORECAST = FunctionTool.from_defaults(forecast, fn_schema=Trip)


def test_a_tool_is_called_and_its_result_is_the_answer():
    answer = model(max_tokens=200).predict_and_call([FORECAST], "The weather in Oslo?", tool_choice="forecast")
    assert "degrees" in str(answer)


def test_an_agent_calls_a_tool_and_answers():
    agent = FunctionAgent(
        tools=[FORECAST], llm=model(max_tokens=200), system_prompt="You help people to pack.",
        initial_tool_choice="forecast", allow_parallel_tool_calls=False)

    async def run():
        events, handler = [], agent.run("I go to Oslo for two days. What do I take along?")
        async for event in handler.stream_events():
            events.append(event)
        return events, await handler

    events, answer = asyncio.run(run())
    [call] = [event for event in events if isinstance(event, ToolCall) and not isinstance(event, ToolCallResult)]
    [result] = [event for event in events if isinstance(event, ToolCallResult)]
    assert call.tool_name == "forecast" and call.tool_id == result.tool_id
    assert "degrees" in str(result.tool_output) and not result.tool_output.is_error
    assert len([event for event in events if isinstance(event, AgentStream) and event.delta]) > 1
    assert answer.response.content


def test_errors_are_those_of_openai():
    with pytest.raises(openai.AuthenticationError):
        model(api_key="sr-" + "0" * 64).complete("Hello.")
    with pytest.raises(openai.NotFoundError):
        model(model="nobody").complete("Hello.")
    with pytest.raises(openai.BadRequestError, match="context"):
        model(model="guide").complete("many words " * 2000)
