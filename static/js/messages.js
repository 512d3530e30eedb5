// Every text that a person reads, in English. `fill` puts values into {braces}.

/**
 * @param {string} text
 * @param {Record<string, unknown>} values
 * @returns {string}
 */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} many
 */
export function counted(count, one, many) {
  return fill(count === 1 ? one : many, { count: new Intl.NumberFormat().format(count) });
}

/** What to say for an error code of the server; the code's own message is used for all others. */
export const errors = {
  unreachable: "The server does not answer. Nothing was lost; check that it is running, then try again.",
  not_signed_in: "You were signed out. Sign in again; what you typed is still here.",
  wrong_credentials: "That name and password do not belong together. Check both, then try again.",
  link_expired: "This link was used already, or its time is over. Ask for a new one.",
  permission_denied: "Your role does not allow this. Someone who manages people can change that.",
  not_found: "This is not here any more, or it is not yours.",
  cross_origin: "Somebody signed in or out in another window of this browser, so nothing was done. Try again.",
  conflict: "Something changed in the meantime. Nothing was done; load the page again.",
  payload_too_large: "This is too long to send. Nothing was sent; shorten it or split it in two.",
  context_length_exceeded: "This chat is longer than the model can read. Nothing was sent; start a new chat.",
  content_policy: "The guard refused this text, so the model did not see it. Change it, then send it again.",
  rate_limit_exceeded: "You have reached your limit for this minute. Wait {wait}, then send it again.",
  request_exceeds_limit: "This chat needs more tokens at once than your limit allows, so waiting does not help. Nothing was sent; shorten the text or start a new chat.",
  insufficient_quota: "{said} That is in {wait}.",
  concurrency_exceeded: "Another answer of yours is still running. Stop it or wait for its end.",
  sign_in_throttled: "Too many attempts. Wait {wait}, then try again.",
  busy: "The server is busy. Nothing was lost; try again in a moment.",
  storage_full: "The disk of the server is full, so nothing was stored. Tell the person who runs it.",
  audit_unavailable: "The audit log cannot be written, so nothing was done. Tell the person who runs the server.",
  shutting_down: "The server is shutting down. Try again when it is back.",
  model_not_ready: "The model is still loading. Try again in a moment.",
  model_not_found: "This model is not here any more, or you may not use it. Choose another one.",
  internal_error: "Something went wrong on the server. Its log has the details under {request}.",
  interrupted: "The connection broke. The answer goes on at the server; this page picks it up again.",
};

