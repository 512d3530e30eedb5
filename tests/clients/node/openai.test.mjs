// OpenAI's own client for Node against the real server. `tests/clients/serve` starts it.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";

const model = "guide";
const messages = [{ role: "user", content: "What are you, and what can you do?" }];
const client = new OpenAI({ maxRetries: 0 });

const ask = (options = {}, who = client) =>
  who.chat.completions.create({ model, messages, seed: 7, max_tokens: 24, ...options });

const collect = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};

const failure = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail("the request was accepted");
};

describe("models", () => {
  test("are listed, and found by name", async () => {
    const listed = await collect(client.models.list());
    assert.ok(listed.some((one) => one.id === model));
    assert.equal((await client.models.retrieve(model)).id, model);
  });
});

describe("embeddings", () => {
  test("are vectors of length 1, by base64 and by numbers", async () => {
    const input = ["t9 t10", "t11"];
    const packed = await client.embeddings.create({ model: "bert-mean", input });
    const plain = await client.embeddings.create({ model: "bert-mean", input, encoding_format: "float" });
    assert.deepEqual(packed.data.map((one) => one.index), [0, 1]);
    for (const [place, { embedding }] of packed.data.entries()) {
      const length = embedding.reduce((sum, x) => sum + x * x, 0);
      assert.ok(Math.abs(length - 1) < 1e-5);
      assert.deepEqual(Array.from(embedding), plain.data[place].embedding.map(Math.fround));
    }
    assert.deepEqual(packed.usage, { prompt_tokens: 7, total_tokens: 7 });
  });

  test("are not made by a model that answers in words", async () => {
    const error = await failure(client.embeddings.create({ model, input: "hello" }));
    assert.equal(error.status, 400);
    assert.equal(error.param, "model");
  });
});

describe("chat", () => {
  test("is answered, with its usage", async () => {
    const answer = await ask();
    assert.equal(answer.object, "chat.completion");
    assert.ok(answer.choices[0].message.content);
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
    assert.match(answer._request_id, /^req_/);
  });

  test("streams the same answer in pieces", async () => {
    const whole = (await ask()).choices[0];
    const chunks = await collect(await ask({ stream: true }));
    const pieces = chunks.map((chunk) => chunk.choices[0].delta.content ?? "");
    assert.ok(pieces.filter(Boolean).length > 1);
    assert.equal(pieces.join(""), whole.message.content);
    assert.equal(chunks.at(-1).choices[0].finish_reason, whole.finish_reason);
  });

  test("streams its usage where it is asked for", async () => {
    const { usage } = await ask();
    const chunks = await collect(await ask({ stream: true, stream_options: { include_usage: true } }));
    const last = chunks.pop();
    assert.ok(chunks.every((chunk) => chunk.usage === null));
    assert.deepEqual(last.choices, []);
    assert.equal(last.usage.total_tokens, usage.total_tokens);
  });

  test("is understood by the client's own stream helper", async () => {
    const runner = client.chat.completions.stream({ model, messages, seed: 7, max_tokens: 24 });
    assert.equal(await runner.finalContent(), (await ask()).choices[0].message.content);
  });

  test("may be left early", async () => {
    const stream = await ask({ stream: true, max_tokens: 200 });
    for await (const chunk of stream) {
      assert.equal(chunk.choices[0].index, 0);
      break;
    }
    stream.controller.abort();
    assert.ok((await ask()).choices.length);
  });

  test("ends before a stop text", async () => {
    const whole = (await ask({ temperature: 0 })).choices[0].message.content;
    const stop = whole.slice(whole.length / 2).slice(0, 3);
    const { message, finish_reason } = (await ask({ temperature: 0, stop })).choices[0];
    assert.equal(message.content, whole.slice(0, whole.indexOf(stop)));
    assert.equal(finish_reason, "stop");
  });

  test("repeats itself with the same seed", async () => {
    const said = async (seed) => (await ask({ seed, temperature: 1.5 })).choices[0].message.content;
    assert.equal(await said(11), await said(11));
    const others = await Promise.all([0, 1, 2, 3].map(said));
    assert.ok(new Set(others).size > 1);
  });

  test("gives log probabilities", async () => {
    const answer = await ask({ temperature: 0, logprobs: true, top_logprobs: 2 });
    const entries = answer.choices[0].logprobs.content;
    assert.equal(entries.map((entry) => entry.token).join("").trim(),
      answer.choices[0].message.content.trim());
    assert.ok(entries.every((entry) => entry.logprob <= 0 && entry.top_logprobs.length === 2));
  });
});

describe("completions", () => {
  test("continue a text, streamed and not", async () => {
    const body = { model, prompt: "Once upon a time", max_tokens: 12, seed: 3 };
    const whole = await client.completions.create(body);
    assert.ok(whole.choices[0].text);
    const chunks = await collect(await client.completions.create({ ...body, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), whole.choices[0].text);
  });
});

describe("errors", () => {
  test("a wrong key is an AuthenticationError", async () => {
    const stranger = new OpenAI({ apiKey: `sr-${"0".repeat(64)}`, maxRetries: 0 });
    const error = await failure(ask({}, stranger));
    assert.ok(error instanceof OpenAI.AuthenticationError, `${error}`);
    assert.deepEqual([error.status, error.code], [401, "invalid_api_key"]);
  });

  test("an unknown model is a NotFoundError", async () => {
    const error = await failure(ask({ model: "nobody" }));
    assert.ok(error instanceof OpenAI.NotFoundError, `${error}`);
    assert.equal(error.code, "model_not_found");
  });

  for (const [options, code, param] of [
    [{ temperature: 9 }, "invalid_value", "temperature"],
    [{ n: 0 }, "invalid_value", "n"],
    [{ messages: [{ role: "robot", content: "x" }] }, "invalid_value", "messages[0].role"],
    [{ colour: 1 }, "unknown_parameter", "colour"],
  ]) {
    test(`a bad \`${param}\` is a BadRequestError that names it`, async () => {
      const error = await failure(ask(options));
      assert.ok(error instanceof OpenAI.BadRequestError, `${error}`);
      assert.deepEqual([error.status, error.code, error.param], [400, code, param]);
    });
  }

  test("a used-up rate is a RateLimitError that says when to come back", async () => {
    const limited = new OpenAI({ apiKey: process.env.STRONGROOM_LIMITED_KEY, maxRetries: 0 });
    const error = await failure((async () => {
      for (let count = 0; count < 3; count += 1) await ask({}, limited);
    })());
    assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
    assert.ok(Number(error.headers.get("retry-after")) >= 1);
    assert.equal(error.headers.get("x-ratelimit-remaining-requests"), "0");
  });
});
