// The AI SDK of Vercel against the real server, by its provider for servers like OpenAI's. The model is too
// small to choose well, so each step of an agent says what may come.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError, cosineSimilarity, embed, embedMany, generateText, isStepCount, Output, RetryError, streamText, tool,
  ToolLoopAgent,
} from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;

const where = { baseURL: process.env.OPENAI_BASE_URL, name: "strongroom", apiKey: process.env.OPENAI_API_KEY };
const provider = createOpenAICompatible({ ...where, includeUsage: true, supportsStructuredOutputs: true });
const model = provider("guide-long");
const usual = { model, seed: 7, maxOutputTokens: 60, maxRetries: 0 };
// Lasts until it is ended.
const { max_tokens: maxOutputTokens, ...more } = JSON.parse(process.env.STRONGROOM_ENDLESS);
const endless = { maxOutputTokens, providerOptions: { strongroom: more } };
const question = { instructions: "Answer in one sentence.", prompt: "What are you?" };

const collect = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};

/** A provider whose answers are seen on their way. */
const watched = (afterAnswer = () => {}) => {
  const answers = [];
  const through = createOpenAICompatible({
    ...where,
    fetch: async (url, init) => {
      const sent = performance.now();
      const answer = await fetch(url, init);
      answers.push({ sent, came: performance.now(), status: answer.status, headers: answer.headers });
      afterAnswer(answers);
      return answer;
    },
  });
  return { through, answers };
};

describe("texts", () => {
  test("are written, with their usage", async () => {
    const { text, usage, finishReason, response } = await generateText({ ...usual, ...question });
    assert.ok(text);
    assert.ok(["stop", "length"].includes(finishReason));
    assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
    assert.equal(response.modelId, "guide-long");
    assert.match(response.headers["x-request-id"], /^req_/);
  });

  test("are streamed as they would be written", async () => {
    const whole = await generateText({ ...usual, ...question });
    const result = streamText({ ...usual, ...question });
    const pieces = await collect(result.textStream);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(""), whole.text);
    assert.equal(await result.finishReason, whole.finishReason);
    assert.equal((await result.usage).outputTokens, whole.usage.outputTokens);
  });

  test("come with all the parts of a stream in their order", async () => {
    const kinds = (await collect(streamText({ ...usual, ...question }).fullStream)).map(({ type }) => type);
    assert.deepEqual(kinds.filter((kind) => kind !== "text-delta"),
      ["start", "start-step", "text-start", "text-end", "finish-step", "finish"]);
  });

  test("go on from what was said", async () => {
    const messages = [{ role: "user", content: "What are you?" }];
    const first = await generateText({ ...usual, messages });
    messages.push(...first.response.messages, { role: "user", content: [{ type: "text", text: "And what do you keep?" }] });
    const second = await generateText({ ...usual, messages });
    assert.ok(second.text);
    assert.ok(second.usage.inputTokens > first.usage.totalTokens);
  });

  test("are continued by a completion", async () => {
    const { text } = await generateText({ ...usual, model: provider.completionModel("guide"), prompt: "Once upon a time" });
    assert.ok(text);
  });
});

describe("forms", () => {
  const schema = z.object({ city: z.enum(["Paris", "Oslo"]), days: z.number().int().min(1).max(5) });
  const task = { ...usual, maxOutputTokens: 300, prompt: "I go to Oslo for two days." };

  test("are objects of a schema", async () => {
    const { output } = await generateText({ ...task, output: Output.object({ schema }) });
    assert.ok(schema.safeParse(output).success);
  });

  test("grow as they are streamed", async () => {
    // Longer than what the guard looks at before it lets a text go.
    const long = schema.extend({ notes: z.array(z.string().min(30).max(60)).length(4) });
    const result = streamText({ ...task, output: Output.object({ schema: long }) });
    const partial = await collect(result.partialOutputStream);
    assert.ok(partial.length > 1);
    assert.ok(long.safeParse(await result.output).success);
  });

  test("are lists and choices", async () => {
    const list = await generateText({
      ...task, output: Output.array({ element: schema }),
      providerOptions: { strongroom: { logit_bias: { 63: 20 } } },
    });
    assert.ok(list.output.every((one) => schema.safeParse(one).success));
    const choice = await generateText({ ...task, output: Output.choice({ options: ["sun", "rain"] }) });
    assert.ok(["sun", "rain"].includes(choice.output));
  });

  test("are asked for as JSON of any form where the provider knows of no schemas", async () => {
    const plain = createOpenAICompatible(where)("guide-long");
    const { text } = await generateText({
      ...task, model: plain, output: Output.json(), providerOptions: { strongroom: { logit_bias: { 95: 20 } } },
    });
    assert.equal(typeof JSON.parse(text), "object");
  });
});

