//! Model files that somebody has damaged: every field of the header, each key that decides something,
//! the directory of tensors.

/// A change to the bytes of a sound file, and what the refusal must say.
pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub says: &'static str,
}

/// Changes to the 24 bytes that begin a file, and to the first key.
pub fn header_cases(whole: &[u8]) -> Vec<Case> {
    let tensors = u64::from_le_bytes(whole[8..16].try_into().expect("eight bytes"));
    let keys = u64::from_le_bytes(whole[16..24].try_into().expect("eight bytes"));
    let put = |name, at, bytes: &[u8], says| patched(name, whole, at, bytes, says);
    vec![
        put("magic", 0, b"GGML", "GGUF"),
        put("version-0", 4, &0_u32.to_le_bytes(), "version 0"),
        put("version-1", 4, &1_u32.to_le_bytes(), "version 1"),
        put("version-4", 4, &4_u32.to_le_bytes(), "version 4"),
        put("version-all", 4, &u32::MAX.to_le_bytes(), "version"),
        put("big-endian", 4, &3_u32.to_be_bytes(), "big-endian"),
        put(
            "tensors-0",
            8,
            &0_u64.to_le_bytes(),
            "the file lacks the tensor \"token_embd.weight\"",
        ),
        put(
            "tensors-more",
            8,
            &(tensors + 1).to_le_bytes(),
            "the length of the directory entry of tensor number 56 is",
        ),
        put(
            "tensors-fewer",
            8,
            &(tensors - 1).to_le_bytes(),
            "the file lacks the tensor \"output_norm.weight\"",
        ),
        put("tensors-all", 8, &u64::MAX.to_le_bytes(), "tensor"),
        put(
            "keys-0",
            16,
            &0_u64.to_le_bytes(),
            "the directory entry of tensor \"general.architecture\" has 8 dimensions, not 1 to 4",
        ),
        put(
            "keys-more",
            16,
            &(keys + 1).to_le_bytes(),
            "the length of the directory entry of tensor number 0 is",
        ),
        put(
            "keys-fewer",
            16,
            &(keys - 1).to_le_bytes(),
            "the directory entry of tensor \"tokenizer.chat_template\" has 8 dimensions",
        ),
        put("keys-all", 16, &u64::MAX.to_le_bytes(), "key"),
        put("key-length-0", 24, &0_u64.to_le_bytes(), "the value of \"\" has the unknown type"),
        put("key-length-all", 24, &u64::MAX.to_le_bytes(), "key"),
        put("key-not-text", 32, &[0xff, 0xfe], "metadata key number 0 is not UTF-8"),
    ]
}

/// Changes to the values of keys.
pub fn value_cases(whole: &[u8]) -> Vec<Case> {
    let put = |name, key, bytes: &[u8], says| {
        patched(name, whole, find(whole, key) + key.len() + 4, bytes, says)
    };
    let kind = |name, key: &str, kind: u32, says| {
        patched(name, whole, find(whole, key) + key.len(), &kind.to_le_bytes(), says)
    };
    let number = |value: u32| value.to_le_bytes();
    vec![
        kind("kind-99", "llama.context_length", 99, "llama.context_length"),
        kind(
            "kind-text",
            "llama.block_count",
            8,
            "the length of the value of \"llama.block_count\" is 107374182406, above the limit",
        ),
        put(
            "text-without-end",
            "general.architecture",
            &u64::MAX.to_le_bytes(),
            "general.architecture",
        ),
        patched("architecture", whole, find(whole, "general.architecture") + 32, b"alien", "alien"),
        put("context-0", "llama.context_length", &number(0), "context_length"),
        put("width-0", "llama.embedding_length", &number(0), "embedding_length"),
        put(
            "width-odd",
            "llama.embedding_length",
            &number(255),
            "a width of 255 cannot be divided among 8 heads",
        ),
        put("width-all", "llama.embedding_length", &number(u32::MAX), "embedding_length"),
        put("blocks-0", "llama.block_count", &number(0), "block_count"),
        put("blocks-more", "llama.block_count", &number(7), "blk.6"),
        put("blocks-all", "llama.block_count", &number(u32::MAX), "block_count"),
        put("inner-0", "llama.feed_forward_length", &number(0), "feed_forward_length"),
        put(
            "inner-other",
            "llama.feed_forward_length",
            &number(705),
            "blk.0.ffn_gate.weight: its shape is [704, 256], and [705, 256] is what",
        ),
        put("heads-0", "llama.attention.head_count", &number(0), "head_count"),
        put(
            "heads-7",
            "llama.attention.head_count",
            &number(7),
            "llama.attention.head_count_kv: 7 heads cannot share 4",
        ),
        put("heads-all", "llama.attention.head_count", &number(u32::MAX), "head_count"),
        put("kv-heads-0", "llama.attention.head_count_kv", &number(0), "head_count_kv"),
        put("kv-heads-3", "llama.attention.head_count_kv", &number(3), "head"),
        put("rope-odd", "llama.rope.dimension_count", &number(31), "dimension_count"),
        put("rope-all", "llama.rope.dimension_count", &number(u32::MAX), "dimension_count"),
        put("base-0", "llama.rope.freq_base", &0_f32.to_le_bytes(), "freq_base"),
        put("base-nan", "llama.rope.freq_base", &f32::NAN.to_le_bytes(), "freq_base"),
        put(
            "epsilon-nan",
            "llama.attention.layer_norm_rms_epsilon",
            &f32::NAN.to_le_bytes(),
            "epsilon",
        ),
        put(
            "epsilon-below",
            "llama.attention.layer_norm_rms_epsilon",
            &(-1_f32).to_le_bytes(),
            "epsilon",
        ),
    ]
}

