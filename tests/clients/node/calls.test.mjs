// What OpenAI's client for Node does around a request, against the real server: retries that wait as they
// are told, time-outs, aborts, raw responses, and an error that comes when the answer has begun.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import OpenAI from "openai";

const model = "guide";
const messages = [{ role: "user", content: "What are you, and what can you do?" }];
// Lasts until it is ended.
const endless = { model: "guide-narrow", messages, ...JSON.parse(process.env.STRONGROOM_ENDLESS) };
const hasty = new OpenAI({ maxRetries: 0 });

const ask = (client, options = {}) =>
  client.chat.completions.create({ model, messages, max_tokens: 8, ...options });

/** A client whose requests and answers are seen on their way. */
const watched = (options, afterAnswer = () => {}) => {
  const sent = [];
  const answers = [];
  const client = new OpenAI({
    ...options,
    fetch: async (url, init) => {
      sent.push({ at: performance.now(), retry: new Headers(init.headers).get("x-stainless-retry-count") });
      const answer = await fetch(url, init);
      answers.push({ at: performance.now(), status: answer.status, headers: answer.headers });
      afterAnswer(answers);
      return answer;
    },
  });
  return { client, sent, answers };
};

/** Each further request left when the answer before it said, and counted itself. */
const checkWaits = ({ sent, answers }) => {
  assert.deepEqual(sent.map(({ retry }) => retry), sent.map((_, number) => String(number)));
  for (const [number, { at }] of sent.slice(1).entries()) {
    const { at: came, headers } = answers[number];
    const told = Number(headers.get("retry-after-ms"));
    assert.ok(told > 0 && Number(headers.get("retry-after")) * 1000 >= told);
    const waited = at - came;
    assert.ok(waited >= told - 2 && waited < told + 10_000, `waited ${waited} ms of ${told} ms`);
  }
};

const useUpTheRate = () =>
  assert.rejects(async () => {
    for (let count = 0; count < 40; count += 1) await ask(hasty, { model: "guide-metered", max_tokens: 1 });
  }, OpenAI.RateLimitError);

/** One request runs on `guide-narrow` and one waits, until what is returned is called. */
const takeBothPlaces = async () => {
  const running = await ask(hasty, { ...endless, stream: true });
  const chunks = running[Symbol.asyncIterator]();
  // Its role is said while it still waits.
  for (let said; !said;) said = (await chunks.next()).value.choices[0].delta.content;
  const waiting = await ask(hasty, { ...endless, stream: true });
  return () => [running, waiting].forEach((stream) => stream.controller.abort());
};

/** The owner's page, which makes keys and withdraws them. */
const owner = async () => {
  const base = process.env.OPENAI_BASE_URL.replace(/\/v1$/, "");
  const headers = { "content-type": "application/json", origin: base };
  const send = async (method, path, body) => {
    const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    const cookie = answer.headers.getSetCookie().map((one) => one.split(";")[0]);
    if (cookie.length) headers.cookie = cookie.join("; ");
    const text = await answer.text();
    return text && JSON.parse(text);
  };
  await send("POST", "/api/session", { username: "olivia", password: process.env.STRONGROOM_PASSWORD });
  headers["x-strongroom-csrf"] = (await send("GET", "/api/me")).csrf;
  return send;
};

/** A key whose own budget is used up, or that of its person. */
const spentKey = async (whose) => {
  let apiKey = process.env.STRONGROOM_SPENDING_KEY;
  if (whose === "key") {
    const send = await owner();
    const limits = { requests_per_month: 1 };
    apiKey = (await send("POST", "/api/me/keys", { name: "small", limits })).secret;
  }
  const client = new OpenAI({ apiKey, maxRetries: 0 });
  await assert.rejects(async () => {
    for (let count = 0; count < 3; count += 1) await ask(client, { max_tokens: 1 });
  }, OpenAI.RateLimitError);
  return apiKey;
};