describe("agents", () => {
  const tools = {
    forecast: tool({
      description: "Tells the weather of the coming days.",
      inputSchema: z.object({ city: z.enum(["Paris", "Oslo"]), days: z.number().int().min(1).max(5) }),
      execute: ({ city, days }) => ({ city, celsius: Array.from({ length: days }, (_, day) => 18 + day) }),
    }),
    packing: tool({
      description: "Makes a list of what to pack.",
      inputSchema: z.object({ items: z.array(z.string().max(12)).min(1).max(3) }),
      execute: ({ items }) => ({ packed: items.length }),
    }),
  };
  const prepareStep = ({ stepNumber }) =>
    ({ toolChoice: [{ type: "tool", toolName: "forecast" }, { type: "tool", toolName: "packing" }, "none"][stepNumber] });
  const task = {
    ...usual, tools, prepareStep, stopWhen: isStepCount(3), maxOutputTokens: 300,
    providerOptions: { strongroom: { parallel_tool_calls: false } },
  };
  const prompt = "I go to Oslo for two days. What do I take along?";

  const check = (steps, text) => {
    assert.deepEqual(steps.map(({ toolCalls }) => toolCalls.map(({ toolName }) => toolName)), [["forecast"], ["packing"], []]);
    assert.deepEqual(steps.map(({ finishReason }) => finishReason).slice(0, 2), ["tool-calls", "tool-calls"]);
    const [{ toolResults: [weather] }, { toolResults: [bag] }] = steps;
    assert.equal(weather.output.celsius.length, weather.input.days);
    assert.equal(bag.output.packed, bag.input.items.length);
    assert.ok(text);
  };

  test("call their tools and answer", async () => {
    const { steps, text } = await generateText({ ...task, prompt });
    check(steps, text);
  });

  test("stream what they do", async () => {
    const result = streamText({ ...task, prompt });
    const kinds = new Set((await collect(result.fullStream)).map(({ type }) => type));
    for (const kind of ["tool-input-start", "tool-input-delta", "tool-call", "tool-result", "text-delta"]) {
      assert.ok(kinds.has(kind), kind);
    }
    check(await result.steps, await result.text);
  });

  test("are run in a loop of their own", async () => {
    const { model: _, ...settings } = task;
    const { steps, text } = await new ToolLoopAgent({ model, ...settings, instructions: "You help people." }).generate({ prompt });
    check(steps, text);
  });
});

describe("embeddings", () => {
  test("find what belongs to a question", async () => {
    const embedder = provider.embeddingModel("all-MiniLM-L6-v2");
    const values = [
      "The kitchen serves tea at four.",
      "People make their API keys on their own page.",
      "Backups are made every night, and are sealed.",
    ];
    const { embeddings, usage } = await embedMany({ model: embedder, values });
    const { embedding } = await embed({ model: embedder, value: "Where do I get a key for my program?" });
    const likeness = embeddings.map((one) => cosineSimilarity(one, embedding));
    assert.equal(likeness.indexOf(Math.max(...likeness)), 1);
    assert.ok(usage.tokens > 10);
  });

  test("of many texts are made in several requests", async () => {
    const { through, answers } = watched();
    const values = Array.from({ length: 2050 }, (_, number) => `t${5 + (number % 200)}`);
    const { embeddings } = await embedMany({ model: through.embeddingModel("bert-mean"), values });
    assert.equal(embeddings.length, 2050);
    assert.ok(answers.length >= 2);
    assert.deepEqual(embeddings[0], embeddings[200]);
  });
});

describe("what goes wrong", () => {
  test("is an APICallError with the message of the server", async () => {
    for (const [change, statusCode, message] of [
      [{ model: provider("nobody") }, 404, /no such model/],
      [{ temperature: 9 }, 400, /temperature/],
      [{ model: createOpenAICompatible({ ...where, apiKey: `sr-${"0".repeat(64)}` })("guide") }, 401, /API key/],
    ]) {
      await assert.rejects(generateText({ ...usual, ...question, maxRetries: 2, ...change }), (error) => {
        assert.ok(APICallError.isInstance(error), `${error}`);
        assert.equal(error.statusCode, statusCode);
        assert.match(error.message, message);
        assert.equal(error.isRetryable, false);
        return true;
      });
    }
  });

  test("is tried again after the time that the server says", async () => {
    const { through, answers } = watched();
    const ask = { ...usual, ...question, model: through("guide-metered"), maxOutputTokens: 1 };
    await assert.rejects(async () => {
      for (let count = 0; count < 40; count += 1) await generateText(ask);
    }, (error) => error.statusCode === 429 && error.isRetryable);
    answers.length = 0;
    assert.equal((await generateText({ ...ask, maxRetries: 2 })).usage.outputTokens, 1);
    assert.deepEqual(answers.map(({ status }) => status), [429, 200]);
    const told = Number(answers[0].headers.get("retry-after-ms"));
    assert.ok(answers[1].sent - answers[0].came >= told - 2);
  });

  test("ends after so many tries", async () => {
    let isWaiting;
    const bothAreIn = new Promise((resolve) => { isWaiting = resolve; });
    const { through } = watched(({ length }) => length === 2 && isWaiting());
    const leave = new AbortController();
    const begin = () => streamText({
      ...usual, ...question, model: through("guide-narrow"), ...endless,
      abortSignal: leave.signal, onError() {},
    }).fullStream[Symbol.asyncIterator]();
    const running = begin();
    for (let kind; kind !== "text-delta";) kind = (await running.next()).value.type;
    begin().next();
    await bothAreIn;
    await assert.rejects(generateText({ ...usual, ...question, model: provider("guide-narrow"), maxRetries: 1 }),
      (error) => RetryError.isInstance(error) && error.lastError.statusCode === 503);
    leave.abort();
    assert.ok((await generateText({ ...usual, ...question, model: provider("guide-narrow"), maxRetries: 3 })).text);
  });

  test("is an abort, which a stream tells as its last part", async () => {
    const abort = new AbortController();
    const result = streamText({
      ...usual, ...question, ...endless, abortSignal: abort.signal,
    });
    const kinds = [];
    for await (const { type } of result.fullStream) {
      kinds.push(type);
      if (kinds.length === 6) abort.abort();
    }
    assert.equal(kinds.at(-1), "abort");
  });
});
