"""Asks a trained guide questions in words that it has not been trained on, and counts the answers that are
of the right subject. Greedy, and at the temperature that the web app uses.

Usage: python check.py TOKENIZER.json GUIDE.pt
"""
import sys

import torch
from tokenizers import Tokenizer

from facts import FACTS, UNKNOWN
from train import Guide

# (question, subjects whose answers are right); "unknown" is what it says of anything else.
QUESTIONS = [
    ("Who are you?", "who"), ("What sort of model am I talking to?", "who"), ("Are you a real person?", "who"),
    ("Hello!", "hello"), ("Hi guide, good morning", "hello"), ("Thanks, that is great", "thanks"), ("Bye for now", "bye"),
    ("What can you help me with?", "can"), ("What is Strongroom?", "strongroom"), ("What does Strongroom do for us?", "strongroom"),
    ("Can my manager read my chats?", "private"), ("Is my conversation private?", "private"),
    ("How can I make a new API key?", "key"), ("How do I use Strongroom from the OpenAI client?", "key"),
    ("Somebody has stolen my API key", "revoke"), ("How can I add a bigger model?", "model"),
    ("How do I serve a Llama model?", "model"), ("How do I switch to another model?", "picker model"),
    ("How can I verify the audit log?", "audit"), ("How do I create a backup of the server?", "backup"),
    ("Which roles exist?", "roles"), ("How can I invite a colleague?", "invite"), ("How can I change my password?", "password"),
    ("Why did I get a 429 error?", "limits"), ("What does the guard look for?", "guard"),
    ("Does the server work without internet?", "internet"), ("How can I delete an old chat?", "delete"),
    ("Do I need a graphics card or gpu?", "gpu"), ("Why does the browser show a certificate warning?", "tls"),
    ("Can you write a Python script?", "code"), ("Please write a poem about the sea", "write"),
    ("Write an email to my boss", "write"), ("What is 13 times 17?", "maths"), ("Do you speak Italian?", "languages"),
    ("What is the capital of France?", "facts unknown"), ("Who was Napoleon Bonaparte?", "facts unknown"),
    ("What is photosynthesis?", "facts unknown"), ("How do I bake bread?", "facts unknown"),
    ("What is a violin?", "facts unknown"), ("Explain gravity to me", "facts unknown"),
    ("What is the weather in Berlin?", "facts unknown"), ("Which is better, a cat or a dog?", "facts unknown"),
    ("How far is it to Madrid?", "facts unknown"), ("Tell me about the Roman empire", "facts unknown"),
]
ANSWERS = {subject: answers for subject, _, answers in FACTS} | {"unknown": UNKNOWN}


def answer(model, tokenizer, question, temperature=0.0, limit=80):
    ids = tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n").ids
    end, said = tokenizer.token_to_id("<|im_end|>"), []
    while len(said) < limit:
        with torch.no_grad():
            logits = model(torch.tensor([ids + said]))[0, -1]
        token = logits.argmax() if temperature == 0 else torch.multinomial((logits / temperature).softmax(-1), 1)
        if int(token) == end:
            break
        said.append(int(token))
    return tokenizer.decode(said).strip()


def main():
    torch.manual_seed(7)
    tokenizer, model = Tokenizer.from_file(sys.argv[1]), Guide()
    model.load_state_dict(torch.load(sys.argv[2])["model"])
    for temperature in (0.0, 0.7):
        right = 0
        for question, subjects in QUESTIONS:
            said = answer(model, tokenizer, question, temperature)
            if any(said in ANSWERS[subject] for subject in subjects.split()):
                right += 1
            else:
                print(f"  {question} -> {said}")
        print(f"temperature {temperature}: {right} of {len(QUESTIONS)} of the right subject, word for word")


if __name__ == "__main__":
    main()
