"""LangChain against the real server: chats, streams, an agent with tools, forms, and a small retrieval.

Its classes find the server by the variables that `tests/clients/serve` sets, as they would OpenAI's.
The model is too small to choose well, so a middleware says which turn of the agent calls a tool."""

import asyncio
from typing import Annotated, Literal

import openai
import pytest
import tiktoken
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain.tools import tool
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, ConfigDict, Field

QUESTION = [SystemMessage("Answer in one sentence."), HumanMessage("What are you?")]


def chat(**options):
    return ChatOpenAI(**{"model": "guide-long", "max_tokens": 60, "seed": 7, "max_retries": 0} | options)


def test_a_chat_is_answered_with_its_usage():
    answer = chat().invoke(QUESTION)
    assert answer.content
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert answer.response_metadata["model_name"] == "guide-long"
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_stream_adds_up_to_the_same_answer_and_usage():
    whole = chat().invoke(QUESTION)
    chunks = list(chat(stream_usage=True).stream(QUESTION))
    together = chunks[0]
    for chunk in chunks[1:]:
        together += chunk
    assert len([chunk for chunk in chunks if chunk.content]) > 1
    assert together.content == whole.content
    assert together.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]
    assert together.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]


def test_asynchronous_streams_and_batches_run_side_by_side():
    async def said(seed):
        return "".join([chunk.content async for chunk in chat(seed=seed, temperature=1.2).astream(QUESTION)])

    async def several():
        return await asyncio.gather(*(said(seed) for seed in range(3)))

    alone = [chat(seed=seed, temperature=1.2).invoke(QUESTION).content for seed in range(3)]
    assert asyncio.run(several()) == alone
    questions = [[HumanMessage(f"What is {count}?")] for count in range(3)]
    assert all(answer.content for answer in chat().batch(questions, {"max_concurrency": 3}))


def test_a_chain_of_prompt_model_and_parser_runs():
    prompt = ChatPromptTemplate.from_messages([("system", "You know about {subject}."), ("human", "{question}")])
    chain = prompt | chat() | StrOutputParser()
    values = {"subject": "keys", "question": "Where are they?"}
    assert chain.invoke(values) == "".join(chain.stream(values)) != ""


