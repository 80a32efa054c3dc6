"""A tiny tokenizer with umT5's special ids, and what it makes of awkward prompts."""

import contextlib
import io
import json
from pathlib import Path

import sentencepiece
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from transformers import T5Tokenizer, T5TokenizerFast

HERE = Path(__file__).parent
PIECES = 288  # SentencePiece vocabulary; the sentinels <extra_id_*> follow it
SENTINELS = 8
MAX_LENGTH = 512

PROMPTS = {
    "empty": "",
    "space": "   ",
    "one_word": "ball",
    "plain": "A red ball rolls down a wooden ramp and comes to rest.",
    "negative": "blurry, low quality, distorted, watermark",
    "spaces": "  A   red ball    rolls  slowly.  ",
    "tabs_and_lines": "A red ball\trolls\r\nand  stops.\n\nThe end.",
    "numbers": "24 frames per second, 35 mm, f/2.8, 9:45, 100%",
    "quotes_straight": "\"Where are you going?\" she asks; it's late.",
    "quotes_curly": "“Where are you going?” she asks; it’s late, ‘now’.",
    "dashes": "a close-up – slow — very slow… then a cut",
    "entities": "salt &amp; pepper &lt;b&gt; &quot;hill&quot; caf&eacute; &#39;x&#39; &#x41;",
    "entities_twice": "salt &amp;amp; pepper &amp;quot;hill&amp;quot;",
    "entities_with_tag": "<i>salt &amp; pepper</i>",
    "full_width": "Ａ ｒｅｄ　ｂａｌｌ，ｓｔｏｐｓ！",
    "full_width_raw": "ＡＢ，ａｂ！",
    "german": "Der Ball fällt über die Tür auf den Boden.",
    "french": "La caméra suit la voiture jusqu'à l'entrée du café.",
    "russian": "Красный мяч катится по столу.",
    "chinese": "红色的球从桌子上滚下来，落在地上。",
    "japanese": "赤いボールがテーブルの上を転がる。",
    "mixed": "A ball 红色 ball мяч ball",
    "unknown_run": "A ball ☃☂♞♜ rolls",
    "unknown_alone": "☃",
    "unknown_split": "☃ ☂ ♞♜ ☃",
    "unknown_in_word": "ba☃ll ☂ball ball♞",
    "emoji": "A 🎬 shot 👩‍🚀 of 🇫🇷",
    "combining": "cafe\u0301 u\u0308ber n\u0303",
    "combining_stack": "e\u0301\u0323 o\u0302\u0301",
    "ligatures": "the ﬁrst ﬂoor",
    "roman_numeral": "chapter Ⅷ",
    "no_break_space": "A\u00a0red\u2009ball\u3000rolls",
    "zero_width": "A\u200bred\u200dball\ufeff",
    "control": "A red\u0007 ball\u001b[31m rolls\u007f",
    "mojibake": "Der Ball fÃ¤llt Ã¼ber die TÃ¼r",
    "metaspace": "A ▁ball▁ rolls",
    "leading_metaspace": "▁ball",
    "sentinel": "A <extra_id_0> ball<extra_id_7>rolls",
    "special": "A ball</s> rolls <pad><unk> <s>",
    "upper": "A BALL ROLLS DOWN THE RAMP",
    "punctuation": "?!...,,;:()[]{}'\"/\\@#$%^&*-_=+<>~`|",
    "long_word": "ball" * 40,
    "long": "A red ball rolls down a wooden ramp, a cart moves from left to right. " * 30,
    "long_unknown": "☃ ball " * 300,
}


def build_tokenizer(folder: Path) -> T5TokenizerFast:
    """Train the SentencePiece model into `folder`, convert it as transformers does, save both files there."""
    model = io.BytesIO()
    with contextlib.chdir(HERE):  # the model records the name of the charsmap file: keep it free of folders
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(Path("corpus.txt").read_text(encoding="utf-8").splitlines()),
            model_writer=model, model_type="unigram", vocab_size=PIECES, character_coverage=1.0, byte_fallback=False,
            pad_id=0, eos_id=1, bos_id=2, unk_id=3, normalization_rule_tsv="charsmap.tsv",
            num_threads=1, minloglevel=2)
    folder.mkdir(parents=True, exist_ok=True)
    spiece = folder / "spiece.model"
    spiece.write_bytes(model.getvalue())
    tokenizer = T5TokenizerFast(vocab_file=str(spiece), extra_ids=SENTINELS, add_prefix_space=True)
    tokenizer.save_pretrained(folder)
    config = folder / "tokenizer_config.json"
    words = json.loads(config.read_text())
    del words["add_prefix_space"]  # transformers would ignore tokenizer.json and convert spiece.model again
    config.write_text(json.dumps(words, indent=2, sort_keys=True) + "\n")
    return T5TokenizerFast.from_pretrained(folder)


def token_cases(folder: Path) -> list[dict]:
    """Cleaned text and valid ids (padding left out) of every prompt, read back from `folder`.

    `ids` belong to the cleaned text, which is what a pipeline encodes; `raw_ids` to the prompt as it stands.
    `slow_ids` is null where T5Tokenizer (SentencePiece) gives the same ids as T5TokenizerFast.
    """
    fast = T5TokenizerFast.from_pretrained(folder)
    slow = T5Tokenizer.from_pretrained(folder, legacy=True)

    def ids(tokenizer, text):
        out = tokenizer(text, padding="max_length", max_length=MAX_LENGTH, truncation=True, add_special_tokens=True)
        valid = sum(out.attention_mask)
        assert out.attention_mask == [1] * valid + [0] * (MAX_LENGTH - valid)
        assert set(out.input_ids[valid:]) <= {0}
        return out.input_ids[:valid]

    cases = []
    for name, text in PROMPTS.items():
        cleaned = prompt_clean(text)
        case = {"name": name, "text": text, "cleaned": cleaned, "ids": ids(fast, cleaned), "raw_ids": ids(fast, text)}
        case["slow_ids"] = None if ids(slow, cleaned) == case["ids"] else ids(slow, cleaned)
        cases.append(case)
    return cases


def write_token_cases(folder: Path, path: Path, versions: dict) -> None:
    """Write the cases of `folder` to `path`, one prompt a line."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in token_cases(folder))
    head = json.dumps({"versions": versions, "max_length": MAX_LENGTH}, sort_keys=True)[:-1]
    path.write_text(f'{head}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")
