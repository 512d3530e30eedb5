"""Makes the Unigram tokenizer of tests/engine/unigram.gguf, and what `sentencepiece` makes of texts.

    pip install sentencepiece==0.2.3 gguf==0.19.0
    python tests/engine/make_unigram.py

The model is trained on the sentences of minilm.json and on this repository's own documents, with the
map of characters that XLM-R has (NFKC as SentencePiece has it).
"""

import io
import json
import pathlib

import gguf
import sentencepiece

HERE = pathlib.Path(__file__).parent
DOCUMENTS = HERE.parents[1] / "docs"
CASES = [
    "", " ", "Hello world", "  leading, trailing and   doubled   spaces  ", "tabs\tand\nnewlines\r\n",
    "ﬁne ligatures ﬃ and ① ② Ⅷ ½", "ｆｕｌｌ　ｗｉｄｔｈ", "e\u0301 combining, \u212b and \u00c5",
    "non\u00a0breaking\u2003spaces\u3000here", "zero\u200bwidth\u200d joiner \ufeff mark", "soft\u00adhyphen",
    "日本語とｶﾀｶﾅ ﾊﾞ ㍿", "한국어 문장 \u1112\u1161\u11ab", "العربية ﷺ ﻻ", "हिन्दी मात्राएँ", "ไทย",
    "🙂🚀 👩\u200d👩\u200d👧 🇩🇪", "</s> <s> <unk> [CLS]", "\u2581 the mark itself \u2581x", "\u0000\u0001\u007f control",
    "supercalifragilistic" * 3, "a" * 300, "1234567890 3.14 1e-9", "x\u0323\u0307 \u1e9b\u0323", "Ǆ ǅ ß ẞ İ ı",
    "\U0001d54f \U0001f130 \ufb4f \u2126", "don't can't it's", "https://example.com/?q=1&r=2#x",
]


def main():
    texts = json.loads((HERE / "minilm.json").read_text())["sentences"]
    lines = [line for path in sorted(DOCUMENTS.glob("*.md")) for line in path.read_text().splitlines()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts + [line for line in lines if line]), model_writer=model,
        model_type="unigram", vocab_size=600, hard_vocab_limit=False, character_coverage=0.995,
        normalization_rule_name="nmt_nfkc", num_threads=1, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    writer = gguf.GGUFWriter(HERE / "unigram.gguf", "bert")
    writer.add_tokenizer_model("t5")
    size = processor.get_piece_size()
    writer.add_token_list([processor.id_to_piece(at) for at in range(size)])
    writer.add_token_scores([processor.get_score(at) for at in range(size)])
    kind = lambda at: 2 if processor.is_unknown(at) else 3 if processor.is_control(at) else 1
    writer.add_token_types([kind(at) for at in range(size)])
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_precompiled_charsmap(charsmap(model.getvalue()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    cases = [{"text": text, "tokens": processor.encode(text)} for text in CASES + texts]
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    (HERE / "unigram.json").write_text(f"[\n{lines}\n]\n")


def charsmap(raw):
    """The bytes of `normalizer_spec.precompiled_charsmap`: field 2 of field 3 (Protocol Buffers)."""
    return field(field(raw, 3), 2)


def field(raw, wanted):
    at = 0
    while at < len(raw):
        tag, at = varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = varint(raw, at)
        elif wire == 5:
            at += 4
        elif wire == 1:
            at += 8
        else:
            length, at = varint(raw, at)
            if number == wanted:
                return raw[at:at + length]
            at += length
    raise SystemExit(f"no field {wanted}")


def varint(raw, at):
    value = shift = 0
    while True:
        value |= (raw[at] & 0x7F) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 0x80:
            return value, at


main()
