// The text of a message: what was typed and the files that go with it as one, and taken apart again. Imports nothing.
//
//   What was typed
//
//   File 1 of 2: notes.txt
//   ```
//   what stands in the file
//   ```
//
//   File 2 of 2: …
//
// The last block says how many there are, and a fence is longer than any run of backticks within it: a file cannot end its
// own block, and what was typed is never taken for a file. The words are the format's, not of the catalogue: a message is
// kept for years, and read again in another language.

/** @typedef {{ name: string, content: string }} Attachment */

/** The longest message that the server takes. */
export const MESSAGE_BYTES_MAX = 256 * 1024;
const NAME_CHARS_MAX = 200;
/** As many bytes as the server lets a title have, whatever its letters are. */
const TITLE_CHARS_MAX = 48;
/** What UTF-16 begins with. */
const marks = new Map([["255 254", "utf-16le"], ["254 255", "utf-16be"]]);

/** @param {string} text @returns {number} its length as it travels */
export const bytesOf = (text) => new TextEncoder().encode(text).length;

/** @param {string} text */
export const linesOf = (text) => text.split("\n").length;

/**
 * @param {string} raw
 * @returns {string} a file's name on one line: without its folders, and nothing in it that would hide or turn text
 */
export function cleanName(raw) {
  const last = raw.split(/[/\\]/).at(-1) ?? "";
  const kept = [...last.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_C}`]/gu, "")].slice(0, NAME_CHARS_MAX).join("").trim();
  return kept || "unnamed";
}

/**
 * Text is UTF-8, or UTF-16 that says so at its beginning, and has no control characters but those that lay it out.
 * @param {Uint8Array} bytes
 * @returns {string | null} the lines of a file; null: it is no text
 */
export function decode(bytes) {
  const encoding = marks.get(`${bytes[0]} ${bytes[1]}`) ?? "utf-8";
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes).replace(/\r\n?/g, "\n");
    return /[^\P{Cc}\t\n\f]/u.test(text) ? null : text.replace(/\n$/, "");
  } catch {
    return null;
  }
}

/**
 * @param {string} content
 * @returns {string} backticks that end nothing within the content
 */
export function fenceOf(content) {
  let longest = 2;
  // Characters that are not seen count as not there: the guard may take them out before the model reads it.
  for (const [run] of content.matchAll(/`[`\p{Cf}\p{M}\p{DI}]*/gu)) longest = Math.max(longest, run.replace(/[^`]/g, "").length);
  return "`".repeat(longest + 1);
}

/**
 * @param {string} words
 * @param {Attachment[]} files
 * @returns {string}
 */
export function compose(words, files) {
  const blocks = files.map(({ name, content }, index) => {
    const fence = fenceOf(content);
    return `File ${index + 1} of ${files.length}: ${cleanName(name)}\n${fence}\n${content}\n${fence}`;
  });
  return (words ? [words, ...blocks] : blocks).join("\n\n");
}

/**
 * The other way round. What is not exactly as `compose` makes it is words alone.
 * @param {string} content
 * @returns {{ words: string, files: Attachment[] }}
 */
export function parse(content) {
  /** @type {Attachment[]} */
  const files = [];
  let rest = content;
  // The last block says how many stand before it.
  for (let place = 0; files.length === 0 || place > 1;) {
    const block = lastBlock(rest);
    if (!block || (files.length > 0 && block.place !== place - 1)) return { words: content, files: [] };
    place = block.place;
    files.unshift({ name: block.name, content: block.content });
    rest = block.before;
  }
  return compose(rest, files) === content ? { words: rest, files } : { words: content, files: [] };
}

/**
 * @param {string} text
 * @returns {{ place: number, name: string, content: string, before: string } | null} the block that the text ends with
 */
function lastBlock(text) {
  const closing = text.lastIndexOf("\n");
  const fence = text.slice(closing + 1);
  const from = closing - fence.length - 2;
  if (from < 1 || !/^`{3,}$/.test(fence)) return null;
  const opening = text.lastIndexOf(`\n${fence}\n`, from);
  if (opening < 1) return null;
  const begin = text.lastIndexOf("\n", opening - 1) + 1;
  const head = /^File ([1-9]\d{0,3}) of [1-9]\d{0,3}: (.+)$/.exec(text.slice(begin, opening));
  if (!head) return null;
  const content = text.slice(opening + fence.length + 2, closing);
  return { place: Number(head[1]), name: head[2] ?? "", content, before: text.slice(0, Math.max(0, begin - 2)) };
}

/**
 * @param {string} content
 * @returns {string | undefined} what a chat that begins with files is called: the first words, else the files' names
 */
export function titleFor(content) {
  const { words, files } = parse(content);
  if (files.length === 0) return undefined;
  const line = (words || files.map((one) => one.name).join(", ")).replace(/[\s\p{Cc}]+/gu, " ").trim();
  const letters = [...line];
  return letters.length > TITLE_CHARS_MAX ? `${letters.slice(0, TITLE_CHARS_MAX).join("").trimEnd()}…` : line;
}
