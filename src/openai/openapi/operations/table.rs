//! Everything but what was used.

use super::{Field, Gives, Operation, Who, get, post, query};
use crate::openai::openapi::requests::Table;
use crate::web::ErrorCode;

const CHATS: &str = "Chats and texts";
const RESPONSES: &str = "Responses";
const MESSAGES: &str = "Messages";
const VECTORS: &str = "Vectors and ranks";
const TOKENS: &str = "Tokens";
const GUARD: &str = "Guard";
const MODELS: &str = "Models";
const SERVER: &str = "Server";

const INCLUDE: Field = query(
    "include",
    r#"{"enum": ["message.output_text.logprobs", "reasoning.encrypted_content"]}"#,
    "what is shown anyway",
);
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
    is_required: false,
};

const VERSION_OF_MODELS: Field =
    Field { about: "named by Anthropic's clients, who are answered in their own shape", ..VERSION };
/// What is asked of the list in Anthropic's shape; in the other the list is whole.
const OF_MODELS: &[Field] = &[
    VERSION_OF_MODELS,
    query(
        "after_id",
        r#"{"type": "string", "minLength": 1}"#,
        "with `anthropic-version`: the id of the model after which the page begins; this or `before_id`",
    ),
    query(
        "before_id",
        r#"{"type": "string", "minLength": 1}"#,
        "with `anthropic-version`: the id of the model before which the page ends",
    ),
    query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 1000, "default": 20}"#,
        "with `anthropic-version`: so many models at most",
    ),
    query(
        "lifecycle",
        r#"{"enum": ["active", "deprecated", "retired"]}"#,
        "with `anthropic-version`: only models in this stage, and all here are active; may stand there several times",
    ),
];
const RERANK: Operation = Operation {
    summary: "Ranks documents by how well they answer a question.",
    example: r#"{"model": "bert-rank", "query": "where is it quiet?", "documents": ["the vault", "the street"]}"#,
    ..post("/v1/rerank", "rerank", VECTORS, Table::Rerank, Gives::Json("Ranking"))
};
const TOKENIZE: Operation = Operation {
    summary: "Takes a text or a conversation apart into tokens.",
    example: r#"{"model": "guide", "prompt": "Hello"}"#,
    ..post("/v1/tokenize", "tokenize", TOKENS, Table::Tokenize, Gives::Json("TokenList"))
};
const DETOKENIZE: Operation = Operation {
    summary: "Puts tokens together to a text.",
    example: r#"{"model": "guide", "tokens": [1, 2, 3]}"#,
    ..post("/v1/detokenize", "detokenize", TOKENS, Table::Detokenize, Gives::Json("SpelledTokens"))
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
        summary: "Goes on from a text, or from each of several, whole or in pieces.",
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
            query("stream", r#"{"enum": ["false"]}"#, "a response that is kept is given whole"),
            query("include_obfuscation", r#"{"enum": ["true", "false"]}"#, "has no effect"),
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
        method: "POST",
        summary: "Cancels nothing: a response that is kept has come to its end, and one that is being written ends with its connection.",
        refusals: &[ErrorCode::NotFound],
        ..get("/v1/responses/{id}/cancel", "cancelResponse", RESPONSES, Gives::Nothing)
    },
    Operation {
        summary: "Lists what a kept response was made from.",
        python: "client.responses.input_items.list(\"resp_…\")",
        fields: &[
            INCLUDE,
            query(
                "after",
                r#"{"type": "string"}"#,
                "the id of the item after which the list begins",
            ),
            query(
                "limit",
                r#"{"type": "integer", "minimum": 1, "maximum": 100, "default": 20}"#,
                "so many items at most",
            ),
            query(
                "order",
                r#"{"enum": ["asc", "desc"], "default": "desc"}"#,
                "the oldest first, or the newest",
            ),
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
        summary: "Counts the tokens of what a response would be made from.",
        example: r#"{"model": "guide", "input": "Hello"}"#,
        python: "client.responses.input_tokens.count(model=\"guide\", input=\"Hello\")",
        refusals: &[ErrorCode::NotFound],
        ..post(
            "/v1/responses/input_tokens",
            "countInputTokens",
            RESPONSES,
            Table::InputTokens,
            Gives::Json("InputTokenCount"),
        )
    },
    Operation {
        method: "POST",
        summary: "Compacts nothing: conversations are not made shorter here.",
        refusals: &[ErrorCode::NotFound],
        ..get("/v1/responses/compact", "compactResponse", RESPONSES, Gives::Nothing)
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
    RERANK,
    Operation { path: "/rerank", id: "rerankAtRoot", ..RERANK },
    TOKENIZE,
    Operation { path: "/tokenize", id: "tokenizeAtRoot", ..TOKENIZE },
    DETOKENIZE,
    Operation { path: "/detokenize", id: "detokenizeAtRoot", ..DETOKENIZE },
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
        fields: OF_MODELS,
        refusals: &[ErrorCode::InvalidValue, ErrorCode::UnknownParameter],
        ..get(
            "/v1/models",
            "listModels",
            MODELS,
            Gives::JsonByClient("ModelList", "MessagesModelPage"),
        )
    },
    Operation {
        summary: "Shows one model. Its name may have `/` in it.",
        python: "client.models.retrieve(\"guide\")",
        fields: &[VERSION_OF_MODELS],
        refusals: &[ErrorCode::NotFound, ErrorCode::ModelNotFound, ErrorCode::InvalidValue],
        ..get("/v1/models/{id}", "readModel", MODELS, Gives::JsonByClient("Model", "MessagesModel"))
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
