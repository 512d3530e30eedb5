// Posture: one card a practice, its worst item first, with evidence and the act that mends it.
import { html } from "../lib.js";
import { counted, fill } from "../messages.js";
import { admin } from "../messages-admin.js";
import { Icon } from "../ui/icons.js";
import { Loaded, useLoad } from "../ui/load.js";
import { Notice } from "../ui/parts.js";
import { Head } from "./head.js";

const text = admin.overview;
/** @typedef {{ id: string, title: string, state: "met" | "due" | "failing", evidence: string, action?: string | null }} Item */
/** @type {Record<string, number>} */
const order = { failing: 0, due: 1, met: 2 };
/** @type {Record<string, string>} */
const icons = { met: "check", due: "warn", failing: "cross" };
/** @type {Record<string, string>} */
const badges = { met: "good", due: "warn", failing: "bad" };

export function OverviewPage() {
  const load = useLoad("/api/admin/posture");
  const open = useLoad("/api/admin/overview").data?.alerts_open ?? 0;
  return html`<${Head} title=${text.title} lead=${text.lead} />
    ${open > 0 && html`<${Notice} kind="warn">${counted(open, text.alerts.one, text.alerts.many)}. <a href="/admin/alerts">${text.seeAlerts}</a></${Notice}>`}
    <${Loaded} from=${load}>${(/** @type {any} */ data) => html`<div class="cards">
      ${data.practices.map((/** @type {any} */ one) => html`<${Practice} key=${one.id} practice=${one} />`)}</div>`}</${Loaded}>`;
}

/** @param {{ practice: { title: string, items: Item[] } }} props */
function Practice({ practice }) {
  const items = [...practice.items].sort((a, b) => (order[a.state] ?? 0) - (order[b.state] ?? 0));
  const worst = items[0]?.state ?? "met";
  const met = items.filter((one) => one.state === "met").length;
  // What needs a person stays in sight; what is met is one click away, except the first when all are.
  const open = worst === "met" ? items.slice(0, 1) : items.filter((one) => one.state !== "met");
  const rest = items.filter((one) => !open.includes(one));
  return html`<section class="card practice"><div class="row-apart"><h2>${practice.title}</h2>
      <span class=${`badge ${badges[worst] ?? ""}`}><${Icon} name=${icons[worst] ?? "info"} size="small" />${fill(text.count, { met, count: items.length })}</span></div>
    <ul>${open.map((one) => html`<${Entry} item=${one} />`)}</ul>
    ${rest.length > 0 && html`<details><summary>${counted(rest.length, text.rest.one, text.rest.many)}</summary>
      <ul>${rest.map((one) => html`<${Entry} item=${one} />`)}</ul></details>`}</section>`;
}

/** @param {string} words  with commands between backticks */
const withCommands = (words) => words.split("`").map((part, at) => (at % 2 === 1 ? html`<code>${part}</code>` : part));

/** @param {{ item: Item }} props */
function Entry({ item }) {
  const states = /** @type {Record<string, string>} */ (text.states);
  return html`<li><span class=${`state-${item.state}`}><${Icon} name=${icons[item.state] ?? "info"} size="small" /><span class="visually-hidden">${states[item.state]}</span></span>
    <div><div>${item.title}</div><div class="evidence">${withCommands(item.evidence)}</div>${item.action && item.state !== "met" && html`<div class="act">${withCommands(item.action)}</div>`}</div></li>`;
}