describe("retries", () => {
  test("wait for a used-up rate as they are told", async () => {
    await useUpTheRate();
    const watch = watched({ maxRetries: 3 });
    assert.ok((await ask(watch.client, { model: "guide-metered" })).choices.length);
    assert.deepEqual(watch.answers.map(({ status }) => status), [429, 200]);
    checkWaits(watch);
  });

  test("ask a busy server again until there is room", async () => {
    const leave = await takeBothPlaces();
    const watch = watched({ maxRetries: 5 }, ({ length }) => length === 2 && leave());
    assert.ok((await ask(watch.client, { model: "guide-narrow" })).choices.length);
    assert.deepEqual(watch.answers.map(({ status }) => status), [503, 503, 200]);
    checkWaits(watch);
  });

  test("end with the error of the server", async () => {
    const leave = await takeBothPlaces();
    const watch = watched({ maxRetries: 1 });
    await assert.rejects(ask(watch.client, { model: "guide-narrow" }), (error) => {
      assert.ok(error instanceof OpenAI.InternalServerError);
      assert.deepEqual([error.status, error.code], [503, "busy"]);
      return true;
    });
    leave();
    assert.deepEqual(watch.answers.map(({ status }) => status), [503, 503]);
    checkWaits(watch);
  });

  for (const whose of ["key", "person"]) {
    test(`are not made where the budget of a ${whose} is used up, and others go on`, async () => {
      const watch = watched({ apiKey: await spentKey(whose), maxRetries: 3 });
      for (const options of [{}, { stream: true }]) {
        await assert.rejects(ask(watch.client, options), (error) => {
          assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
          const { status, code, type, headers } = error;
          assert.deepEqual([status, code, type], [429, "insufficient_quota", "insufficient_quota"]);
          assert.match(error.message, /1 requests a month/);
          assert.equal(headers.get("x-should-retry"), "false");
          assert.ok(Number(headers.get("retry-after")) >= 1);
          return true;
        });
      }
      // One request each: the client was told not to come again, and would otherwise.
      assert.deepEqual(watch.answers.map(({ status }) => status), [429, 429]);
      assert.deepEqual(watch.sent.map(({ retry }) => retry), ["0", "0"]);
      assert.ok((await ask(hasty)).choices.length);
    });
  }

  test("are not made where waiting changes nothing", async () => {
    for (const [options, status] of [[{ temperature: 9 }, 400], [{ model: "nobody" }, 404]]) {
      const watch = watched({ maxRetries: 3 });
      await assert.rejects(ask(watch.client, options), { status });
      assert.equal(watch.answers.length, 1);
    }
  });
});

describe("who does not wait", () => {
  test("runs out of time, tries again, and gives up", async () => {
    const watch = watched({ maxRetries: 1, timeout: 300 });
    await assert.rejects(ask(watch.client, endless), OpenAI.APIConnectionTimeoutError);
    assert.equal(watch.sent.length, 2);
  });

  test("aborts a request by a signal", async () => {
    const abort = new AbortController();
    const request = hasty.chat.completions.create(endless, { signal: abort.signal });
    setTimeout(() => abort.abort(), 200);
    await assert.rejects(request, OpenAI.APIUserAbortError);
  });

  test("aborts a stream, which ends without an error", async () => {
    const stream = await ask(hasty, { ...endless, stream: true });
    let count = 0;
    for await (const chunk of stream) {
      assert.equal(chunk.object, "chat.completion.chunk");
      count += 1;
      if (count === 3) stream.controller.abort();
    }
    assert.ok(count >= 3);
  });

  test("aborts the stream helper, which says so", async () => {
    const runner = hasty.chat.completions.stream(endless);
    runner.on("content", () => runner.abort());
    await assert.rejects(runner.finalContent(), OpenAI.APIUserAbortError);
    assert.ok(runner.aborted);
  });

  test("leaves the place to others", async () => {
    const watch = watched({ maxRetries: 2 });
    assert.ok((await ask(watch.client, { model: "guide-narrow" })).choices.length);
  });
});

describe("responses", () => {
  test("are there raw, and with their data", async () => {
    const request = () => hasty.chat.completions.create({ model, messages, seed: 7, max_tokens: 8 });
    const raw = await request().asResponse();
    const { data, response, request_id } = await request().withResponse();
    assert.equal(response.headers.get("x-request-id"), request_id);
    assert.equal((await raw.json()).choices[0].message.content, data.choices[0].message.content);
    assert.notEqual(raw.headers.get("x-request-id"), request_id);
  });
});

describe("a stream", () => {
  test("that fails raises its error after what was said", async () => {
    const send = await owner();
    const { key, secret } = await send("POST", "/api/me/keys", { name: "to be withdrawn" });
    const client = new OpenAI({ apiKey: secret, maxRetries: 0 });
    const said = [];
    const read = async () => {
      for await (const chunk of await ask(client, { ...endless, model: "guide-long", stream: true })) {
        said.push(chunk.choices[0]);
        if (said.length === 3) await send("DELETE", `/api/me/keys/${key.id}`);
      }
    };
    await assert.rejects(read, (error) => {
      assert.ok(error instanceof OpenAI.APIError, `${error}`);
      assert.deepEqual([error.code, error.type], ["permission_denied", "permission_error"]);
      return true;
    });
    assert.ok(said.length >= 3 && said.every((choice) => choice.finish_reason === null));
  });
});
