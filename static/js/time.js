// Times and numbers in words. Exact times stand in the title of a <time>.
import { html } from "./lib.js";
import { text } from "./messages.js";

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const steps = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity],
]);

/**
 * @param {string | null | undefined} at RFC 3339
 * @returns {string}
 */
export function ago(at) {
  if (!at) return text.never;
  let span = (Date.parse(at) - Date.now()) / 1000;
  if (Number.isNaN(span)) return text.never;
  for (const [unit, size] of steps) {
    if (Math.abs(span) < size) return relative.format(Math.round(span), unit);
    span /= size;
  }
  return text.never;
}

/** @param {{ at: string | null | undefined }} props */
export function Time({ at }) {
  if (!at) return html`<span>${text.never}</span>`;
  return html`<time dateTime=${at} title=${exact.format(new Date(at))}>${ago(at)}</time>`;
}

/** @param {number} value */
export const number = (value) => new Intl.NumberFormat().format(value);

/** @param {number} value */
export const short = (value) =>
  new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 }).format(value);

/** @param {number} bytes */
export const mebibytes = (bytes) => `${number(Math.round(bytes / 1_048_576))} MiB`;

/** @param {number} bytes of a text, as one reads it */
export function size(bytes) {
  if (bytes < 1024) return `${number(bytes)} B`;
  return bytes < 1_048_576 ? `${number(Math.round(bytes / 1024))} KiB` : mebibytes(bytes);
}

/** @param {number} seconds */
export function wait(seconds) {
  if (!Number.isFinite(seconds) || seconds <= 0) return "a moment";
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.ceil(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.ceil(seconds / 3600)} h`;
  return `${Math.ceil(seconds / 86_400)} days`;
}
