// The reference of the API: reads the specification of this very server and shows it. Needs no account.
import { html, render, useEffect, useState } from "../lib.js";
import { fill } from "../messages.js";
import { words } from "../messages-docs.js";
import { Icon } from "../ui/icons.js";
import { CopyLine, Notice, Toasts } from "../ui/parts.js";
import { OperationView } from "./operation.js";
import { Shape } from "./shape.js";

/** @param {any} document @returns {import("./operation.js").Operation[]} */
function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, raw]) =>
    ({ id: raw.operationId, method: method.toUpperCase(), path, summary: raw.summary, group: raw.tags[0], raw })));
}

/** Goes to the place that the address names, which is there only now. */
function goThere() {
  // Anybody can write an address that is not one.
  const place = URL.parse(location.href)?.hash.slice(1) ?? "";
  const id = place.includes("%") ? "" : place;
  if (id) document.getElementById(id)?.scrollIntoView();
}

function Page() {
  const [state, setState] = useState(/** @type {{ document: any, error: string }} */ ({ document: null, error: "" }));
  const load = async () => {
    setState({ document: null, error: "" });
    try {
      const answer = await fetch("/openapi.json");
      if (!answer.ok) throw new Error(String(answer.status));
      setState({ document: await answer.json(), error: "" });
    } catch (/** @type {any} */ cause) {
      setState({ document: null, error: fill(words.failed, { why: cause.message }) });
    }
  };
  useEffect(() => { void load(); }, []);
  useEffect(() => { if (state.document) goThere(); }, [state.document]);
  if (state.error) {
    return html`<main class="page narrow" id="content"><h1>${words.title}</h1>
      <${Notice} kind="bad" role="alert">${state.error} <button type="button" class="button small" onClick=${load}>${words.again}</button></${Notice}></main>`;
  }
  if (!state.document) return html`<main class="waiting" id="content"><p role="status">${words.loading}</p></main>`;
  return html`<${Reference} document=${state.document} />`;
}

/** @param {{ document: any }} props */
function Reference({ document }) {
  const operations = operationsOf(document);
  const groups = document.tags.map((/** @type {any} */ tag) => ({ name: tag.name, of: operations.filter((one) => one.group === tag.name) }));
  const { schemas } = document.components;
  // Bodies stand at their operations.
  const shapes = Object.entries(schemas).filter(([name]) => !operations.some((one) =>
    one.raw.requestBody?.content["application/json"].schema.$ref.endsWith(`/${name}`)));
  return html`<a class="skip-link" href="#content">${words.skip}</a><div class="docs"><nav class="docs-nav" aria-label=${words.contents}>
      <a class="brand" href="/" target="_self"><${Icon} name="seal" />${words.app}</a>
      ${groups.map((/** @type {any} */ group) => html`<p class="nav-title">${group.name}</p><ul>${group.of.map((/** @type {any} */ one) =>
        html`<li key=${one.id}><a href=${`#${one.id}`}>${one.method} ${one.path}</a></li>`)}</ul>`)}
      <ul><li><a href="#shapes">${words.shapes}</a></li></ul></nav>
    <main id="content" tabindex="-1"><h1>${words.title}</h1><div class="stack">
        <p>${words.about}</p><p class="quiet small">${words.before}</p>
        <${CopyLine} value=${`export STRONGROOM_URL=${location.origin} STRONGROOM_KEY=sr-…`} />
        <p class="small"><a href="/openapi.json" target="_self">${words.file}</a> · ${document.info.title} ${document.info.version}</p></div>
      ${groups.map((/** @type {any} */ group) => html`<section class="section spaced" key=${group.name}><h2>${group.name}</h2>
        ${group.of.map((/** @type {any} */ one) => html`<${OperationView} key=${one.id} operation=${one} schemas=${schemas} />`)}</section>`)}
      <section class="section spaced" id="shapes"><h2>${words.shapes}</h2><p class="about">${words.shapesAbout}</p>
        ${shapes.map(([name, schema]) => html`<${Shape} key=${name} name=${name} schema=${schema} />`)}</section></main></div>`;
}

/** @type {HTMLElement | null} */
const root = document.getElementById("app");
if (root) render(html`<${Page} /><${Toasts} />`, root);
