// Further names of models: made and taken away.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { may, toast } from "../state.js";
import { TaskForm, useTask } from "../ui/load.js";
import { Dialog, Field, Notice } from "../ui/parts.js";

/** @param {{ model: string, onClose: () => void, onChange: () => Promise<void> }} props */
export function NewAlias({ model, onClose, onChange }) {
  const text = admin.models;
  const [alias, setAlias] = useState("");
  const task = useTask(async () => {
    await api.post("/api/admin/model-aliases", { alias: alias.trim(), model });
    toast(fill(text.aliasSaved, { alias: alias.trim(), name: model }));
    onClose();
    await onChange();
  });
  return html`<${Dialog} title=${fill(text.aliasTitle, { name: model })} onClose=${onClose}><${TaskForm} task=${task}>
    <${Field} label=${text.alias} value=${alias} onInput=${setAlias} hint=${text.aliasHint} maxlength=${128} required autofocus />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button primary" disabled=${task.isBusy || alias.trim() === ""}>${common.save}</button></div></${TaskForm}></${Dialog}>`;
}

/** @param {{ aliases: { alias: string, model: string }[], onChange: () => Promise<void> }} props */
export function Aliases({ aliases, onChange }) {
  const text = admin.models;
  const task = useTask(async (/** @type {string} */ alias) => {
    await api.delete(`/api/admin/model-aliases/${encodeURIComponent(alias)}`);
    toast(fill(text.aliasGone, { alias }));
    await onChange();
  });
  if (aliases.length === 0) return null;
  return html`<section class="section spaced"><h2>${text.aliases}</h2><p class="about">${text.aliasesAbout}</p>
    ${task.error && html`<${Notice} kind="bad" role="alert">${task.error}</${Notice}>`}
    <ul class="list">${aliases.map(({ alias, model }) => html`<li key=${alias}><div class="grow"><span class="mono">${alias}</span> <span class="quiet">${fill(text.aliasOf, { name: model })}</span></div>
      ${may("models.manage") && html`<button type="button" class="button small" disabled=${task.isBusy} aria-label=${fill(text.aliasRemoveOf, { alias })} onClick=${() => void task.run(alias)}>${text.aliasRemove}</button>`}</li>`)}</ul></section>`;
}
