// The audit log as sentences; the raw event one click away; verification with the head it checked.
import { html, useEffect, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin, auditPhrases } from "../messages-admin.js";
import { ago, number, Time } from "../time.js";
import { Icon } from "../ui/icons.js";
import { CopyLine, Dialog, Empty, Notice, Select } from "../ui/parts.js";
import { Head } from "./head.js";

const text = admin.audit;
const PAGE = 50;
/** @typedef {{ seq: number, at: string, action: string, outcome: string, actor: string, actor_name: string | null, subject: string | null, address: string | null, request_id: string | null, detail: any }} AuditEvent */
/** @type {Record<string, string>} */
const phrases = auditPhrases;

export function AuditPage() {
  const [events, setEvents] = useState(/** @type {AuditEvent[] | null} */ (null));
  const [hasMore, setMore] = useState(false);
  const [filter, setFilter] = useState({ action: "", actor: "" });
  const [people, setPeople] = useState(/** @type {Map<string, string>} */ (new Map()));
  const [open, setOpen] = useState(/** @type {AuditEvent | null} */ (null));
  const [error, setError] = useState("");
  const load = async (/** @type {AuditEvent[]} */ before) => {
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
    const last = before.at(-1);
    if (last) query.set("before", String(last.seq));
    try {
      const answer = await api.get(`/api/admin/audit?${query}`);
      setEvents([...before, ...answer.events]);
      // The names to choose from are those seen so far: asking for the list of people would be one more event.
      setPeople((known) => new Map([...known, ...answer.events.filter((/** @type {AuditEvent} */ one) => one.actor_name)
        .map((/** @type {AuditEvent} */ one) => [one.actor.split("/")[0], one.actor_name])]));
      setMore(answer.events.length === PAGE);
      setError("");
    } catch (/** @type {any} */ cause) { setError(cause.message); }
  };
  useEffect(() => { void load([]); }, [filter]);
  const actions = Object.keys(phrases).sort().map((name) => /** @type {[string, string]} */ ([name, name]));
  return html`<${Head} title=${text.title} lead=${text.lead} /><${Verify} />
    <div class="filters"><${Select} compact label=${text.filterAction} value=${filter.action} options=${[["", text.any], ...actions]} onChange=${(/** @type {string} */ action) => setFilter({ ...filter, action })} />
      ${people.size > 0 && html`<${Select} compact label=${text.filterActor} value=${filter.actor} options=${[["", text.any], ...people]} onChange=${(/** @type {string} */ actor) => setFilter({ ...filter, actor })} />`}</div>
    ${error && html`<${Notice} kind="bad" role="alert">${error}</${Notice}>`}
    ${events?.length === 0 && html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`}
    ${events && events.length > 0 && html`<ul class="audit-list">${events.map((one) => html`<li key=${one.seq}><${Row} event=${one} onOpen=${() => setOpen(one)} /></li>`)}</ul>`}
    ${events && hasMore && html`<p class="row more"><button type="button" class="button" onClick=${() => void load(events)}>${text.more}</button></p>`}
    <p class="quiet small more">${text.export}</p>
    ${open && html`<${Drawer} event=${open} onClose=${() => setOpen(null)} />`}`;
}

/** @param {AuditEvent} event @returns {[string, string]} who, and what they did */
function sentence(event) {
  const who = event.actor_name ?? (event.actor === "system" ? text.system : text.someone);
  const did = phrases[event.action] ?? event.action;
  const outcome = /** @type {Record<string, string>} */ (text.outcomes)[event.outcome.toLowerCase()] ?? event.outcome;
  return [who, outcome ? `${did}: ${outcome}` : did];
}

/** @param {{ event: AuditEvent, onOpen: () => void }} props */
function Row({ event, onOpen }) {
  const [who, did] = sentence(event);
  const isBad = ["denied", "failed"].includes(event.outcome.toLowerCase());
  return html`<button type="button" class="audit-row" aria-haspopup="dialog" onClick=${onOpen}>
    <span class=${isBad ? "state-failing" : "quiet"}><${Icon} name=${isBad ? "cross" : "check"} size="small" /></span>
    <span><strong>${who}</strong> ${did} ${event.address && html`<span class="quiet">· ${event.address}</span>`}</span>
    <span class="quiet nowrap"><${Time} at=${event.at} /></span></button>`;
}

function Verify() {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [isBusy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try { setFound(await api.post("/api/admin/audit/verify")); } catch (/** @type {any} */ cause) { setFound({ error: cause.message }); }
    setBusy(false);
  };
  return html`<div class="verify stack-tight"><button type="button" class="button" disabled=${isBusy} onClick=${run}><${Icon} name="seal" size="small" />${isBusy ? text.verifying : text.verify}</button>
    <div role="status">${found && html`<${Found} found=${found} />`}</div></div>`;
}

/** @param {{ found: any }} props */
function Found({ found }) {
  if (found.error) return html`<${Notice} kind="bad">${found.error}</${Notice}>`;
  if (!found.ok) return html`<${Notice} kind="bad"><strong>${text.bad}</strong><ul>${found.problems.map((/** @type {string} */ one) => html`<li>${one}</li>`)}</ul></${Notice}>`;
  return html`<${Notice} kind="good" icon="seal">${fill(text.good, { size: number(found.size) })} ${found.signed_at && `${text.head}: ${fill(text.signed, { when: ago(found.signed_at) })}.`}
    <div class="mono">${found.root}</div></${Notice}>`;
}

/** @param {{ event: AuditEvent, onClose: () => void }} props */
function Drawer({ event, onClose }) {
  const names = text.facts;
  const [who, did] = sentence(event);
  const facts = [[names.who, event.actor], [names.action, event.action], [names.outcome, event.outcome], [names.subject, event.subject], [names.address, event.address], [names.request, event.request_id]];
  return html`<${Dialog} isDrawer title=${fill(text.event, { seq: event.seq })} onClose=${onClose}><div class="stack"><p><strong>${who}</strong> ${did}</p>
    <dl class="facts"><dt>${names.when}</dt><dd>${event.at}</dd>${facts.map(([name, value]) => value && html`<dt>${name}</dt><dd class="mono">${value}</dd>`)}</dl>
    <h3>${text.raw}</h3><pre class="raw" tabindex="0">${JSON.stringify(event, null, 2)}</pre>
    ${event.request_id && html`<${CopyLine} value=${event.request_id} />`}
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.close}</button></div></div></${Dialog}>`;
}