export const text = {
  product: "Strongroom",
  skip: "Skip to the content",
  loading: "Loading…",
  retry: "Try again",
  cancel: "Cancel",
  close: "Close",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "The browser did not allow copying. Select the text and copy it by hand.",
  show: "Show",
  hide: "Hide",
  save: "Save",
  saved: "Saved",
  done: "Done",
  undo: "Undo",
  never: "never",
  stays: "Everything typed here stays on this machine",

  chat: {
    new: "New chat",
    search: "Search chats",
    pinned: "Pinned", today: "Today", week: "Previous 7 days", older: "Older",
    none: "Your chats will be listed here.",
    noneFound: "No chat has these words.",
    untitled: "New chat",
    rename: "Rename", pin: "Pin", unpin: "Unpin", delete: "Delete", more: "More about {title}",
    deleted: "“{title}” was deleted",
    moreChats: "Show older chats",
    welcome: "What shall we work on?",
    welcomeAbout: "Your words are stored encrypted, under a key of your own.",
    placeholder: "Message…",
    send: "Send", stop: "Stop",
    waiting: "Thinking",
    loading: "Loading the model…", loadingPercent: "Loading the model… {percent} %",
    position: { one: "You are next", many: "{count} ahead of you", aloud: "Waiting for a place." },
    answering: "Answering…", finished: "The answer is complete.", stoppedAnnounce: "The answer was stopped.",
    copyAnswer: "Copy answer", copyQuestion: "Copy message", editLast: "Edit", regenerate: "Answer again",
    speed: "{speed} tokens/s", tokens: "{count} tokens",
    stopped: "You stopped this answer.",
    length: "The answer reached its longest length and was cut. Write “continue” to go on.",
    filtered: "The guard ended this answer.",
    failed: "The answer broke off. What is above was kept.",
    unanswered: "This message was not let through, so there is no answer, and later ones do not come back to it.",
    follow: "Newest",
    instructions: "Instructions", noInstructions: "No instructions", instructionsGone: "Instructions that are gone",
    seal: "Sealed · stays on this machine", sealMore: "What does that mean?",
    sealTitle: "What happens to what you type",
    sealPoints: [
      ["cpu", "It is answered here", "The model runs on this server. No text goes to another company, and this page loads nothing from elsewhere."],
      ["lock", "It is stored sealed", "Chats are encrypted with AES-256-GCM under a key of your own. Deleting that key makes every copy unreadable."],
      ["eye-off", "It is yours alone", "Nobody can open your chats through this app, administrators included. The audit log records that you asked, never what."],
      ["shield", "The guard looks once", "Before the model reads a message, the guard checks it for attacks and secrets. If it changes anything, it says so there."],
    ],
    starters: [
      ["Tell me about yourself", "Who are you, and what can you do?"],
      ["Explain an idea", "Explain in plain words what encryption at rest protects against."],
      ["Draft a message", "Write a short, friendly note that moves our meeting to Thursday."],
      ["Make a list", "List five questions to ask before signing a contract."],
    ],
    model: "Model", noModel: "No model",
    modelStates: /** @type {Record<string, string>} */ ({ not_loaded: "not loaded", loading: "loading", unloading: "being unloaded", failed: "cannot be used", ready: "ready" }),
    gone: "This chat was deleted, here or in another window. Your text is still in the box; send it in a new chat.",
    elsewhere: "This chat changed in the meantime, perhaps in another window. It is shown as it is now, and nothing was sent.",
    replaced: "What was in the box made room for this text.",
    context: "{count} tokens of context",
    redacted: { one: "One detail was replaced before the model saw it.", many: "{count} details were replaced before the model saw them." },
    redactedOut: { one: "One detail in this answer was replaced.", many: "{count} details in this answer were replaced." },
    trimmed: { one: "The chat is longer than the model can read, so the oldest message was left out.", many: "The chat is longer than the model can read, so the {count} oldest messages were left out." },
    flagged: "The guard noted this message: {category}.",
    refused: "The guard refused this: {category}.",
    menuOpen: "Open the list of chats", menuClose: "Close the list of chats",
    imageNot: "image not loaded",
    wrap: "Wrap", unwrap: "No wrap", codePlain: "text",
    usage: "{used} of {limit} tokens today", usageMonth: "{used} of {limit} tokens this month", usageOpen: "{used} tokens today",
  },

  door: {
    signIn: "Sign in", signInTo: "Sign in to {organisation}",
    username: "Sign-in name", usernameHint: "3 to 32 small letters, digits, - or _.",
    displayName: "Your name", password: "Password",
    passwordHint: "15 characters or more. A few unrelated words are good.",
    forgot: "Forgotten? Someone who manages people here can send you a reset link.",
    sealedTitle: "The server is sealed",
    sealedLead: "Its keys are locked behind a passphrase, and nothing can be read until someone opens it.",
    sealedHow: "On the server, the person who runs it enters:",
    sealedAgain: "This page opens by itself as soon as that is done.",
    unreachableTitle: "The server does not answer",
    setUpTitle: "Who are you?", setUpLead: "You become the owner: you can do everything here, and invite others.",
    setUpNoToken: "This server waits for its owner. Open the set-up link that it printed when it started; it works once, for 30 minutes. Restart the server to get a new one.",
    steps: ["You", "The key", "A model"],
    create: "Create the owner",
    keyTitle: "How this server keeps its key",
    keyLead: "Everything stored is encrypted under one root key. There are two ways to keep it.",
    keyFileTitle: "In a file", keyFileNow: "now",
    keyFile: "The server opens by itself after a restart. Whoever copies the whole data directory has the key as well.",
    keyPassTitle: "Behind a passphrase", keyPassRecommended: "recommended",
    keyPass: "A copied disk or backup stays unreadable. After each restart someone enters the passphrase before anyone can sign in.",
    keyCommand: "strongroom key move",
    keyLater: "You can run this on the server at any time; nothing is lost by moving.",
    next: "Continue",
    modelTitle: "A model to talk to",
    modelLead: "One is ready, so you can begin at once.",
    modelGuide: "The built-in guide", modelGuideState: "ready",
    modelGuideAbout: "A very small model that explains this server. It shows that everything works; it is no expert.",
    modelAdd: "Your own model", modelAddAbout: "A model as a GGUF file, of a family such as Llama, Qwen, Gemma, Phi or Mistral. On the server, stop Strongroom and start it like this:",
    modelCommand: "strongroom serve --model path/to/model.gguf",
    begin: "Start the first chat",
    inviteTitle: "Welcome to {organisation}", inviteLead: "Choose a password. You sign in with it and the name that you were given.",
    inviteDo: "Save and sign in", inviteNoToken: "This link is not complete. Copy the whole link that you were given.",
    strength: ["", "Easy to guess. Add a few more words.", "Getting there: {missing} more characters.", "Good.", "Very good."],
    common: "This is among the first that an attacker would try.",
  },

  account: {
    title: "Your account", profile: "Profile", signedInAs: "You sign in as {username}. Your roles: {roles}.",
    theme: "Appearance", themes: { system: "System", light: "Light", dark: "Dark" }, themeAbout: "Kept in this browser.",
    password: "Password", passwordAbout: "Changing it signs you out everywhere else.",
    current: "Present password", next: "New password", change: "Change the password", changed: "The password is changed",
    sessions: "Where you are signed in", sessionsAbout: "End what you do not know, then change your password.",
    thisOne: "this browser", end: "Sign out", ended: "Signed out there", seen: "active {when}",
    usage: "Usage", usageAbout: "Tokens, yours alone. All of them refill by themselves; days and months are those of UTC.", day: "Today", month: "This month", minute: "This minute",
    usageOfGroup: "Together in {name}", usageDays: "By model, in the last 30 days",
    keys: "API keys", keysAbout: "A key lets a program use the models as you do. Programs made for OpenAI's API work with it.",
    keysReference: "What programs may ask for",
    keysNone: "No keys yet", keysNoneAbout: "Make one for each program, so that you can take one back without stopping the others.",
    keyNew: "New key", keyName: "Name", keyNameHint: "The program that will use it.",
    keyLimits: "Limits of this key", keyLimitsHint: "Beside your own. Leave a field empty for no further limit.",
    keyNetworks: "Networks", keyNetworksHint: "Addresses and prefixes that the key is accepted from, one a line or with commas between: 192.0.2.7, 10.0.0.0/8, 2001:db8::/32. Leave it empty for everywhere.",
    keyNetworksChange: "Networks", keyNetworksTitle: "From where is “{name}” accepted?", keyNetworksAbout: "It holds from the next request on. Answers that are being written for other addresses end.",
    keyNetworksSaved: "“{name}” is accepted from {networks} alone", keyNetworksLifted: "“{name}” is accepted from everywhere",
    keyFrom: "from {networks} alone", keyTurnedAway: "refused {when} from {address}, which is in none of its networks", keyAddressUnknown: "an unknown address",
    keyScopes: "It may", keyExpiry: "It ends", keyMake: "Make the key",
    expiries: [[30, "in 30 days"], [90, "in 90 days"], [365, "in a year"], [0, "never"]],
    scopes: { "": "use the models", "usage.read": "read who used which model how much", "metrics.read": "read metrics" },
    keyMade: "Your new key", keyOnce: "Copy it now. It will not be shown again; only a fingerprint of it is stored.",
    keyUse: "Use it from Python", keyRevoke: "Revoke", keyRevokeTitle: "Revoke “{name}”?",
    keyRevokeAbout: "Programs that use it are refused from the next request on. This cannot be undone.",
    keyRevoked: "“{name}” is revoked", used: "used {when}", notUsed: "not used yet", ends: "ends {when}", noEnd: "does not end",
    signOut: "Sign out", settings: "Account", caHint: "ca.pem is in the server's data directory, under tls/. Ask the person who runs it for a copy.",
  },

  usage: { model: "Model", requests: "Requests", input: "Input tokens", cached: "Of these cached", output: "Output tokens", cost: "Cost ({currency})" },
  kinds: { chat: "chat", api: "programs", embeddings: "embeddings", rerank: "ranking", tokens: "tokens shown", moderation: "moderation", evaluation: "evaluation" },
  limits: /** @type {any} */ ({
    tokens_per_minute: "Tokens a minute", tokens_per_day: "Tokens a day", tokens_per_month: "Tokens a month", none: "{used}, no limit",
    short: { tokens_per_minute: "{limit} tokens a minute", tokens_per_day: "{limit} a day", tokens_per_month: "{limit} a month" },
  }),

  admin: {
    title: "Administration",
    nav: { overview: "Overview", people: "People", roles: "Roles", models: "Models", prompts: "Instructions", usage: "Usage", guard: "Guard", audit: "Audit", alerts: "Alerts", evaluations: "Evaluations" },
    nothing: "Your role shows nothing here.",
  },
};

/** What the guard finds, as it stands within a sentence. @type {Record<string, string>} */
export const findings = {
  "form.blank": "nothing but blanks", "form.too-long": "too long a text", "form.too-many": "too many texts",
  "unicode.invisible": "invisible characters", "unicode.tags": "hidden tag characters", "unicode.bidi": "direction overrides", "unicode.zalgo": "piled-up accents",
  "control-token": "control token of a model", "secret.key": "access key of a service", "secret.private-key": "private key", "secret.token": "access token",
  "secret.assigned": "password or secret", "personal.card": "payment card number", "personal.iban": "bank account (IBAN)", "personal.national-id": "national identity number",
  "personal.email": "e-mail address", "personal.phone": "telephone number", "personal.ip": "IP address", denied: "denied phrase", injection: "hint of injection",
};
