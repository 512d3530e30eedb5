// Fields for limits of tokens, and what was used of limits in words.
import { html } from "../lib.js";
import { fill, text } from "../messages.js";
import { number } from "../time.js";
import { Field } from "./parts.js";

/** @typedef {Record<string, number | null>} Limits */
const fields = ["tokens_per_minute", "tokens_per_day", "tokens_per_month"];

/** What stands in the fields of these limits. @param {Limits} [limits] @returns {Record<string, string>} */
export const typedOf = (limits = {}) => Object.fromEntries(fields.map((name) => [name, limits[name] ? String(limits[name]) : ""]));

/**
 * The limits that were typed, over those that have no field here.
 * @param {Record<string, string>} typed
 * @param {Limits} [rest]
 * @returns {Limits}
 */
export function limitsOf(typed, rest = {}) {
  const others = Object.entries(rest).filter(([name, limit]) => limit !== null && !fields.includes(name));
  const given = fields.filter((name) => typed[name]?.trim()).map((name) => [name, Number(typed[name])]);
  return Object.fromEntries([...others, ...given]);
}

/** Whether every field is empty or a limit. @param {Record<string, string>} typed */
export const areLimits = (typed) => fields.every((name) => !typed[name]?.trim() || /^[1-9]\d{0,11}$/.test(typed[name].trim()));

/** @param {{ legend: string, hint: string, typed: Record<string, string>, onChange: (typed: Record<string, string>) => void }} props */
export function LimitFields({ legend, hint, typed, onChange }) {
  return html`<fieldset class="plain-set"><legend class="label">${legend}</legend><p class="hint">${hint}</p>
    ${fields.map((name) => html`<${Field} key=${name} label=${text.limits[name]} type="number" value=${typed[name] ?? ""} maxlength=${12}
      onInput=${(/** @type {string} */ value) => onChange({ ...typed, [name]: value })} />`)}</fieldset>`;
}

/** @param {{ name: string, meter: import("../state.js").Meter }} props */
export function Meter({ name, meter }) {
  return html`<div class="figure-item"><dt>${name}</dt><dd>${spent(meter)}</dd></div>`;
}

/** @param {import("../state.js").Meter} meter */
export function spent(meter) {
  return meter.limit ? `${number(meter.used)} / ${number(meter.limit)}` : fill(text.limits.none, { used: number(meter.used) });
}

/** The limits of tokens that are set, in words. @param {Limits | null | undefined} limits */
export function limitWords(limits) {
  return fields.filter((name) => limits?.[name]).map((name) => fill(text.limits.short[name], { limit: number(Number(limits?.[name])) }));
}
