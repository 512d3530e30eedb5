// Sign-in, and the page of an invitation or reset link.
import { html, useState } from "../lib.js";
import { api } from "../api.js";
import { errors, fill, text } from "../messages.js";
import { go, hasSessionEnded, may, path, refreshModels, setMe, status } from "../state.js";
import { Field, Notice } from "../ui/parts.js";
import { Door, linkToken } from "./frame.js";
import { PASSWORD_CHARS_MIN, Strength } from "./strength.js";

/** @param {any} answer the answer to a sign-in: the person, or an invitation to ask who it is */
async function enter(answer) {
  setMe(answer?.person ? answer : await api.get("/api/me"));
  if (may("chat")) await refreshModels().catch(() => {});
}

export function SignInPage() {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await enter(await api.post("/api/session", { username: username.trim(), password }));
      if (path.value === "/sign-in" || path.value === "/setup") go("/", { replace: true });
    } catch (/** @type {any} */ cause) {
      setError(cause.message);
      setBusy(false);
    }
  };
  return html`<${Door} title=${text.door.signIn} name=${status.value.organisation}>
    <h1>${text.door.signIn}</h1><p class="lead">${fill(text.door.signInTo, { organisation: status.value.organisation })}</p>
    <form class="stack" onSubmit=${submit}>
      ${hasSessionEnded.value && !error && html`<${Notice} role="status">${errors.not_signed_in}</${Notice}>`}
      ${error && html`<${Notice} kind="bad" role="alert">${error}</${Notice}>`}
      <${Field} label=${text.door.username} name="username" value=${username} onInput=${setUsername} autocomplete="username" required autofocus maxlength=${64} />
      <${Field} label=${text.door.password} name="password" type="password" value=${password} onInput=${setPassword} autocomplete="current-password" required maxlength=${1024} />
      <button class="button primary wide" disabled=${isBusy || !username || !password}>${text.door.signIn}</button>
      <p class="quiet small">${text.door.forgot}</p></form></${Door}>`;
}

export function InvitePage() {
  const [token] = useState(linkToken);
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState("");
  const [isBusy, setBusy] = useState(false);
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await enter(await api.post("/api/invitation", { token, password, ...(name.trim() ? { display_name: name.trim() } : {}) }));
      go("/", { replace: true });
    } catch (/** @type {any} */ cause) {
      setError(cause.message);
      setBusy(false);
    }
  };
  const title = fill(text.door.inviteTitle, { organisation: status.value.organisation });
  if (!token) return html`<${Door} title=${title}><h1>${title}</h1><p class="lead">${text.door.inviteNoToken}</p></${Door}>`;
  return html`<${Door} title=${title}><h1>${title}</h1><p class="lead">${text.door.inviteLead}</p>
    <form class="stack" onSubmit=${submit}>${error && html`<${Notice} kind="bad" role="alert">${error}</${Notice}>`}
      <${Field} label=${text.door.displayName} value=${name} onInput=${setName} autocomplete="name" maxlength=${64} />
      <div><${Field} label=${text.door.password} type="password" value=${password} onInput=${setPassword} autocomplete="new-password" required maxlength=${1024} autofocus />
        <${Strength} value=${password} names=${[name]} /></div>
      <button class="button primary wide" disabled=${isBusy || [...password].length < PASSWORD_CHARS_MIN}>${text.door.inviteDo}</button></form></${Door}>`;
}
