// What a model might write to harm the person who reads it, and an event stream that brings it.

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

/** @param {string} text @returns {string} an answer of the chat API, in small pieces */
export function streamOf(text) {
  const deltas = [...text.matchAll(/[^]{1,7}/g)].map(([piece]) => /** @type {const} */ (["delta", { text: piece }]));
  return [
    ["start", { user_message_id: "msg_1", message_id: "msg_2" }], ...deltas,
    ["done", { finish_reason: "stop", usage: { prompt_tokens: 4, completion_tokens: 200 }, tokens_per_second: 42 }],
  ].map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join("");
}
