// Usage: who used which model how much, and what it cost; as a table here, and as a file.
import { html, useState } from "../lib.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { Icon } from "../ui/icons.js";
import { Loaded, useLoad } from "../ui/load.js";
import { Empty, Select } from "../ui/parts.js";
import { Figures, Heads, costed } from "../ui/usage.js";
import { Head } from "./head.js";

const text = admin.usage;
const DAY_MS = 86_400_000;
/** @typedef {import("../ui/usage.js").Report} Report */
/** @typedef {import("../ui/usage.js").Row} Row */

/** @param {number} daysBack @returns {string} the day in UTC, as the ledger counts */
const day = (daysBack) => new Date(Date.now() - daysBack * DAY_MS).toISOString().slice(0, 10);

/** @type {Record<string, () => [string, string]>} the first and the last day */
const periods = {
  today: () => [day(0), day(0)],
  week: () => [day(6), day(0)],
  month: () => [day(29), day(0)],
  thisMonth: () => [`${day(0).slice(0, 7)}-01`, day(0)],
  lastMonth: () => {
    const end = new Date(Date.parse(`${day(0).slice(0, 7)}-01`) - DAY_MS).toISOString().slice(0, 10);
    return [`${end.slice(0, 7)}-01`, end];
  },
  year: () => [day(364), day(0)],
};

export function UsagePage() {
  const [period, setPeriod] = useState("month");
  const [by, setBy] = useState("person");
  const [from, to] = (periods[period] ?? periods.month)?.() ?? [day(29), day(0)];
  const path = `/api/admin/usage?${new URLSearchParams({ from, to, group_by: by })}`;
  const load = useLoad(path);
  return html`<${Head} title=${text.title} lead=${text.lead}><a class="button" href=${`${path}&format=csv`} download><${Icon} name="down" size="small" />${text.download}</a></${Head}>
    <div class="filters"><${Select} compact label=${text.period} value=${period} options=${Object.entries(text.periods)} onChange=${setPeriod} />
      <${Select} compact label=${text.by} value=${by} options=${Object.entries(text.groups)} onChange=${setBy} /></div>
    <${Loaded} from=${load}>${(/** @type {Report} */ report) => report.rows.length === 0
      ? html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>` : html`<${Table} report=${report} />`}</${Loaded}>`;
}

/** @param {{ report: Report }} props */
function Table({ report }) {
  const isByDay = report.group_by.includes("day");
  // Days stay in their order; elsewhere whoever used most stands first.
  const rows = isByDay ? report.rows : [...report.rows].sort((a, b) => weight(b) - weight(a));
  return html`<p class="quiet small">${fill(text.days, { from: report.from, to: report.to })}</p>
    <div class="table-wrap" tabindex="0" role="region" aria-label=${text.title}><table class="table"><thead><tr>${report.group_by.map((group) => html`<th scope="col">${names[group]}</th>`)}<${Heads} report=${report} /></tr></thead>
      <tbody>${rows.map((row) => html`<tr key=${[row.day, row.person_id, row.key_id, row.model, row.kind].join(" ")}>${report.group_by.map((group) => html`<td>${cell(group, row)}</td>`)}<${Figures} used=${row.used} report=${report} /></tr>`)}</tbody>
      <tfoot><tr><th scope="row" colspan=${report.group_by.length}>${text.total}</th><${Figures} used=${report.total} report=${report} /></tr></tfoot></table></div>
    ${!costed(report) && html`<p class="quiet small more">${text.noPrices}</p>`}`;
}

/** @type {Record<string, string>} */
const names = text.columns;

/** @param {Row} row */
const weight = (row) => row.used.input_tokens + row.used.output_tokens;

/** @param {string} group @param {Row} row */
function cell(group, row) {
  if (group === "person") {
    if (row.person) return html`<span class="name">${row.person}</span>`;
    return row.person_id === "system" ? text.server : html`<span class="quiet">${text.deleted}</span> <span class="mono">${row.person_id}</span>`;
  }
  if (group === "key") return row.key_id ? html`<span class="mono">${row.key_id}</span>${row.key_hint && html` <span class="quiet">…${row.key_hint}</span>`}` : html`<span class="quiet">${text.noKey}</span>`;
  if (group === "kind") return /** @type {Record<string, string>} */ (common.kinds)[row.kind ?? ""] ?? row.kind;
  return group === "day" ? html`<span class="nowrap">${row.day}</span>` : row.model;
}
