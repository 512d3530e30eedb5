// Jobs that programs do with OpenAI's client for Node, against the real server: an agent with tools, forms
// described by zod, answers from documents that were looked up. The model is too small to choose well, so
// each turn of an agent says what may come.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const model = "guide-long";
const client = new OpenAI({ maxRetries: 0 });
const named = (name) => ({ type: "function", function: { name } });

const Forecast = z.object({ city: z.enum(["Paris", "Oslo"]), days: z.number().int().min(1).max(5) });
const Packing = z.object({ items: z.array(z.string().max(12)).min(1).max(3) });
const Invoice = z.object({
  customer: z.string().max(16),
  amount: z.number().int().min(0).max(100_000),
  note: z.string().max(8).nullable(),
  lines: z.array(z.object({ text: z.string().max(8), isPaid: z.boolean() })).max(2),
});

const carriedOut = [];
const tools = [
  zodFunction({
    name: "forecast", description: "Tells the weather of the coming days.", parameters: Forecast,
    function: ({ city, days }) => {
      carriedOut.push("forecast");
      return { city, celsius: Array.from({ length: days }, (_, day) => 18 + day) };
    },
  }),
  zodFunction({
    name: "packing", description: "Makes a list of what to pack.", parameters: Packing,
    function: ({ items }) => {
      carriedOut.push("packing");
      return { packed: items.length };
    },
  }),
];
const task = [
  { role: "system", content: "You help people to pack." },
  { role: "user", content: "I go to Oslo for two days. What do I take along?" },
];

describe("an agent", () => {
  test("calls its tools and answers", async () => {
    const conversation = [...task];
    const called = [];
    let last;
    for (const tool_choice of [named("forecast"), "required", "none"]) {
      const { choices: [choice] } = await client.chat.completions.create({
        model, messages: conversation, tools, tool_choice, parallel_tool_calls: false, seed: 3, max_tokens: 300,
      });
      last = choice;
      conversation.push(choice.message);
      for (const call of choice.message.tool_calls ?? []) {
        assert.equal(choice.finish_reason, "tool_calls");
        const tool = tools.find(({ function: { name } }) => name === call.function.name);
        called.push(call.function.name);
        const result = tool.$callback(tool.$parseRaw(call.function.arguments));
        conversation.push({ role: "tool", tool_call_id: call.id, content: JSON.stringify(result) });
      }
    }
    assert.equal(called[0], "forecast");
    assert.equal(called.length, 2);
    assert.ok(last.message.content);
  });

  for (const stream of [false, true]) {
    test(`is run by the client's own runner${stream ? ", streamed" : ""}`, async () => {
      carriedOut.length = 0;
      const runner = client.chat.completions.runTools({
        model, messages: task, tools, tool_choice: named("forecast"), parallel_tool_calls: false, seed: 3,
        max_tokens: 300, stream,
      });
      const { arguments: written } = await runner.finalFunctionToolCall();
      assert.ok(Forecast.safeParse(JSON.parse(written)).success, written);
      assert.equal(JSON.parse(await runner.finalFunctionToolCallResult()).city, JSON.parse(written).city);
      assert.deepEqual(carriedOut, ["forecast"]);
    });
  }

  test("that needs no tool answers at once", async () => {
    carriedOut.length = 0;
    const runner = client.chat.completions.runTools({ model, messages: task, tools, seed: 3, max_tokens: 100 });
    assert.ok(await runner.finalContent());
    assert.deepEqual(carriedOut, []);
  });
});

describe("a form", () => {
  const form = { model, response_format: zodResponseFormat(Invoice, "invoice"), max_tokens: 300 };
  const question = [{ role: "user", content: "Invoice 7: Jones owes 120. Fill in the form." }];

  test("described by zod is filled in", async () => {
    const answer = await client.chat.completions.parse({ ...form, messages: question, seed: 1 });
    assert.ok(Invoice.safeParse(answer.choices[0].message.parsed).success);
  });

  test("is filled in by a stream", async () => {
    const runner = client.chat.completions.stream({ ...form, messages: question, seed: 2 });
    const { choices: [{ message }] } = await runner.finalChatCompletion();
    assert.ok(Invoice.safeParse(message.parsed).success);
    assert.deepEqual(JSON.parse(message.content), message.parsed);
  });

  test("is filled in again in a second turn", async () => {
    const first = await client.chat.completions.parse({ ...form, messages: question, seed: 1 });
    const { role, content } = first.choices[0].message;
    const second = await client.chat.completions.parse({
      ...form, messages: [...question, { role, content }, { role: "user", content: "Jones has paid." }], seed: 2,
    });
    assert.ok(Invoice.safeParse(second.choices[0].message.parsed).success);
  });

  test("goes back as it was parsed", async () => {
    const first = await client.chat.completions.parse({ ...form, messages: question, seed: 1 });
    await client.chat.completions.parse({
      ...form, seed: 2,
      messages: [...question, first.choices[0].message, { role: "user", content: "Jones has paid." }],
    });
  });

  test("of a call goes back as it was parsed", async () => {
    const { choices: [{ message }] } = await client.chat.completions.parse({
      model, messages: task, tools, tool_choice: named("forecast"), parallel_tool_calls: false, seed: 3,
      max_tokens: 300,
    });
    const [call] = message.tool_calls;
    assert.ok(Forecast.safeParse(call.function.parsed_arguments).success);
    // Not parsed: that throws where an answer is cut at its limit, as this one may be.
    await client.chat.completions.create({
      model, tools, tool_choice: "none", seed: 1, max_tokens: 20,
      messages: [...task, message, { role: "tool", tool_call_id: call.id, content: "Sunny." }],
    });
  });
});

test("a question is answered from what was looked up", async () => {
  const shelf = { "t9 t10": "Keys are made under Me.", "t200 t31": "Backups are made by night.", t77: "Tea is at four." };
  const vectorsOf = async (input) =>
    (await client.embeddings.create({ model: "bert-mean", input })).data.map(({ embedding }) => embedding);
  const [asked, ...stored] = await vectorsOf(["t9 t10", ...Object.keys(shelf)]);
  const likeness = stored.map((one) => one.reduce((sum, x, place) => sum + x * asked[place], 0));
  const best = likeness.indexOf(Math.max(...likeness));
  assert.equal(best, 0);
  const answer = await client.chat.completions.create({
    model, seed: 1, max_tokens: 40,
    messages: [
      { role: "developer", content: `Answer from this alone: ${Object.values(shelf)[best]}` },
      { role: "user", content: "Where do I make a key?" },
    ],
  });
  assert.ok(answer.choices[0].message.content);
});