def test_log_probabilities_come_along():
    answer = chat(temperature=0).bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    entries = answer.response_metadata["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries).strip() == answer.content.strip()


class Form(BaseModel):
    """Has these fields and no others: the model would make up more until it may write no longer."""

    model_config = ConfigDict(extra="forbid")


class City(Form):
    """A city, and how many days there."""

    name: Literal["Paris", "Oslo"]
    days: Annotated[int, Field(ge=1, le=5)]
    note: Annotated[str, Field(max_length=12)] | None


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_an_answer_is_a_class_of_pydantic(method):
    bound = chat(max_tokens=300).with_structured_output(City, method=method, include_raw=True, strict=True)
    answer = bound.invoke("I go to Oslo for two days.")
    assert isinstance(answer["parsed"], City) and answer["parsing_error"] is None


def test_an_answer_is_json_of_any_form():
    # Without a schema the form is the model's to know: this one is helped to close what it opens.
    closing = {95: 20}
    bound = chat(max_tokens=300, logit_bias=closing).bind(response_format={"type": "json_object"})
    assert isinstance((bound | JsonOutputParser()).invoke("I go to Oslo for two days. As JSON."), dict)


def test_a_class_is_streamed_as_it_grows():
    schema = City.model_json_schema()
    bound = chat(max_tokens=300).with_structured_output(schema, method="function_calling", strict=True)
    parts = list(bound.stream("I go to Oslo for two days."))
    assert City.model_validate(parts[-1])
    assert len(parts) > 1


class Forecast(Form):
    city: Literal["Paris", "Oslo"]
    days: Annotated[int, Field(ge=1, le=5)]


class Packing(Form):
    items: Annotated[list[Annotated[str, Field(max_length=12)]], Field(min_length=1, max_length=3)]


@tool(args_schema=Forecast)
def forecast(city: str, days: int) -> str:
    """Tells the weather of the coming days."""
    return f"{city}: " + ", ".join(f"{18 + day} degrees" for day in range(days))


@tool(args_schema=Packing)
def packing(items: list[str]) -> str:
    """Makes a list of what to pack."""
    return f"{len(items)} things are packed."


# One call at a time, with the arguments that there are and no others.
CAREFULLY = {"strict": True, "parallel_tool_calls": False}


def test_calls_of_bound_tools_go_there_and_back():
    bound = chat(max_tokens=300).bind_tools([forecast, packing], tool_choice="forecast", **CAREFULLY)
    messages = [HumanMessage("What is the weather in Oslo?")]
    messages.append(bound.invoke(messages))
    [call] = messages[-1].tool_calls
    assert call["name"] == "forecast" and not messages[-1].invalid_tool_calls
    messages.append(forecast.invoke(call))
    assert isinstance(messages[-1], ToolMessage)
    assert chat().invoke(messages).content


def test_calls_are_streamed_in_pieces():
    bound = chat(max_tokens=300).bind_tools([forecast, packing], tool_choice="any", **CAREFULLY)
    chunks = list(bound.stream("What do I take along?"))
    together = chunks[0]
    for chunk in chunks[1:]:
        together += chunk
    [call] = together.tool_calls
    assert call["name"] in ("forecast", "packing") and call["id"]
    assert len([chunk for chunk in chunks if chunk.tool_call_chunks]) > 1


@wrap_model_call
def forecast_first(request, handler):
    results = [message for message in request.messages if isinstance(message, ToolMessage)]
    return handler(request.override(model_settings=CAREFULLY, tool_choice="none" if results else "forecast"))


def test_an_agent_calls_a_tool_and_answers():
    agent = create_agent(chat(max_tokens=200), [forecast, packing], system_prompt="You help people to pack.",
                         middleware=[forecast_first])
    messages = agent.invoke({"messages": [HumanMessage("I go to Oslo. What do I take along?")]})["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert messages[2].status == "success" and "degrees" in messages[2].content
    assert messages[3].content and not messages[3].tool_calls


def test_an_agent_streams_what_it_does():
    agent = create_agent(chat(max_tokens=200), [forecast, packing], middleware=[forecast_first])
    task = {"messages": [HumanMessage("I go to Oslo. What do I take along?")]}
    steps, words = [], []
    for mode, piece in agent.stream(task, stream_mode=["updates", "messages"]):
        if mode == "updates":
            steps += list(piece)
        elif piece[0].content and piece[1]["langgraph_node"] == "model":
            words.append(piece[0].content)
    assert steps == ["model", "tools", "model"]
    assert len(words) > 1


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
def test_an_agent_answers_in_a_class(strategy):
    model = chat(max_tokens=300).bind(parallel_tool_calls=False) if strategy is ToolStrategy else chat(max_tokens=300)
    agent = create_agent(model, [], response_format=strategy(City))
    task = {"messages": [HumanMessage("Oslo, two days.")]}
    assert isinstance(agent.invoke(task)["structured_response"], City)


def test_beside_tools_an_answer_is_a_call_or_has_its_form():
    bound = chat(max_tokens=300).bind_tools([packing], response_format=City, strict=True)
    answer = bound.invoke([HumanMessage("Oslo, two days.")])
    assert isinstance(answer.additional_kwargs.get("parsed"), City) or answer.tool_calls


def test_errors_are_those_of_openai():
    with pytest.raises(openai.AuthenticationError):
        chat(api_key="sr-" + "0" * 64).invoke(QUESTION)
    with pytest.raises(openai.NotFoundError):
        chat(model="nobody").invoke(QUESTION)
    with pytest.raises(openai.BadRequestError, match="context"):
        chat(model="guide").invoke("many words " * 2000)


@pytest.fixture
def tokens_of_the_model():
    """The tokens of `bert-mean` for tiktoken: its words are numbered."""
    words = {f"t{number}".encode(): number for number in range(5, 256)}
    encoding = tiktoken.Encoding(
        "bert-mean", pat_str=r"t\d+|\s+", mergeable_ranks=words | {b" ": 256}, special_tokens={})
    tiktoken.registry.ENCODINGS["bert-mean"] = encoding
    tiktoken.model.MODEL_TO_ENCODING["bert-mean"] = "bert-mean"
    yield encoding
    del tiktoken.registry.ENCODINGS["bert-mean"], tiktoken.model.MODEL_TO_ENCODING["bert-mean"]


def test_embeddings_of_texts_are_found_again():
    embeddings = OpenAIEmbeddings(model="bert-mean", check_embedding_ctx_length=False)
    [one, other] = embeddings.embed_documents(["t9 t10", "t200 t31"])
    assert len(one) == 64 and one == embeddings.embed_query("t9 t10") != other
    assert asyncio.run(embeddings.aembed_query("t9 t10")) == one


def test_case_02_embeddings_of_token_arrays_are_those_of_the_texts(tokens_of_the_model):
    by_text = OpenAIEmbeddings(model="bert-mean", check_embedding_ctx_length=False)
    by_tokens = OpenAIEmbeddings(model="bert-mean")
    assert tokens_of_the_model.encode("t9") == [9]
    assert by_tokens.embed_query("t9") == pytest.approx(by_text.embed_query("t9"))
    # Longer than what is sent at once: the parts are made one by one, and their mean is taken.
    long = OpenAIEmbeddings(model="bert-mean", embedding_ctx_length=3, chunk_size=2)
    assert len(long.embed_documents(["t9t10t11t12t13t14t15", "t9"])) == 2


def test_a_question_is_answered_from_what_was_looked_up():
    store = InMemoryVectorStore(OpenAIEmbeddings(model="all-MiniLM-L6-v2", check_embedding_ctx_length=False))
    store.add_texts([
        "People make their API keys on their own page.",
        "Backups are made every night, and are sealed.",
        "The kitchen serves tea at four.",
    ])
    retriever = store.as_retriever(search_kwargs={"k": 2})
    question = "Where do I get a key for my program?"
    assert "API keys" in retriever.invoke(question)[0].page_content
    prompt = ChatPromptTemplate.from_messages([("system", "Answer from this alone: {found}"), ("human", "{question}")])

    def written(documents):
        return "\n".join(document.page_content for document in documents)

    chain = {"found": retriever | written, "question": RunnablePassthrough()} | prompt | chat() | StrOutputParser()
    assert chain.invoke(question)
