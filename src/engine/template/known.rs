//! Templates for files that bring none, by the control tokens that a family has.

use crate::engine::tokenizer::Tokenizer;

/// The template that fits the control tokens of a model.
pub(super) fn by_tokens(tokenizer: &Tokenizer) -> &'static str {
    let has = |name: &str| tokenizer.token_named(name).is_some();
    KNOWN
        .iter()
        .find(|(names, _)| names.iter().all(|name| has(name)))
        .map_or(PLAIN, |known| known.1)
}

const KNOWN: [(&[&str], &str); 5] = [
    (&["<|im_start|>", "<|im_end|>"], CHATML),
    (&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], LLAMA_3),
    (&["<start_of_turn>", "<end_of_turn>"], GEMMA),
    (&["<|user|>", "<|assistant|>", "<|end|>"], PHI_3),
    (&["[INST]", "[/INST]"], MISTRAL),
];

const CHATML: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const LLAMA_3: &str = "{{ bos_token }}{% for message in messages %}\
    {{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim \
    + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

// The family has no system role: what it says goes in front of the first message.
const GEMMA: &str = "{{ bos_token }}{% set frame = namespace(text='') %}\
    {% for message in messages %}{% if message.role == 'system' %}\
    {% set frame.text = frame.text + message.content | trim + '\\n\\n' %}{% else %}\
    {{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' \
    + frame.text + message.content | trim + '<end_of_turn>\\n' }}\
    {% set frame.text = '' %}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

const PHI_3: &str = "{% for message in messages %}\
    {{ '<|' + ('user' if message.role == 'tool' else message.role) + '|>\\n' + message.content \
    + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

const MISTRAL: &str = "{{ bos_token }}{% set frame = namespace(text='') %}\
    {% for message in messages %}{% if message.role == 'system' %}\
    {% set frame.text = frame.text + message.content + '\\n\\n' %}\
    {% elif message.role == 'assistant' %}{{ message.content + eos_token }}{% else %}\
    {{ '[INST]' + frame.text + message.content + '[/INST]' }}{% set frame.text = '' %}\
    {% endif %}{% endfor %}";

// A model that was never taught to chat goes on with the text.
const PLAIN: &str = "{% for message in messages %}{{ message.content }}\
    {% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}";
