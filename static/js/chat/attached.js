// The files that go with the message that is being typed: read here, by their bounds, and kept as long as the draft is.
import { signal } from "../lib.js";
import { counted, fill, text } from "../messages.js";
import { announce } from "../state.js";
import { size } from "../time.js";
import { bytesOf, cleanName, compose, decode, MESSAGE_BYTES_MAX } from "./message.js";

/** @typedef {import("./message.js").Attachment} Attachment */

export const FILES_MAX = 10;

/** @type {import("../../vendor/signals.js").Signal<Attachment[]>} */
export const attached = signal([]);
/** Why files were not attached, one sentence each. @type {import("../../vendor/signals.js").Signal<string[]>} */
export const refusals = signal([]);
/** How many choices of files are still being read. */
export const reading = signal(0);

/** One choice after the other: each sees what the one before has left room for. */
let queue = Promise.resolve();
/** How often the window was made another person's. */
let people = 0;

/**
 * Reads files, and attaches those that are text and have room.
 * @param {Iterable<File>} files
 * @param {string} words what is typed already, which needs its room too
 * @returns {Promise<void>}
 */
export function attach(files, words) {
  const list = [...files];
  const person = people;
  const isTheirs = () => person === people;
  if (list.length === 0) return queue;
  reading.value += 1;
  queue = queue.then(() => readAll(list, words.trim(), isTheirs)).finally(() => { if (isTheirs()) reading.value -= 1; });
  return queue;
}

/** @param {File[]} files @param {string} words @param {() => boolean} isTheirs */
async function readAll(files, words, isTheirs) {
  const { files: said } = text.chat;
  if (!isTheirs()) return;
  refusals.value = [];
  const room = Math.max(0, FILES_MAX - attached.value.length);
  /** @type {string[]} */
  const wrong = [];
  /** @type {string[]} */
  const names = [];
  for (const file of files.slice(0, room)) {
    const name = cleanName(file.name);
    const found = await read(file, name, words);
    if (!isTheirs()) return;
    if ("content" in found) {
      names.push(name);
      attached.value = [...attached.value, { name, content: found.content }];
    } else {
      wrong.push(fill(found.why, { name, limit: size(MESSAGE_BYTES_MAX) }));
    }
  }
  const left = files.length - room;
  if (left > 0) wrong.push(fill(counted(left, said.tooMany.one, said.tooMany.many), { max: FILES_MAX }));
  refusals.value = wrong;
  if (names.length > 0) announce(fill(counted(names.length, said.attached.one, said.attached.many), { name: names[0] }));
}

/**
 * @param {File} file
 * @param {string} name
 * @param {string} words
 * @returns {Promise<{ content: string } | { why: string }>}
 */
async function read(file, name, words) {
  const { binary, empty, noRoom, tooLarge, unreadable } = text.chat.files;
  if (file.size === 0) return { why: empty };
  if (file.size > MESSAGE_BYTES_MAX) return { why: tooLarge };
  if (bytesOf(compose(words, attached.value)) + file.size > MESSAGE_BYTES_MAX) return { why: noRoom };
  let bytes;
  try { bytes = new Uint8Array(await file.arrayBuffer()); } catch { return { why: unreadable }; }
  const content = decode(bytes);
  if (content === null) return { why: binary };
  if (!content.trim()) return { why: empty };
  const together = compose(words, [...attached.value, { name, content }]);
  return bytesOf(together) > MESSAGE_BYTES_MAX ? { why: noRoom } : { content };
}

/** @param {Attachment} file */
export function detach(file) {
  attached.value = attached.value.filter((one) => one !== file);
  refusals.value = [];
  announce(fill(text.chat.files.removed, { name: file.name }));
}

/** Forgets what a person attached: another one is about to use this window. */
export function forgetAttached() {
  people += 1;
  queue = Promise.resolve();
  attached.value = [];
  refusals.value = [];
  reading.value = 0;
}
