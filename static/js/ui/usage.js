// Figures of use, as the administration and one's own page show them.
import { html } from "../lib.js";
import { fill, text } from "../messages.js";
import { number } from "../time.js";

/**
 * @typedef {{ requests: number, input_tokens: number, cached_tokens: number, output_tokens: number, cost: string }} Used
 * @typedef {{ day?: string, person_id?: string, person?: string, key_id?: string, key_hint?: string, model?: string, kind?: string, used: Used }} Row
 * @typedef {{ from: string, to: string, group_by: string[], currency: string, has_prices: boolean, rows: Row[], total: Used }} Report
 */

/** @param {Report} report @returns {boolean} whether there is a cost to show */
export const costed = (report) => report.has_prices || report.total.cost !== "0";

/** @param {string} cost  an exact decimal number @param {string} currency */
function money(cost, currency) {
  // Shown in short; the exact number stands in the title.
  return new Intl.NumberFormat(undefined, { style: "currency", currency, maximumFractionDigits: 4 }).format(Number(cost));
}

/** @param {{ report: Report }} props */
export function Heads({ report }) {
  const names = text.usage;
  return html`<th scope="col" class="end">${names.requests}</th><th scope="col" class="end">${names.input}</th><th scope="col" class="end">${names.cached}</th><th scope="col" class="end">${names.output}</th>
    ${costed(report) && html`<th scope="col" class="end">${fill(names.cost, { currency: report.currency })}</th>`}`;
}

/** @param {{ used: Used, report: Report }} props */
export function Figures({ used, report }) {
  const all = [used.requests, used.input_tokens, used.cached_tokens, used.output_tokens];
  return html`${all.map((one) => html`<td class="end">${number(one)}</td>`)}
    ${costed(report) && html`<td class="end nowrap" title=${`${used.cost} ${report.currency}`}>${money(used.cost, report.currency)}</td>`}`;
}
