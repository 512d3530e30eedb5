"""Builds the training text: one JSON list of chats, each a list of [role, text]. The first stage teaches
sentences; the second what to say, and of what to say nothing.

Usage: STRONGROOM_SHARED=../shared python build_corpus.py OUT.json [--second]
"""
import csv
import json
import os
import random
import re
import sys
from pathlib import Path

from facts import FACTS, GUIDE, REFUSED, TASKS, UNKNOWN

SHARED = Path(os.environ.get("STRONGROOM_SHARED", "../shared")) / "data" / "text"
random.seed(7)

BEFORE = ["", "", "", "", "please tell me, ", "can you tell me ", "I want to know ", "hi, ", "hello, ",
          "excuse me, ", "I have a question: ", "quick question: ", "so, ", "and ", "ok, ", "sorry, "]
AFTER = ["", "", "", "", "", "", " please", " here", " in strongroom", " on this server", ", please", " exactly", " now"]
SYSTEMS = ["You are a helpful assistant.", "You are the guide of this server.", "Answer briefly.",
           "You are a helpful assistant. Answer in one or two sentences."]


def vary(question, after=AFTER):
    text = random.choice(BEFORE) + question + random.choice(after)
    if random.random() < 0.5:
        text = text[0].upper() + text[1:]
    ending = "?" if re.match(r"(?i)(.*\b(how|what|who|where|which|why|when|can|do|does|is|are|should|am)\b)", question) else "."
    return text + random.choice([ending, ending, ending, ""])


# The same in other words: [pattern, ways to say it].
WORDS = [
    (r"^how do I ", ["how do I ", "how do I ", "how can I ", "how can we ", "how to ", "how would I ", "I want to ", "I need to ", "I would like to ",
                     "is there a way to ", "what is the way to ", "could you tell me how to ", "show me how to ", "where do I "]),
    (r"^what is ", ["what is ", "what is ", "what's ", "explain ", "tell me about ", "what exactly is ", "what do you know about "]),
    (r"^what are (?=the )", ["what are ", "what are ", "which are ", "tell me about ", "explain "]),
    (r"^can you ", ["can you ", "can you ", "could you ", "are you able to ", "would you ", "please "]),
    (r"^write ", ["write ", "write ", "please write ", "can you write ", "write me ", "could you write ", "I need you to write ", "compose ", "draft "]),
    (r"^why ", ["why ", "why ", "how come ", "what is the reason that "]),
    (r"\bserver\b", ["server", "server", "machine", "strongroom"]),
    (r"\bmy\b", ["my", "my", "our", "the"]),
    (r"\b(make|create)\b", ["make", "create", "get", "add", "set up"]),
    (r"\b(larger|bigger|better)\b", ["larger", "bigger", "better", "real", "proper", "stronger"]),
    (r"\ba (?=\w)", ["a ", "a ", "a ", "another ", "a new ", "one ", "my "]),
    (r"\badmin\b", ["admin", "administrator", "boss", "manager"]),
    (r"\bchats?\b", ["chat", "chats", "conversation", "messages"]),
]


def reworded(question):
    for pattern, ways in WORDS:
        if random.random() < 0.6:
            question = re.sub(pattern, lambda _: random.choice(ways), question, count=1)
    words = question.split()
    if len(words) > 4 and random.random() < 0.15:  # a word too few
        del words[random.randrange(1, len(words))]
    return " ".join(words)


def product():
    for _, questions, answers in FACTS:
        for question in questions:
            for at in range(60):
                asked = question if at % 3 == 0 else reworded(question)
                yield [["user", vary(asked)], ["assistant", random.choice(answers)]]


def persona(answer):
    """Answers that speak of a body, a maker or a name become the guide's own."""
    if re.search(r"\b(digital|assistant|bot|computer|software|AI|program|agent|code|created|made|born|people)\b", answer):
        return random.choice([GUIDE, GUIDE + " I am only a small language model."])
    return answer


def chitchat():
    for name in ["qna_chitchat_professional.tsv", "qna_chitchat_friendly.tsv"]:
        with open(SHARED / "chitchat" / name, encoding="utf-8") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
        for row in rows:
            if len(row) >= 2 and not row[0].startswith("/") and len(row[0]) < 120:
                yield [["user", row[0]], ["assistant", persona(row[1])]]


