// One method of one address: what it takes, what it gives, how it is asked, what can go wrong.
import { html } from "../lib.js";
import { fill } from "../messages.js";
import { words } from "../messages-docs.js";
import { CopyButton } from "../ui/parts.js";
import { form } from "./shape.js";

/** @typedef {{ id: string, method: string, path: string, summary: string, group: string, raw: any }} Operation */

/** Words in which names stand between backticks. @param {string} text */
export const marked = (text) => text.split("`").map((part, at) => (at % 2 === 0 ? part : html`<code>${part}</code>`));

/** @param {{ operation: Operation, schemas: Record<string, any> }} props */
export function OperationView({ operation, schemas }) {
  const { raw } = operation;
  const reference = raw.requestBody?.content["application/json"].schema.$ref;
  const body = reference ? schemas[reference.split("/").at(-1)] : null;
  return html`<article class="operation" id=${operation.id} aria-labelledby=${`${operation.id}-name`}>
    <h3 id=${`${operation.id}-name`}><span class="badge accent">${operation.method}</span>${" "}<code>${operation.path}</code></h3>
    <p>${operation.summary}${raw.security?.length === 0 ? ` ${words.open}` : ""}</p>
    ${(raw["x-codeSamples"] ?? []).map((/** @type {any} */ sample) => html`<${Sample} sample=${sample} />`)}
    <${Parameters} rows=${[...inHead(raw.parameters ?? []), ...inBody(body)]} />
    ${raw.responses["200"] && html`<h4>${words.answers}</h4><${Answers} content=${raw.responses["200"].content} />`}
    <details><summary>${words.errors}</summary><${Errors} responses=${raw.responses} /></details></article>`;
}

/** @param {any[]} parameters */
const inHead = (parameters) => parameters.map((one) => ({ name: one.name, schema: one.schema, isRequired: one.required,
  treatment: "", about: [words.places[one.in], one.description].filter(Boolean).join(": ") }));

/** @param {any} body */
function inBody(body) {
  const required = new Set(body?.required ?? []);
  return Object.entries(body?.properties ?? {}).map(([name, schema]) => ({ name, schema, isRequired: required.has(name),
    treatment: words.treatments[schema["x-treatment"]] ?? "", about: schema.description ?? "" }));
}

/** @param {{ sample: { label: string, source: string } }} props */
function Sample({ sample }) {
  const label = fill(words.example, { label: sample.label });
  return html`<h4>${label}</h4><div class="copy-block"><pre tabindex="0" role="group" aria-label=${label}>${sample.source}</pre>
    <${CopyButton} value=${sample.source} class="small" /></div>`;
}

/** @param {{ rows: { name: string, schema: any, isRequired: boolean, treatment: string, about: string }[] }} props */
function Parameters({ rows }) {
  if (rows.length === 0) return null;
  return html`<h4>${words.parameters}</h4><div class="table-wrap" tabindex="0" role="group" aria-label=${words.parameters}><table class="table">
    <thead><tr><th scope="col">${words.name}</th><th scope="col">${words.form}</th><th scope="col">${words.accepted}</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.name}><td><code>${row.name}</code>
      ${row.isRequired && html`<span class="badge accent">${words.required}</span>`}${row.treatment && html`<span class="badge">${row.treatment}</span>`}</td>
      <td class="of-shape">${form(row.schema)}</td><td>${marked(row.about)}</td></tr>`)}</tbody></table></div>`;
}

/** @param {{ content: Record<string, any> }} props */
function Answers({ content }) {
  return html`<ul class="list">${Object.entries(content).map(([kind, one]) => html`<li key=${kind}><span class="grow">
    <span class="mono">${kind}</span> · ${one["x-event"] ? html`${words.events} ${form(one["x-event"])}` : html`${words.whole}: ${form(one.schema)}`}</span></li>`)}</ul>`;
}

/** @param {{ responses: Record<string, any> }} props */
function Errors({ responses }) {
  const rows = Object.entries(responses).filter(([status]) => Number(status) >= 400);
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${words.errors}><table class="table">
    <thead><tr><th scope="col">${words.status}</th><th scope="col">${words.said}</th></tr></thead>
    <tbody>${rows.map(([status, one]) => html`<tr key=${status}><td>${status}</td><td>${marked(one.description)}</td></tr>`)}</tbody></table></div>`;
}