/// Changes to the words, and to what says how they are cut and joined.
pub fn word_cases(whole: &[u8]) -> Vec<Case> {
    let value = |key: &str| find(whole, key) + key.len() + 4;
    let put = |name, at, bytes: &[u8], says| patched(name, whole, at, bytes, says);
    let number = |value: u32| value.to_le_bytes();
    let (text, list) = (8, 12);
    let merges = value("tokenizer.ggml.merges") + list;
    let put_key = |name, key: &str, bytes: &[u8], says| put(name, value(key), bytes, says);
    vec![
        put_key(
            "tokenizer",
            "tokenizer.ggml.model",
            &[5, 0, 0, 0, 0, 0, 0, 0],
            "the length of metadata key number 16 is",
        ),
        put_key("tokens-of-99", "tokenizer.ggml.tokens", &number(99), "tokenizer.ggml.tokens"),
        patched(
            "tokens-all",
            whole,
            find(whole, "tokenizer.ggml.tokens") + 29,
            &u64::MAX.to_le_bytes(),
            "tokenizer.ggml.tokens",
        ),
        patched(
            "types-fewer",
            whole,
            find(whole, "tokenizer.ggml.token_type") + 33,
            &4095_u64.to_le_bytes(),
            "the length of metadata key number 19 is",
        ),
        put_key(
            "flag-of-7",
            "tokenizer.ggml.add_bos_token",
            &[7],
            "\"tokenizer.ggml.add_bos_token\" is neither true nor false",
        ),
        put(
            "pre-alien",
            value("tokenizer.ggml.pre") + text,
            b"alien-bpe",
            "the tokenizer cuts words in the way \"alien-bpe\", which is not supported",
        ),
        put(
            "pre-not-text",
            value("tokenizer.ggml.pre") + text,
            &[0xff, 0xfe],
            "the metadata key \"tokenizer.ggml.pre\" should be a UTF-8 text",
        ),
        put("merge-of-one", merges + 8, "Ġxa".as_bytes(), "the merge \"Ġxa\" has one half"),
        put(
            "merge-not-text",
            merges + 8,
            &[0xff, 0xfe],
            "the metadata key \"tokenizer.ggml.merges\" should be a list of UTF-8 texts",
        ),
    ]
}

/// Files with one more key, which says where tensors may begin.
pub fn alignment_cases(whole: &[u8]) -> Vec<Case> {
    let number = |value: u32| value.to_le_bytes();
    vec![
        aligned(
            "alignment-0",
            whole,
            4,
            &number(0),
            "\"general.alignment\" is 0, not a power of two up to 65536",
        ),
        aligned(
            "alignment-3",
            whole,
            4,
            &number(3),
            "\"general.alignment\" is 3, not a power of two",
        ),
        aligned(
            "alignment-33",
            whole,
            4,
            &number(33),
            "\"general.alignment\" is 33, not a power of two",
        ),
        aligned(
            "alignment-all",
            whole,
            4,
            &number(u32::MAX),
            "\"general.alignment\" is 4294967295, not a power of two",
        ),
        aligned(
            "alignment-half",
            whole,
            4,
            &number(1 << 31),
            "\"general.alignment\" is 2147483648, not a power of two",
        ),
        aligned(
            "alignment-text",
            whole,
            8,
            &[1, 0, 0, 0, 0, 0, 0, 0, b'8'],
            "\"general.alignment\" should be a whole number, but it is a text",
        ),
    ]
}

