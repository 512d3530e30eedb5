//! What programs may ask for, one row an address: what it takes, what it gives, how it is asked. To add one
//! takes a row here; a test of the routes names what is missing.

use super::requests::Table;
use crate::web::ErrorCode;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody.
    Everybody,
    /// Who has a key.
    Key,
}

/// What is answered, by the names of shapes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives {
    /// JSON.
    Json(&'static str),
    /// JSON, or, with `stream`, events.
    JsonOrEvents(&'static str, &'static str),
    /// Text of this type.
    Text(&'static str),
    /// Whether the server is ready, which is also told where it is not.
    Readiness,
    /// This document.
    Document,
}

/// What may stand behind the address, or in the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// `query` or `header`.
    pub(super) place: &'static str,
    /// Its shape, as JSON.
    pub(super) shape: &'static str,
    pub(super) about: &'static str,
}

/// One method of one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) who: Who,
    pub(super) takes: Option<Table>,
    pub(super) fields: &'static [Field],
    pub(super) gives: Gives,
    /// Whether it takes the road of a generation, with all that is refused there.
    pub(super) is_road: bool,
    /// What else may go wrong.
    pub(super) refusals: &'static [ErrorCode],
    /// A body, as JSON; none: an empty text.
    pub(super) example: &'static str,
    /// The same with OpenAI's client; none: an empty text.
    pub(super) python: &'static str,
}

const fn get(path: &'static str, id: &'static str, group: &'static str, gives: Gives) -> Operation {
    Operation {
        method: "GET",
        path,
        id,
        group,
        summary: "",
        who: Who::Key,
        takes: None,
        fields: &[],
        gives,
        is_road: false,
        refusals: &[],
        example: "",
        python: "",
    }
}

const fn post(
    path: &'static str,
    id: &'static str,
    group: &'static str,
    takes: Table,
    gives: Gives,
) -> Operation {
    let takes = Some(takes);
    Operation { method: "POST", takes, is_road: true, ..get(path, id, group, gives) }
}

const CHATS: &str = "Chats and texts";
const RESPONSES: &str = "Responses";
const MESSAGES: &str = "Messages";
const VECTORS: &str = "Vectors and ranks";
const TOKENS: &str = "Tokens";
const GUARD: &str = "Guard";
const MODELS: &str = "Models";
const SERVER: &str = "Server";

const INCLUDE: Field = Field {
    name: "include",
    place: "query",
    shape: r#"{"enum": ["message.output_text.logprobs", "reasoning.encrypted_content"]}"#,
    about: "what is shown anyway",
};
const OF_KEPT: &[ErrorCode] = &[
    ErrorCode::NotFound,
    ErrorCode::InvalidValue,
    ErrorCode::UnknownParameter,
    ErrorCode::UnsupportedParameter,
];
const VERSION: Field = Field {
    name: "anthropic-version",
    place: "header",
    shape: r#"{"enum": ["2023-06-01", "2026-10-21"]}"#,
    about: "the version of the API; the same is answered to both",
};

