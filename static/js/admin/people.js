// People: invite, roles, disable, reset, delete. Links are shown once.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { fill, text as common } from "../messages.js";
import { admin } from "../messages-admin.js";
import { may, me, refreshMe, toast, toastError } from "../state.js";
import { Time } from "../time.js";
import { Icon } from "../ui/icons.js";
import { Loaded, TaskForm, useLoad, useTask } from "../ui/load.js";
import { Confirm, CopyLine, Dialog, Empty, Field, Menu } from "../ui/parts.js";
import { Groups } from "./groups.js";
import { Head } from "./head.js";

const text = admin.people;
/** @typedef {{ id: string, username: string, display_name: string, roles: string[], disabled: boolean, invited?: boolean, created_at?: string }} Person */

export function PeoplePage() {
  const load = useLoad("/api/admin/people");
  const roles = useLoad("/api/admin/roles");
  const [filter, setFilter] = useState("");
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  const matching = (/** @type {Person} */ one) => `${one.username} ${one.display_name} ${one.roles.join(" ")}`.toLowerCase().includes(filter.toLowerCase());
  const names = (roles.data?.roles ?? []).map((/** @type {any} */ one) => one.name);
  return html`<${Head} title=${text.title} lead=${text.lead}>${may("people.manage") && html`<button type="button" class="button primary"
      onClick=${() => setOpen({ kind: "invite" })}><${Icon} name="plus" size="small" />${text.invite}</button>`}</${Head}>
    <div class="filters"><${Field} label=${text.filter} type="search" class="compact" value=${filter} onInput=${setFilter} /></div>
    <${Loaded} from=${load}>${(/** @type {any} */ data) => {
      const list = data.people.filter(matching);
      if (list.length === 0) return html`<${Empty} title=${text.none}><p>${text.noneAbout}</p></${Empty}>`;
      return html`<${Table} list=${list} onOpen=${setOpen} onChange=${load.reload} />`;
    }}</${Loaded}>
    ${load.data && html`<${Groups} people=${load.data.people} />`}
    <${Dialogs} open=${open} names=${names} onClose=${close} onOpen=${setOpen} onChange=${load.reload} />`;
}

/** @param {{ list: Person[], onOpen: (open: any) => void, onChange: () => Promise<void> }} props */
function Table({ list, onOpen, onChange }) {
  const enable = async (/** @type {Person} */ one) => {
    try { await api.patch(`/api/admin/people/${one.id}`, { disabled: false }); toast(fill(text.wasEnabled, { name: one.display_name })); await onChange(); } catch (error) { toastError(error); }
  };
  return html`<div class="table-wrap people" tabindex="0" role="region" aria-label=${text.title}><table class="table"><thead><tr><th>${text.name}</th><th>${text.roles}</th><th>${text.state}</th><th>${text.created}</th><th><span class="visually-hidden">${common.admin.title}</span></th></tr></thead>
    <tbody>${list.map((one) => html`<tr key=${one.id}><td><div class="name">${one.display_name}</div><div class="quiet">${one.username}</div></td>
      <td><span class="row">${one.roles.map((role) => html`<span class="badge">${role}</span>`)}</span></td>
      <td>${one.disabled ? html`<span class="badge bad">${text.disabled}</span>` : one.invited ? html`<span class="badge warn">${text.invited}</span>` : html`<span class="badge good">${text.active}</span>`}</td>
      <td class="quiet nowrap"><${Time} at=${one.created_at} /></td>
      <td class="end">${may("people.manage") && html`<${Menu} label=${fill(text.of, { name: one.display_name })} button=${html`<${Icon} name="more" size="small" />`} items=${[
        { label: text.edit, icon: "pencil", act: () => onOpen({ kind: "roles", person: one }) },
        { label: one.invited ? text.inviteAgain : text.reset, icon: "key", act: () => onOpen({ kind: "reset", person: one }) },
        one.id !== me.value?.person.id && (one.disabled ? { label: text.enable, icon: "check", act: () => void enable(one) }
          : { label: text.disable, icon: "cross", isDanger: true, act: () => onOpen({ kind: "disable", person: one }) }),
        one.id !== me.value?.person.id && { label: text.delete, icon: "trash", isDanger: true, act: () => onOpen({ kind: "delete", person: one }) },
      ]} />`}</td></tr>`)}</tbody></table></div>`;
}

