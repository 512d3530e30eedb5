// Sending: a message and its answer, an answer made anew, Stop. The person may go elsewhere at any moment, and the
// connection may break at any moment; nothing that was typed is lost by either, and nothing is said twice.
import { batch } from "../lib.js";
import { api } from "../api.js";
import { errors, text } from "../messages.js";
import { announce, go, refreshMe, refreshModels, toastError } from "../state.js";
import { refresh as refreshList } from "./conversations.js";
import {
  add, askToStop, awaited, drop, follow, forgetNotices, hasBegun, live, loadError, messages, modelInUse, open, openId, prompt, reattach, running,
  sendError, watch, whereabouts,
} from "./exchange.js";
import { bytesOf, MESSAGE_BYTES_MAX, titleFor } from "./message.js";

const LOOKS_MAX = 5;
const LOOK_WAIT_MS = 400;

/** @typedef {ReturnType<typeof whereabouts>} Whereabouts */
/** @typedef {{ conversation: string, stay: Whereabouts, controller: AbortController, isFirst?: boolean, last?: string }} Sending
 * `isFirst`: the conversation was made for this message; `last`: what stood at its end before */

/** What is on its way to the server, until the server has it. */
let sending = new AbortController();
/** Somebody pressed Stop before the server had said that the answer began. */
let isStopWanted = false;
/** What the server may have without having said so: sent again, it keeps its id, and is not said twice. */
let unsure = { conversation: "", content: "", id: "" };

/** @returns {string} an id for a message: a version 7 UUID, as the server makes them */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  bytes[0] = (bytes[0] ?? 0) & 0x0f | 0x70;
  bytes[2] = (bytes[2] ?? 0) & 0x3f | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `msg_${Date.now().toString(16).padStart(12, "0")}${digits}`;
}

/**
 * Sends a message; makes the conversation first when there is none.
 * @param {string} content
 * @returns {Promise<boolean>} whether the words have a place: if not, they belong back into the box
 */
export async function send(content) {
  if (running.value) return false;
  sendError.value = null;
  if (bytesOf(content) > MESSAGE_BYTES_MAX) {
    sendError.value = { message: errors.payload_too_large, isGone: false };
    return false;
  }
  // Where the chat could not be read, what is answered would stand beside nothing.
  if (loadError.value && openId.value) {
    const id = openId.value;
    await open(id, { again: true });
    if (loadError.value || running.value || openId.value !== id) return false;
  }
  const isFirst = !openId.value;
  const [stay, controller] = begin();
  let conversation = openId.value ?? "";
  try {
    const made = { title: titleFor(content), model: modelInUse() ?? undefined, prompt: prompt.value ?? undefined };
    if (isFirst) conversation = (await api.post("/api/conversations", made, { signal: controller.signal })).id;
  } catch (/** @type {any} */ error) {
    return refused(error, stay);
  }
  // Somebody else has this window now: the words are not theirs.
  if (!stay.isTheirs()) return true;
  const id = unsure.conversation === conversation && unsure.content === content ? unsure.id : newId();
  if (stay.isHere()) {
    openId.value = conversation;
    add({ id: "local-question", role: "user", content });
  }
  return run({ id, content, model: modelInUse() ?? undefined }, { conversation, stay, isFirst, controller });
}

export async function regenerate() {
  const conversation = openId.value;
  if (running.value || !conversation) return;
  sendError.value = null;
  const [stay, controller] = begin();
  const before = messages.value;
  const last = before.at(-1);
  if (last?.role === "assistant") messages.value = before.slice(0, -1);
  forgetNotices();
  const isTaken = await run({ regenerate: true, model: modelInUse() ?? undefined }, { conversation, stay, controller, last: last?.id });
  if (!stay.isHere()) return;
  const made = messages.value.at(-1);
  // The server keeps the old answer too where no word of a new one came.
  const isEmpty = made?.role === "assistant" && !made.isLive && !made.content.trim();
  if (isTaken && !isEmpty) return;
  messages.value = before;
  if (isTaken && made?.error) sendError.value = { message: made.error, isGone: false };
}

/** @returns {[Whereabouts, AbortController]} */
function begin() {
  running.value = "waiting";
  isStopWanted = false;
  sending = new AbortController();
  return [whereabouts(), sending];
}

/** Stops the answer. Pressed again before the server took the message, it takes the message back. */
export async function stop() {
  if (!running.value) return;
  if (hasBegun()) return askToStop(openId.value ?? "");
  if (isStopWanted) sending.abort();
  isStopWanted = true;
  return undefined;
}

/**
 * @param {any} error why the server did not take what was sent
 * @param {Whereabouts} stay
 * @returns {boolean} whether the words have a place all the same
 */
function refused(error, stay) {
  if (!stay.isTheirs()) return true;
  // The sign-in page says this one; and who took the message back needs no reason.
  const isSaid = error.code === "not_signed_in" || error.name === "AbortError";
  if (error.code === "model_not_found" || error.code === "model_not_ready") void refreshModels().catch(() => {});
  if (!stay.isHere()) {
    if (!isSaid) toastError(error);
    return false;
  }
  drop();
  batch(() => {
    messages.value = messages.value.filter((one) => one.id !== "local-answer" && one.id !== "local-question");
    running.value = null;
    awaited.value = null;
    const isGone = error.code === "not_found";
    sendError.value = isSaid ? null : { message: isGone ? text.chat.gone : error.message, isGone };
  });
  return false;
}

