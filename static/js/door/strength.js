// A kind word about a password while it is typed. The server decides; this only saves a round trip.
import { html } from "../lib.js";
import { fill, text } from "../messages.js";

export const PASSWORD_CHARS_MIN = 15;
const common = ["password", "passwort", "strongroom", "letmein", "qwerty", "123456", "iloveyou", "welcome", "admin"];

/**
 * @param {string} value
 * @param {string[]} names that the password must not consist of
 * @returns {{ level: 0 | 1 | 2 | 3 | 4, words: string }}
 */
export function strengthOf(value, names = []) {
  const count = [...value].length;
  if (count === 0) return { level: 0, words: "" };
  const lower = value.toLowerCase();
  const rest = [...common, ...names.filter((name) => name.length > 2)]
    .reduce((left, word) => left.split(word.toLowerCase()).join(""), lower).replace(/[\d\s!.?-]+/g, "");
  const variety = new Set(lower).size;
  if (count >= PASSWORD_CHARS_MIN && (rest.length < 4 || variety < 6)) return { level: 1, words: text.door.common };
  if (count < 8 || variety < 5) return { level: 1, words: said(1, count) };
  if (count < PASSWORD_CHARS_MIN) return { level: 2, words: said(2, count) };
  return count >= 22 ? { level: 4, words: said(4, count) } : { level: 3, words: said(3, count) };
}

/** @param {number} level @param {number} count */
const said = (level, count) => fill(text.door.strength[level] ?? "", { missing: PASSWORD_CHARS_MIN - count });

/** @param {{ value: string, names?: string[] }} props */
export function Strength({ value, names }) {
  const { level, words } = strengthOf(value, names);
  if (level === 0) return html`<div class="strength">${text.door.passwordHint}</div>`;
  return html`<div class="strength"><meter min="0" max="4" low="2" high="3" optimum="4" value=${level} aria-label=${words}></meter><span role="status">${words}</span></div>`;
}
