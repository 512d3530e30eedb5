// What a message with files is as text, and how it is taken apart again: without a browser.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

// By its text: what is served to browsers has no package that would tell Node that it is a module.
const source = readFileSync(new URL("../../static/js/chat/message.js", import.meta.url), "utf8");
const { bytesOf, cleanName, compose, decode, fenceOf, linesOf, parse, titleFor } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const bytes = (/** @type {string} */ text) => new TextEncoder().encode(text);
const file = (/** @type {string} */ name, /** @type {string} */ content) => ({ name, content });

/** @param {string} text in UTF-16, with its mark @param {boolean} [isBig] */
function utf16(text, isBig) {
  const made = Buffer.from(`\ufeff${text}`, "utf16le");
  return new Uint8Array(isBig ? made.swap16() : made);
}

/** A row of numbers below one that looks like chance and is the same each time. @param {number} seed */
function chance(seed) {
  let state = seed;
  return () => { state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0; return state / 2 ** 32; };
}

function format() {
  test("a message is what was typed and a block for each file", () => {
    const made = compose("Compare these.", [file("a.txt", "one"), file("b.md", "```js\nlet x;\n```")]);
    assert.equal(made, "Compare these.\n\nFile 1 of 2: a.txt\n```\none\n```\n\nFile 2 of 2: b.md\n````\n```js\nlet x;\n```\n````");
    assert.equal(compose("", [file("a.txt", "one")]), "File 1 of 1: a.txt\n```\none\n```");
    assert.equal(compose("Words", []), "Words");
  });

  test("a fence is longer than any run of backticks that the model could see", () => {
    const cases = [["", 3], ["`", 3], ["``", 3], ["```", 4], ["a `````` b\n```", 7], ["`` `` ``", 3],
      ["`\u200b`\u200b`", 4], ["``\u0301`", 4], ["`\ufe0f`\u2060`\u00ad`", 5]];
    for (const [content, length] of cases) assert.equal(fenceOf(content), "`".repeat(Number(length)), JSON.stringify(content));
  });

  test("whatever stands in files and in what was typed, it is taken apart as it was put together", () => {
    const next = chance(7);
    const pick = (/** @type {string[]} */ list) => list[Math.floor(next() * list.length)] ?? "";
    const pieces = ["`", "``", "```", "````", "\n", "\n\n", "File 1 of 1: x", "File 1 of 2: a.txt", "File 2 of 2: b", "a", " ", "\t", "\f", "\u200b", "é", "😀"];
    const text = () => Array.from({ length: Math.floor(next() * 12) }, () => pick(pieces)).join("");
    for (let round = 0; round < 20_000; round += 1) {
      const files = Array.from({ length: 1 + Math.floor(next() * 3) }, () => file(cleanName(text()), text()));
      const words = text().trim();
      const made = compose(words, files);
      assert.deepEqual(parse(made), { words, files }, JSON.stringify(made));
    }
  });

  test("what only looks like files is words, and is sent again as it was", () => {
    const block = "File 1 of 1: a\n```\nx\n```";
    const plain = ["", "Words", "```\nx\n```", "`````", "\n```\n\n```", block.replace("1 of 1", "1 of 2"), block.replace("1 of 1", "2 of 2"),
      block.replace("1 of 1", "0 of 0"), block.replace("1 of 1", "01 of 1"), block.replace("File", "file"), `${block}\n`, `${block} `, `\n${block}`,
      `\n\n${block}`, `Words\n${block}`, `Words ${block}`, block.replaceAll("```", "````"), block.replace("x", "```"), block.replace(": a", ": "),
      block.replace(": a", ": a/b"), block.replace(": a", ": a`"), block.replace("```\nx", "```js\nx"), "File 1 of 1: a\n```\n```", `${block}\n\n${block}`.slice(0, -1)];
    for (const content of plain) assert.deepEqual(parse(content), { words: content, files: [] }, JSON.stringify(content));
    assert.deepEqual(parse(`${block}\n\n${block}`), { words: block, files: [file("a", "x")] }, "what was typed is no file");
  });
}

function files() {
  test("names stand on one line, without folders and without what hides or turns text", () => {
    const cases = [["a.txt", "a.txt"], ["/etc/passwd", "passwd"], ["C:\\Users\\ada\\notes.md", "notes.md"], ["a\nb\r\tc\u0000.txt", "abc.txt"],
      ["`a`.txt", "a.txt"], ["exe\u202etxt.bat", "exetxt.bat"], ["a\u2028b\u0085c", "abc"], ["  a  ", "a"], ["", "unnamed"], ["a/", "unnamed"], ["```", "unnamed"],
      ["é😀.txt", "é😀.txt"], ["😀".repeat(300), "😀".repeat(200)], [`${"a".repeat(199)} b`, "a".repeat(199)]];
    for (const [raw, name] of cases) {
      assert.equal(cleanName(raw), name, JSON.stringify(raw));
      assert.equal(cleanName(name), name, "cleaned once, a name stays");
    }
  });

  test("text is what decodes as UTF-8, or as UTF-16 with its mark, and has no control characters", () => {
    const cases = /** @type {[Uint8Array, string][]} */ ([[bytes("a\tb\n\fc\n"), "a\tb\n\fc"], [bytes("\ufeffmarked"), "marked"], [bytes("a\r\nb\rc\r\n"), "a\nb\nc"],
      [bytes("a\n\n"), "a\n"], [bytes("é 😀 文"), "é 😀 文"], [utf16("é 😀\r\n"), "é 😀"], [utf16("é 😀", true), "é 😀"], [bytes(""), ""], [bytes("\n"), ""]]);
    for (const [given, text] of cases) assert.equal(decode(given), text);
  });

  test("anything else is no text", () => {
    const png = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
    const refused = [png, [0x50, 0x4b, 0x03, 0x04], [...bytes("%PDF-1.7\n%"), 0xe2, 0xe3, 0xcf, 0xd3], [0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80],
      [0x61, 0x00], [0x1b, 0x5b, 0x31, 0x6d], [0x07], [0x7f], [0xc2, 0x9b], [...bytes("café")].map((byte) => (byte > 0x7f ? 0xe9 : byte)),
      [0xff, 0xfe, 0x00], [0xff, 0xfe, 0x00, 0xd8], [0xff, 0xfe, 0x00, 0x00, 0x61, 0x00, 0x00, 0x00], [0x61, 0x00, 0x62, 0x00]];
    for (const given of refused) assert.equal(decode(new Uint8Array(given)), null, given.join(" "));
  });

  test("lengths are those of what is sent, and a chat is named by its words, or else by its files", () => {
    assert.equal(bytesOf("é😀"), 6);
    assert.deepEqual([linesOf("a"), linesOf("a\nb"), linesOf("a\n")], [1, 2, 2]);
    const one = file("notes.txt", "x");
    assert.equal(titleFor("Just words"), undefined);
    assert.equal(titleFor(compose("Sum\n this\u0001 up", [one])), "Sum this up");
    assert.equal(titleFor(compose("", [one, file("b.md", "y")])), "notes.txt, b.md");
    const long = titleFor(compose("😀".repeat(300), [one]));
    assert.equal(long, `${"😀".repeat(48)}…`);
    assert.ok(bytesOf(long) <= 200, "longer than the server takes");
  });
}

export function message() {
  format();
  files();
}
