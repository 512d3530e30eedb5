// Two answers to show: a well-made one, and one that a model might write to harm its reader.

export const wellMade = `Encryption at rest protects **stored data** when someone gets hold of the disk, a backup or the machine itself.

1. The database holds only *sealed* bytes.
2. The key lives elsewhere, or behind a passphrase.
3. Run \`strongroom key move\` to change where it lives.

| What is lost | What a finder can read |
|---|---|
| A disk | nothing |
| A backup | nothing |
| Your password | everything that you can read |

\`\`\`rust
/// Opens a sealed value; one error for every way in which it can fail.
fn open(&self, sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
    let key = self.key_for(sealed.scope)?;
    key.decrypt(&sealed.nonce, &sealed.bytes)
}
\`\`\`

> It does not help against someone who signs in as you.
`;

export const hostile = `# An answer with <b>markup</b>

<script>globalThis.wasHacked = true</script>
<img src=x onerror="globalThis.wasHacked = true">
<svg/onload="globalThis.wasHacked = true">
<iframe srcdoc="<script>parent.wasHacked = true</script>"></iframe>

![a picture](https://elsewhere.example/pixel.png?who=me "title") ![data](data:image/svg+xml;base64,PHN2Zy8+)

[a link](javascript:globalThis.wasHacked=true) [another](JaVaScRiPt:alert(1)) [data](data:text/html,<script>alert(1)</script>)
[vb](vbscript:msgbox) <javascript:alert(1)> [file](file:///etc/passwd) [fine](https://example.org/page)

[ref]: javascript:alert(1)
[by reference][ref]

| Name | Value |
|---|---|
| <img src=x onerror=alert(1)> | \`<script>alert(1)</script>\` |

\`\`\`"><img src=x onerror=alert(1)>
fn main() { println!("</code></pre><script>alert(1)</script>"); }
\`\`\`

\`\`\`html
<script>globalThis.wasHacked = true</script><style>@import "https://elsewhere.example/x.css";</style>
\`\`\`

${"> ".repeat(60)}deep

The end.
`;

/**
 * @param {string} text
 * @param {Record<string, unknown>} [notice] what the guard did to the question
 * @returns {string} an answer of the chat API, in small pieces
 */
export function streamOf(text, notice) {
  const deltas = [...text.matchAll(/[^]{1,7}/g)].map(([piece]) => /** @type {const} */ (["delta", { text: piece }]));
  return [
    ["start", { user_message_id: "msg_1", message_id: "msg_2" }],
    ...(notice ? [["notice", notice]] : []), ...deltas,
    ["done", { finish_reason: "stop", usage: { prompt_tokens: 4, completion_tokens: 200 }, tokens_per_second: 42 }],
  ].map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join("");
}
