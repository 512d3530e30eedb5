//! What can go wrong in the engine, as things a caller can act on. No text of a person is in any.

/// Why a request was not accepted or not completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The queue is full.
    #[error("the queue is full")]
    Busy,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {tokens} tokens; this model takes {tokens_max} with room for an answer"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// The longest prompt that leaves room for one token.
        tokens_max: usize,
    },
    /// There is nothing to work on.
    #[error("the prompt is empty")]
    Empty,
    /// A token number outside of the vocabulary.
    #[error("token {token} is not in the vocabulary")]
    UnknownToken {
        /// The number.
        token: u32,
    },
    /// A parameter outside of its range.
    #[error("{parameter} is out of range: {expected}")]
    OutOfRange {
        /// The field of the request.
        parameter: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// The request waited too long for its turn.
    #[error("the request waited too long for its turn")]
    QueueTimeLimit,
    /// The request took longer than its limit.
    #[error("the time limit was reached")]
    TimeLimit,
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
    /// The model gave something that is not a number; the weights are damaged or unsuited.
    #[error("the model gave no usable probabilities")]
    NotANumber,
    /// The grammar of the request costs more than one request may.
    #[error("the grammar of this request became too costly to follow")]
    Constraint,
    /// A step failed inside; the engine goes on with other requests.
    #[error("the engine failed inside")]
    Internal,
    /// Steps keep failing: the engine takes no more work.
    #[error("the engine is not healthy and takes no more work")]
    Unhealthy,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Somebody asked for an end of it.
    #[error("the loading was cancelled")]
    Cancelled,
    /// The file cannot be read.
    #[error("cannot read the model file: {0}")]
    Read(#[from] std::io::Error),
    /// The file is not what it should be.
    #[error("the model file is damaged or of an unknown kind: {0}")]
    File(String),
    /// The family is not supported.
    #[error("the model family `{family}` is not supported; supported are {supported}")]
    UnknownFamily {
        /// What the file says.
        family: String,
        /// The families that are.
        supported: String,
    },
    /// The family is known, but this file asks for something that is not built.
    #[error("this file needs {0}, which is not supported")]
    Unsupported(String),
    /// A number in the file is missing or makes no sense.
    #[error("the model file says {key}: {problem}")]
    Number {
        /// The key of the metadata or the name of the tensor.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The memory does not suffice.
    #[error("this model needs about {needed_mib} MiB of memory, and {available_mib} MiB are free")]
    Memory {
        /// Weights, cache and working space.
        needed_mib: u64,
        /// What the system says is free.
        available_mib: u64,
    },
    /// The device that was asked for cannot be had.
    #[error("cannot compute on `{device}`: {reason}")]
    Device {
        /// What it is called in the settings.
        device: String,
        /// Why.
        reason: String,
    },
    /// The memory of the device does not suffice.
    #[error("this model needs about {needed_mib} MiB on its device, and {free_mib} MiB are free")]
    DeviceMemory {
        /// Weights, the smallest cache and working space.
        needed_mib: u64,
        /// What the device says is free.
        free_mib: u64,
    },
    /// The memory of the device ran out while it was filled.
    #[error(
        "the memory of `{device}` did not suffice while the model was loaded ({reason}): unload other models, take a smaller one, or set `engine.device` to `cpu`"
    )]
    DeviceFull {
        /// What it is called in the settings.
        device: String,
        /// What it said.
        reason: String,
    },
    /// There is no room for the cache, whatever the file says.
    #[error("the cache of {mib} MiB cannot be made: {reason}")]
    Cache {
        /// Its size.
        mib: usize,
        /// Why.
        reason: String,
    },
    /// The cache budget holds not even a short conversation.
    #[error("the cache budget of {budget} bytes is too small: at least {needed} are needed")]
    CacheBudget {
        /// The budget.
        budget: usize,
        /// The least that works.
        needed: usize,
    },
    /// The small model that is to guess for this one cannot be used.
    #[error("the draft model \"{file}\" cannot be used: {reason}")]
    Draft {
        /// The name of its file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The tokenizer in the file cannot be used.
    #[error("the tokenizer of the model file cannot be used: {0}")]
    Tokenizer(String),
    /// The engine thread could not be started.
    #[error("cannot start the engine thread: {0}")]
    Thread(String),
}