/** @param {{ open: any, names: string[], onClose: () => void, onOpen: (open: any) => void, onChange: () => Promise<void> }} props */
function Dialogs({ open, names, onClose, onOpen, onChange }) {
  if (!open) return null;
  const name = open.person?.display_name ?? "";
  const about = (/** @type {string} */ words) => fill(words, { name });
  if (open.kind === "link") return html`<${Link} open=${open} onClose=${onClose} />`;
  if (open.kind === "invite") return html`<${Invite} names=${names} onClose=${onClose} onMade=${async (/** @type {any} */ made) => {
    onOpen({ kind: "link", title: text.linkTitle, person: made.person, link: made.invitation_link });
    await onChange();
  }} />`;
  if (open.kind === "roles") return html`<${Roles} person=${open.person} names=${names} onClose=${onClose} onChange=${onChange} />`;
  if (open.kind === "disable") return html`<${Confirm} title=${about(text.disableTitle)} about=${about(text.disableAbout)} action=${text.disable} isDanger onClose=${onClose}
    onDo=${async () => { await api.patch(`/api/admin/people/${open.person.id}`, { disabled: true }); toast(about(text.wasDisabled)); await onChange(); }} />`;
  if (open.kind === "delete") return html`<${Delete} person=${open.person} onClose=${onClose} onChange=${onChange} />`;
  // The link takes the place of the question, so closing the question must not close the link.
  const isNew = open.person.invited;
  return html`<${Confirm} title=${about(isNew ? text.inviteAgainTitle : text.resetTitle)} about=${about(isNew ? text.inviteAgainAbout : text.resetAbout)} action=${text.resetDo} onClose=${onClose} isKept
    onDo=${async () => {
      const { invitation_link: link } = await api.post(`/api/admin/people/${open.person.id}/reset`);
      onOpen({ kind: "link", title: isNew ? text.linkTitle : text.resetLinkTitle, person: open.person, link });
    }} />`;
}

/** @param {{ open: any, onClose: () => void }} props */
function Link({ open, onClose }) {
  const name = open.person.display_name;
  const link = new URL(open.link, location.origin).href;
  return html`<${Dialog} title=${fill(open.title, { name })} onClose=${onClose}><div class="stack"><p>${fill(text.linkAbout, { name })}</p>
    <${CopyLine} value=${link} /><div class="dialog-foot"><button type="button" class="button primary" onClick=${onClose}>${common.done}</button></div></div></${Dialog}>`;
}

/** @param {{ names: string[], chosen: string[], onChange: (roles: string[]) => void }} props */
export function RoleChecks({ names, chosen, onChange }) {
  return html`<fieldset class="plain-set"><legend class="label">${text.roles}</legend>${names.map((name) => html`<label class="check"><input type="checkbox" checked=${chosen.includes(name)}
    onChange=${() => onChange(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name])} /><span>${name}</span></label>`)}</fieldset>`;
}

/** @param {{ person: Person, onClose: () => void, onChange: () => Promise<void> }} props */
function Delete({ person, onClose, onChange }) {
  const [typed, setTyped] = useState("");
  const about = (/** @type {string} */ words) => fill(words, { name: person.display_name, username: person.username });
  const task = useTask(async () => {
    await api.delete(`/api/admin/people/${person.id}`);
    toast(about(text.wasDeleted));
    onClose();
    await onChange();
  });
  return html`<${Dialog} title=${about(text.deleteTitle)} onClose=${onClose}><${TaskForm} task=${task}>
    <p>${about(text.deleteAbout)}</p><p>${text.deleteBackups}</p><p class="quiet">${text.deleteInstead}</p>
    <${Field} label=${about(text.deleteType)} value=${typed} onInput=${setTyped} autofocus required />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button danger" disabled=${task.isBusy || typed.trim() !== person.username}>${text.delete}</button></div></${TaskForm}></${Dialog}>`;
}

/** @param {{ names: string[], onClose: () => void, onMade: (made: any) => Promise<void> }} props */
function Invite({ names, onClose, onMade }) {
  const [name, setName] = useState("");
  const [username, setUsername] = useState("");
  const [roles, setRoles] = useState(["member"]);
  const task = useTask(async () => onMade(await api.post("/api/admin/people", { username, display_name: name.trim(), roles })));
  return html`<${Dialog} title=${text.inviteTitle} onClose=${onClose}><${TaskForm} task=${task}>
    <${Field} label=${common.door.displayName} value=${name} onInput=${setName} maxlength=${64} autofocus required />
    <${Field} label=${common.door.username} hint=${common.door.usernameHint} value=${username} onInput=${setUsername} maxlength=${32} required />
    <${RoleChecks} names=${names.filter((one) => one !== "owner")} chosen=${roles} onChange=${setRoles} />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button>
      <button class="button primary" disabled=${task.isBusy || !username || !name.trim() || roles.length === 0}>${text.inviteDo}</button></div></${TaskForm}></${Dialog}>`;
}

/** @param {{ person: Person, names: string[], onClose: () => void, onChange: () => Promise<void> }} props */
function Roles({ person, names, onClose, onChange }) {
  const [roles, setRoles] = useState(person.roles);
  const task = useTask(async () => {
    await api.patch(`/api/admin/people/${person.id}`, { roles });
    toast(text.saved);
    onClose();
    // Who changes their own roles sees other pages from now on.
    if (person.id === me.value?.person.id) await refreshMe();
    await onChange();
  });
  return html`<${Dialog} title=${fill(text.editTitle, { name: person.display_name })} onClose=${onClose}><${TaskForm} task=${task}><p class="quiet small">${text.editAbout}</p>
    <${RoleChecks} names=${names} chosen=${roles} onChange=${setRoles} />
    <div class="dialog-foot"><button type="button" class="button" onClick=${onClose}>${common.cancel}</button><button class="button primary" disabled=${task.isBusy || roles.length === 0}>${common.save}</button></div></${TaskForm}></${Dialog}>`;
}