/// Changes that take nothing from a model: what they touch is known from elsewhere, or not needed.
pub fn harmless_cases(whole: &[u8]) -> Vec<Case> {
    let value = |key: &str| find(whole, key) + key.len() + 4;
    let put = |name, at, bytes: &[u8]| patched(name, whole, at, bytes, "");
    let number = |value: u32| value.to_le_bytes();
    let merges = value("tokenizer.ggml.merges") + 12;
    vec![
        put("words-0", value("llama.vocab_size"), &number(0)),
        put("words-fewer", value("llama.vocab_size"), &number(4095)),
        put("words-all", value("llama.vocab_size"), &number(u32::MAX)),
        put("end-beyond", value("tokenizer.ggml.eos_token_id"), &number(4096)),
        put("end-all", value("tokenizer.ggml.eos_token_id"), &number(u32::MAX)),
        put("padding-beyond", value("tokenizer.ggml.padding_token_id"), &number(4096)),
        put("padding-all", value("tokenizer.ggml.padding_token_id"), &number(u32::MAX)),
        put("merge-of-strangers", merges + 8, b"\x01 \x02\x03"),
        put("type-99", value("general.file_type"), &number(99)),
        put("type-all", value("general.file_type"), &number(u32::MAX)),
    ]
}

/// Changes that leave a model without a chat template.
pub fn template_cases(whole: &[u8]) -> Vec<Case> {
    let template = find(whole, "tokenizer.chat_template") + "tokenizer.chat_template".len() + 12;
    let put = |name, at, bytes: &[u8]| patched(name, whole, at, bytes, "");
    vec![
        put("template-broken", template, b"{% fur"),
        put("template-open", template, b"{{ (((("),
        put("template-not-text", template, &[0xff, 0xfe]),
    ]
}

/// The file with one more key in front, which says where tensors may begin.
fn aligned(name: &'static str, whole: &[u8], kind: u32, value: &[u8], says: &'static str) -> Case {
    let key = "general.alignment";
    let count = u64::from_le_bytes(whole[16..24].try_into().expect("eight bytes")) + 1;
    let bytes = [
        &whole[..16],
        &count.to_le_bytes(),
        &(key.len() as u64).to_le_bytes(),
        key.as_bytes(),
        &kind.to_le_bytes(),
        value,
        &whole[24..],
    ];
    Case { name, bytes: bytes.concat(), says }
}

/// Changes to the directory of tensors.
pub fn tensor_cases(whole: &[u8]) -> Vec<Case> {
    let name = find(whole, "token_embd.weight");
    let after = name + "token_embd.weight".len();
    let put = |name, at, bytes: &[u8], says| patched(name, whole, at, bytes, says);
    let number = |value: u32| value.to_le_bytes();
    let long = |value: u64| value.to_le_bytes();
    vec![
        put(
            "tensor-name-all",
            name - 8,
            &long(u64::MAX),
            "the length of the directory entry of tensor number 0 is 18446744073709551615",
        ),
        put("tensor-name-other", name, b"token_embX", "token_embd.weight"),
        put("tensor-dims-0", after, &number(0), "token_embd.weight"),
        put("tensor-dims-99", after, &number(99), "token_embd.weight"),
        put("tensor-size-0", after + 4, &long(0), "token_embd.weight"),
        put("tensor-size-odd", after + 4, &long(255), "token_embd.weight"),
        put("tensor-size-all", after + 4, &long(u64::MAX), "token_embd.weight"),
        put("tensor-size-wraps", after + 12, &long(1 << 56), "token_embd.weight"),
        put(
            "tensor-size-other",
            after + 12,
            &long(4095),
            "token_embd.weight: its shape is [4095, 256], and [4096, 256] is what",
        ),
        put("tensor-kind-99", after + 20, &number(99), "token_embd.weight"),
        put("tensor-kind-gone", after + 20, &number(4), "token_embd.weight"),
        put("tensor-place-odd", after + 24, &long(1), "token_embd.weight"),
        put("tensor-place-beyond", after + 24, &long(1 << 40), "token_embd.weight"),
        put("tensor-place-all", after + 24, &long(u64::MAX - 31), "token_embd.weight"),
    ]
}

fn patched(name: &'static str, whole: &[u8], at: usize, bytes: &[u8], says: &'static str) -> Case {
    let mut changed = whole.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    Case { name, bytes: changed, says }
}

/// Where a text first stands in a file.
pub fn find(whole: &[u8], text: &str) -> usize {
    let place = whole.windows(text.len()).position(|window| window == text.as_bytes());
    place.unwrap_or_else(|| panic!("{text} is in the file"))
}
