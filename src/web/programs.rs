//! Where programs come in: below `/v1`, and at the bare addresses that clients of other servers use.

/// What other servers (vLLM, llama.cpp, Jina) have beside `/v1`, or in its place.
pub const BARE: [&str; 3] = ["/rerank", "/tokenize", "/detokenize"];

/// Whether programs come in there, with a key; a cookie opens nothing of it.
pub fn is_of_programs(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/") || BARE.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_doors_for_programs() {
        for path in ["/v1", "/v1/", "/v1/models", "/v1/nothing", "/rerank", "/tokenize"] {
            assert!(is_of_programs(path), "{path}");
        }
        for path in ["/", "/v1x", "/v2", "/tokenize/", "/tokenizer", "/api/v1/", "/c/tokenize", ""]
        {
            assert!(!is_of_programs(path), "{path}");
        }
    }
}