/// The table.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        summary: "Answers a conversation, whole or in pieces.",
        example: r#"{"model": "guide", "messages": [{"role": "user", "content": "Hello"}]}"#,
        python: "client.chat.completions.create(\n    model=\"guide\",\n    messages=[{\"role\": \"user\", \"content\": \"Hello\"}],\n)",
        ..post(
            "/v1/chat/completions",
            "createChatCompletion",
            CHATS,
            Table::Chat,
            Gives::JsonOrEvents("ChatCompletion", "ChatCompletionChunk"),
        )
    },
    Operation {
        summary: "Goes on from a text, whole or in pieces.",
        example: r#"{"model": "guide", "prompt": "A strongroom is", "max_tokens": 16}"#,
        python: "client.completions.create(model=\"guide\", prompt=\"A strongroom is\", max_tokens=16)",
        ..post(
            "/v1/completions",
            "createCompletion",
            CHATS,
            Table::Completions,
            Gives::JsonOrEvents("Completion", "Completion"),
        )
    },
    Operation {
        summary: "Answers a conversation of items, whole or in events, and keeps the answer where it is told to.",
        example: r#"{"model": "guide", "input": "Hello", "store": false}"#,
        python: "client.responses.create(model=\"guide\", input=\"Hello\", store=False)",
        refusals: &[ErrorCode::NotFound],
        ..post(
            "/v1/responses",
            "createResponse",
            RESPONSES,
            Table::Responses,
            Gives::JsonOrEvents("Response", "ResponseEvent"),
        )
    },
    Operation {
        summary: "Shows a response that is kept.",
        python: "client.responses.retrieve(\"resp_…\")",
        fields: &[
            INCLUDE,
            Field {
                name: "stream",
                place: "query",
                shape: r#"{"enum": ["false"]}"#,
                about: "a response that is kept is given whole",
            },
            Field {
                name: "include_obfuscation",
                place: "query",
                shape: r#"{"enum": ["true", "false"]}"#,
                about: "has no effect",
            },
        ],
        refusals: OF_KEPT,
        ..get("/v1/responses/{id}", "readResponse", RESPONSES, Gives::Json("Response"))
    },
    Operation {
        method: "DELETE",
        summary: "Deletes a response that is kept.",
        python: "client.responses.delete(\"resp_…\")",
        refusals: &[ErrorCode::NotFound],
        ..get("/v1/responses/{id}", "deleteResponse", RESPONSES, Gives::Json("DeletedResponse"))
    },
    Operation {
        summary: "Lists what a kept response was made from.",
        python: "client.responses.input_items.list(\"resp_…\")",
        fields: &[
            INCLUDE,
            Field {
                name: "after",
                place: "query",
                shape: r#"{"type": "string"}"#,
                about: "the id of the item after which the list begins",
            },
            Field {
                name: "limit",
                place: "query",
                shape: r#"{"type": "integer", "minimum": 1, "maximum": 100, "default": 20}"#,
                about: "so many items at most",
            },
            Field {
                name: "order",
                place: "query",
                shape: r#"{"enum": ["asc", "desc"], "default": "desc"}"#,
                about: "the oldest first, or the newest",
            },
        ],
        refusals: OF_KEPT,
        ..get(
            "/v1/responses/{id}/input_items",
            "listInputItems",
            RESPONSES,
            Gives::Json("ItemList"),
        )
    },
    Operation {
        summary: "Answers a conversation as Anthropic's clients have it, whole or in events.",
        example: r#"{"model": "guide", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}"#,
        fields: &[VERSION],
        ..post(
            "/v1/messages",
            "createMessage",
            MESSAGES,
            Table::Messages,
            Gives::JsonOrEvents("Message", "MessageEvent"),
        )
    },
    Operation {
        summary: "Counts the tokens of such a conversation.",
        example: r#"{"model": "guide", "messages": [{"role": "user", "content": "Hello"}]}"#,
        fields: &[VERSION],
        ..post(
            "/v1/messages/count_tokens",
            "countMessageTokens",
            MESSAGES,
            Table::CountTokens,
            Gives::Json("TokenCount"),
        )
    },
    Operation {
        summary: "Makes vectors of texts.",
        example: r#"{"model": "bert-mean", "input": ["a quiet room", "a loud one"]}"#,
        python: "client.embeddings.create(model=\"bert-mean\", input=[\"a quiet room\", \"a loud one\"])",
        ..post(
            "/v1/embeddings",
            "createEmbeddings",
            VECTORS,
            Table::Embeddings,
            Gives::Json("EmbeddingList"),
        )
    },
    Operation {
        summary: "Ranks documents by how well they answer a question.",
        example: r#"{"model": "bert-rank", "query": "where is it quiet?", "documents": ["the vault", "the street"]}"#,
        ..post("/v1/rerank", "rerank", VECTORS, Table::Rerank, Gives::Json("Ranking"))
    },
    Operation {
        summary: "Takes a text or a conversation apart into tokens.",
        example: r#"{"model": "guide", "prompt": "Hello"}"#,
        ..post("/v1/tokenize", "tokenize", TOKENS, Table::Tokenize, Gives::Json("TokenList"))
    },
    Operation {
        summary: "Puts tokens together to a text.",
        example: r#"{"model": "guide", "tokens": [1, 2, 3]}"#,
        ..post(
            "/v1/detokenize",
            "detokenize",
            TOKENS,
            Table::Detokenize,
            Gives::Json("SpelledTokens"),
        )
    },
    Operation {
        summary: "Holds texts against the guard's policy.",
        example: r#"{"input": "My card is 4111 1111 1111 1111."}"#,
        python: "client.moderations.create(input=\"My card is 4111 1111 1111 1111.\")",
        ..post(
            "/v1/moderations",
            "createModeration",
            GUARD,
            Table::Moderations,
            Gives::Json("Moderation"),
        )
    },
    Operation {
        summary: "Lists the models that the caller may use.",
        python: "client.models.list()",
        ..get("/v1/models", "listModels", MODELS, Gives::Json("ModelList"))
    },
    Operation {
        summary: "Shows one model. Its name may have `/` in it.",
        python: "client.models.retrieve(\"guide\")",
        refusals: &[ErrorCode::NotFound, ErrorCode::ModelNotFound],
        ..get("/v1/models/{id}", "readModel", MODELS, Gives::Json("Model"))
    },
    Operation {
        summary: "Says that the process lives.",
        who: Who::Everybody,
        ..get("/healthz", "alive", SERVER, Gives::Json("Alive"))
    },
    Operation {
        summary: "Says whether the server can answer.",
        who: Who::Everybody,
        ..get("/readyz", "ready", SERVER, Gives::Readiness)
    },
    Operation {
        summary: "Gives the server's numbers, as Prometheus reads them.",
        ..get("/metrics", "metrics", SERVER, Gives::Text("text/plain"))
    },
    Operation {
        summary: "Gives this document.",
        who: Who::Everybody,
        ..get("/openapi.json", "openapi", SERVER, Gives::Document)
    },
];