/**
 * @param {{ id?: string, content?: string, regenerate?: boolean, model?: string }} body
 * @param {Sending} sent
 * @returns {Promise<boolean>} whether the server has it
 */
async function run(body, sent) {
  const { conversation, stay, controller } = sent;
  let isTaken = false;
  if (stay.isHere()) {
    add({ id: "local-answer", role: "assistant", content: "", isLive: true });
    announce(text.chat.answering);
  }
  try {
    const events = api.stream("POST", `/api/conversations/${conversation}/messages`, body, controller.signal);
    await follow(whileHere(events, stay, () => { isTaken = true; taken(sent); }));
    if (!isTaken) throw new TypeError("the stream ended before it began");
    // Elsewhere nobody reads on; the answer is written all the same.
    if (!stay.isHere()) controller.abort();
    else if (running.value) await reattach(conversation, live()?.id ?? "");
    return true;
  } catch (/** @type {any} */ error) {
    if (isTaken) {
      if (stay.isHere()) await reattach(conversation, live()?.id ?? "");
      return true;
    }
    return await settleRefusal(error, body, sent);
  } finally {
    void refreshList();
    void refreshMe().catch(() => {});
  }
}

/**
 * Passes on what the server says as long as the person is here, and ends once it need not be waited for any more.
 * @param {AsyncGenerator<{ event: string, data: any }>} events
 * @param {Whereabouts} stay
 * @param {() => void} onStart
 */
async function* whileHere(events, stay, onStart) {
  for await (const one of events) {
    if (stay.isHere()) yield one;
    if (one.event === "start") onStart();
    else if (one.event === "error" && !stay.isHere()) return;
    if (one.event === "start" && !stay.isHere()) return;
  }
}

/** @param {Sending} sent the server has the message, and writes the answer whether or not anybody reads */
function taken({ conversation, stay, isFirst, controller }) {
  unsure = { conversation: "", content: "", id: "" };
  if (!stay.isHere()) {
    // Gone and come back in the meantime: what could not be seen then is there now.
    if (openId.value === conversation && !running.value) void open(conversation, { again: true });
    return;
  }
  watch(controller);
  if (isFirst) go(`/c/${conversation}`);
  if (isStopWanted) void askToStop(conversation);
  isStopWanted = false;
}

/**
 * What was sent was refused, or the connection broke before the server said whether it has it.
 * @param {any} error
 * @param {{ id?: string, content?: string }} body
 * @param {Sending} sent
 * @returns {Promise<boolean>} whether the server has it
 */
async function settleRefusal(error, body, sent) {
  const { conversation, stay, isFirst } = sent;
  if (!stay.isTheirs()) return true;
  const isOpen = !(error.status > 0) || error.status === 502 || error.status === 504;
  const stored = isOpen ? await look(sent, body.id, error.name === "AbortError") : null;
  if (stored?.hasIt) {
    unsure = { conversation: "", content: "", id: "" };
    if (stay.isHere()) {
      if (isFirst) go(`/c/${conversation}`);
      void open(conversation, { again: true });
    }
    return true;
  }
  if (isOpen && body.id && body.content) unsure = { conversation, content: body.content, id: body.id };
  // Nothing is in it, and nothing is under way to it: it need not stand in the list.
  const isEmpty = isFirst && (!isOpen || stored?.isEmpty);
  if (isEmpty && error.status !== 404) await api.delete(`/api/conversations/${conversation}`).catch(() => {});
  if (stay.isHere() && isFirst) {
    if (isEmpty) openId.value = null;
    else go(`/c/${conversation}`);
  }
  const reason = isOpen && error.name !== "AbortError" ? { code: "unreachable", message: errors.unreachable } : error;
  const hasPlace = refused(reason, stay);
  if (error.code === "conflict" && stay.isHere()) {
    // Another window got ahead of this one: what is there now is shown, and an answer that is being written is followed.
    void open(conversation, { again: true });
    sendError.value = { message: text.chat.elsewhere, isGone: false };
  }
  return hasPlace;
}

/**
 * Asks the server what it has.
 * @param {Sending} sent
 * @param {string | undefined} id the message's; an answer that is made anew has none
 * @param {boolean} isUnwanted whether what it has begun is to end
 * @returns {Promise<{ hasIt: boolean, isEmpty: boolean } | null>} null: it does not say
 */
async function look({ conversation, last }, id, isUnwanted) {
  for (let attempt = 1; attempt <= LOOKS_MAX; attempt += 1) {
    try {
      if (isUnwanted) await api.post(`/api/conversations/${conversation}/stop`).catch(() => {});
      const answer = await api.get(`/api/conversations/${conversation}`);
      const hasIt = id ? answer.messages.some((/** @type {any} */ one) => one.id === id) : answer.messages.at(-1)?.id !== last;
      if (hasIt || !answer.active) return { hasIt, isEmpty: answer.messages.length === 0 };
    } catch {
      return null;
    }
    // Something is being begun: it is on disk in a moment, or it is not this.
    await new Promise((done) => { setTimeout(done, LOOK_WAIT_MS * attempt); });
  }
  return null;
}