def chatterbot():
    import yaml
    for path in sorted((SHARED / "chatterbot-corpus").glob("*.yml")):
        if any(word in path.name for word in ["politics", "botprofile", "ai.yml", "gossip", "humor", "emotion"]):
            continue
        for chat in yaml.safe_load(path.read_text(encoding="utf-8")).get("conversations", []):
            if len(chat) >= 2 and all(isinstance(turn, str) and len(turn) < 300 for turn in chat[:2]):
                yield [["user", chat[0]], ["assistant", persona(chat[1])]]


def definitions():
    rows = []
    with open(SHARED / "open-english-wordnet" / "synsets.jsonl", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            words = row.get("members") or row.get("words") or row.get("lemmas") or []
            text = row.get("definition") or (row.get("definitions") or [""])[0]
            if isinstance(text, list):
                text = text[0] if text else ""
            word = words[0] if words else ""
            if not row.get("cat", "").startswith("noun") or not word.isalpha() or not word.islower():
                continue
            if 20 < len(text) < 110:
                rows.append((word, text.split(";")[0].strip()))
    random.shuffle(rows)
    for word, text in rows[:14000]:
        article = "an" if word[0] in "aeiou" else "a"
        question = random.choice([f"What is {article} {word}?", f"what is {word}", f"Define {word}.", f"What does {word} mean?"])
        yield [["user", question], ["assistant", f"{article.capitalize()} {word} is {text}."]]


def synsets(category):
    with open(SHARED / "open-english-wordnet" / "synsets.jsonl", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row.get("cat") in category:
                yield from row.get("members") or []


def strangers(count):
    """Questions about anything but the server, and that the guide does not know."""
    things = [word for word in synsets({"noun.artifact", "noun.animal", "noun.food", "noun.plant", "noun.feeling", "noun.act",
                                        "noun.body", "noun.event", "noun.phenomenon", "noun.substance", "noun.cognition"})
              if re.fullmatch(r"[a-z]{3,12}( [a-z]{3,10})?", word)]
    places = [word for word in synsets({"noun.location"}) if re.fullmatch(r"[A-Z][a-z]{3,11}", word)]
    people = [word for word in synsets({"noun.person"}) if re.fullmatch(r"[A-Z][a-z]+ [A-Z][a-z]+", word)]
    tasks = next(answers for subject, _, answers in FACTS if subject == "write")
    for at in range(count):
        template, answers = (random.choice(TASKS), tasks) if at % 4 == 0 else (random.choice(REFUSED), UNKNOWN)
        question = template.format(x=random.choice(things), y=random.choice(things), place=random.choice(places),
                                   person=random.choice(people))
        yield [["user", vary(reworded(question), ["", "", "", " please"])], ["assistant", random.choice(answers)]]


def prose():
    """Plain prose, as a chat with one long answer, so that sentences come easily."""
    text = (SHARED / "plainlanguage").glob("*.txt")
    paragraphs = []
    for path in list(text) + list((SHARED / "opensource-guide").glob("*.txt")):
        for paragraph in path.read_text(encoding="utf-8", errors="ignore").split("\n\n"):
            paragraph = " ".join(paragraph.split())
            if 120 < len(paragraph) < 700 and paragraph[0].isupper() and paragraph.endswith("."):
                paragraphs.append(paragraph)
    for paragraph in paragraphs:
        yield [["text", paragraph]]


def with_turns(chats):
    """Some chats get a system prompt, some a second exchange."""
    exchanges = [chat for chat in chats if chat[0][0] == "user"]
    for chat in chats:
        if chat[0][0] == "user" and random.random() < 0.25:
            chat = chat + random.choice(exchanges)
        if chat[0][0] == "user" and random.random() < 0.15:
            chat = [["system", random.choice(SYSTEMS)]] + chat
        yield chat


def second():
    """The server, strangers two thirds as often, and a little small talk."""
    own = list(product())
    talk = [chat for chat in chitchat() if len(chat[1][1]) < 90]
    talk = random.sample(talk, min(len(talk), len(own) // 12))
    return list(with_turns(own + list(strangers(2 * len(own) // 3)) + talk))


def first():
    own = list(product())
    talk = list(chitchat()) + list(chatterbot()) * 2
    return list(with_turns(own)) + list(with_turns(talk)) + list(definitions()) + list(prose())


def main():
    chats = second() if "--second" in sys.argv else first()
    random.shuffle(chats)
    held_out = chats[: len(chats) // 50]
    Path(sys.argv[1]).write_text(json.dumps({"train": chats[len(held_out):], "held_out": held_out}), encoding="utf-8")
    print(len(chats), "chats")


if __name__ == "__main__":
    main()
