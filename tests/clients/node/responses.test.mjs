// `/v1/responses` with OpenAI's own client for Node against the real server. `tests/clients/serve` starts it. The
// model is far too small to say anything sensible: what is shown is that the client understands what comes.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const model = "guide";
const input = "What are you, and what can you do?";
const client = new OpenAI({ maxRetries: 0 });

const Weather = z.object({ unit: z.enum(["C", "F"]), days: z.number().int().min(1).max(9) });
const tool = {
  type: "function", name: "weather", description: "Tells the weather.", strict: true,
  parameters: {
    type: "object", properties: { unit: { enum: ["C", "F"] } }, required: ["unit"], additionalProperties: false,
  },
};

const ask = (options = {}) => client.responses.create({ model, input, max_output_tokens: 24, seed: 7, ...options });

const collect = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};

const callsOf = (answer) => answer.output.filter(({ type }) => type === "function_call");

describe("a response", () => {
  test("is answered, with its usage and what was asked", async () => {
    const answer = await ask({ instructions: "Be brief.", metadata: { ticket: "7" } });
    assert.equal(answer.object, "response");
    assert.equal(answer.error, null);
    assert.ok(answer.output_text);
    assert.ok(["completed", "incomplete"].includes(answer.status));
    const { input_tokens, output_tokens, total_tokens } = answer.usage;
    assert.equal(total_tokens, input_tokens + output_tokens);
    assert.deepEqual([answer.instructions, answer.metadata], ["Be brief.", { ticket: "7" }]);
    assert.match(answer._request_id, /^req_/);
  });

  test("comes in events that say the same", async () => {
    const whole = await ask();
    const events = await collect(await ask({ stream: true }));
    assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, place) => place));
    assert.equal(events[0].type, "response.created");
    const pieces = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(""), whole.output_text);
    assert.equal(events.at(-1).type, `response.${whole.status}`);
  });

  test("is understood by the client's own stream helper", async () => {
    const stream = client.responses.stream({ model, input, max_output_tokens: 24, seed: 7 });
    const pieces = [];
    stream.on("response.output_text.delta", ({ delta }) => pieces.push(delta));
    const answer = await stream.finalResponse();
    assert.equal(answer.output_text, pieces.join(""));
  });

  test("is parsed into what zod describes", async () => {
    const answer = await client.responses.parse({
      model, input, max_output_tokens: 200, seed: 7, text: { format: zodTextFormat(Weather, "weather") },
    });
    assert.deepEqual(Weather.parse(answer.output_parsed), answer.output_parsed);
  });

  test("is counted before it is asked for", async () => {
    const { input_tokens, object } = await client.responses.inputTokens.count({ model, input });
    assert.equal(object, "response.input_tokens");
    assert.equal(input_tokens, (await ask()).usage.input_tokens);
  });
});

describe("functions", () => {
  test("are called by their schema, and what came of it goes back", async () => {
    const first = await ask({
      tools: [tool], tool_choice: "required", parallel_tool_calls: false, max_output_tokens: 60,
    });
    const [call] = callsOf(first);
    assert.ok(["C", "F"].includes(JSON.parse(call.arguments).unit));
    const result = { type: "function_call_output", call_id: call.call_id, output: "Sunny." };
    const last = await ask({ input: [result], previous_response_id: first.id, tools: [tool], tool_choice: "none" });
    assert.deepEqual(callsOf(last), []);
    // Without anything that is kept, the same conversation goes along.
    const said = [{ role: "user", content: input }, ...first.output, result];
    const again = await ask({ input: said, store: false, tools: [tool], tool_choice: "none" });
    assert.equal(again.usage.input_tokens, last.usage.input_tokens);
  });

  test("come in events, piece by piece", async () => {
    const stream = client.responses.stream({
      model, input, tools: [tool], tool_choice: { type: "function", name: "weather" }, parallel_tool_calls: false,
      max_output_tokens: 60, seed: 7,
    });
    const pieces = [];
    stream.on("response.function_call_arguments.delta", ({ delta }) => pieces.push(delta));
    const [call] = callsOf(await stream.finalResponse());
    assert.equal(call.arguments, pieces.join(""));
    assert.ok(["C", "F"].includes(JSON.parse(call.arguments).unit));
  });

  test("that zod describes are parsed", async () => {
    const answer = await client.responses.parse({
      model, input, max_output_tokens: 100, seed: 7, tool_choice: "required", parallel_tool_calls: false,
      tools: [zodResponsesFunction({ name: "weather", parameters: Weather })],
    });
    const [call] = callsOf(answer);
    assert.deepEqual(Weather.parse(call.parsed_arguments), call.parsed_arguments);
  });

  test("stand beside a form: the answer is a call or has it", async () => {
    const answer = await ask({
      tools: [tool], parallel_tool_calls: false, max_output_tokens: 200,
      text: { format: { type: "json_schema", name: "x", strict: true, schema: tool.parameters } },
    });
    const [call] = callsOf(answer);
    assert.ok(["C", "F"].includes(JSON.parse(call ? call.arguments : answer.output_text).unit));
  });
});

describe("what is kept", () => {
  test("is gone on from, found, listed and deleted", async () => {
    const first = await ask({ input: "Name a colour." });
    const second = await ask({ input: "Why?", previous_response_id: first.id });
    const alone = await ask({ input: "Why?", store: false });
    assert.ok(second.usage.input_tokens > alone.usage.input_tokens);
    assert.deepEqual((await client.responses.retrieve(first.id)).output, first.output);
    const items = await collect(client.responses.inputItems.list(second.id));
    assert.deepEqual(items.map(({ content }) => content[0].text), ["Why?"]);
    await assert.rejects(client.responses.cancel(first.id), OpenAI.BadRequestError);
    await client.responses.delete(first.id);
    // Asked one after the other: one that is refused before it is waited for would fail the test.
    for (const gone of [
      () => client.responses.retrieve(first.id),
      () => client.responses.cancel(first.id),
      () => client.responses.retrieve(alone.id),
      () => ask({ previous_response_id: second.id }),
    ]) {
      await assert.rejects(gone, OpenAI.NotFoundError);
    }
  });

  test("is refused by name where it cannot be done", async () => {
    for (const [options, param] of [
      [{ background: true }, "background"],
      [{ conversation: "conv_1" }, "conversation"],
      [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
    ]) {
      await assert.rejects(ask(options), (error) => error.status === 400 && error.param === param);
    }
  });
});
