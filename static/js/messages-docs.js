// The words of the reference page. What it says of the API itself comes from the specification.
export const words = {
  title: "API reference",
  about: "What programs may ask of this server. Clients made for OpenAI's API change their base URL and their key, and nothing else; those made for Anthropic's do the same. This page and all it needs come from this server.",
  before: "The examples read where the server is, and a key, from the environment. ca.pem is the certificate of the server's own authority, from its data directory, under tls/; where the server has a certificate that your system knows, leave it out.",
  app: "Strongroom", file: "openapi.json", contents: "Contents", skip: "Skip to the reference",
  loading: "Reading the specification…", failed: "The specification could not be read. {why}", again: "Try again",
  parameters: "Parameters", answers: "Answers", errors: "What can go wrong", shapes: "Shapes", shapesAbout: "What stands in requests and answers, in TypeScript's notation.",
  example: "Example: {label}", name: "Name", form: "Form", accepted: "Accepted", status: "Status", said: "What is said",
  required: "required", whole: "Whole", events: "With stream: true, events, each with one of", open: "No key is needed.",
  /** @type {Record<string, string>} */
  treatments: { extension: "extension", without_effect: "no effect", restricted: "restricted" },
  /** @type {Record<string, string>} */
  places: { path: "in the address", query: "behind the address", header: "a header" },
};
