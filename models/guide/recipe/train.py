"""Trains the guide: a Llama-shaped decoder with interleaved rotary embedding.

Usage: python train.py CORPUS.json TOKENIZER.json OUT.pt --minutes 40 [--start FIRST.pt --peak 6e-4]
"""
import argparse
import json
import math
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tokenizers import Tokenizer

CONFIG = dict(vocab=4096, width=256, layers=6, heads=8, kv_heads=4, hidden=704, context=512, base=10000.0, eps=1e-5)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, CONFIG["eps"])


def rotate(x, cos, sin):
    """Pairs of neighbours are rotated, as llama.cpp's `norm` rope does. x: [batch, heads, seq, head_dim]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        head = c["width"] // c["heads"]
        self.c, self.head = c, head
        self.attn_norm, self.ffn_norm = Norm(c["width"]), Norm(c["width"])
        self.q = nn.Linear(c["width"], c["width"], bias=False)
        self.k = nn.Linear(c["width"], c["kv_heads"] * head, bias=False)
        self.v = nn.Linear(c["width"], c["kv_heads"] * head, bias=False)
        self.o = nn.Linear(c["width"], c["width"], bias=False)
        self.gate = nn.Linear(c["width"], c["hidden"], bias=False)
        self.up = nn.Linear(c["width"], c["hidden"], bias=False)
        self.down = nn.Linear(c["hidden"], c["width"], bias=False)

    def forward(self, x, cos, sin):
        batch, seq, _ = x.shape
        h = self.attn_norm(x)
        split = lambda y, n: y.view(batch, seq, n, self.head).transpose(1, 2)
        q = rotate(split(self.q(h), self.c["heads"]), cos, sin)
        k = rotate(split(self.k(h), self.c["kv_heads"]), cos, sin)
        v = split(self.v(h), self.c["kv_heads"])
        repeat = self.c["heads"] // self.c["kv_heads"]
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(batch, seq, -1))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Guide(nn.Module):
    def __init__(self, c=CONFIG):
        super().__init__()
        self.c = c
        self.embed = nn.Embedding(c["vocab"], c["width"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.norm = Norm(c["width"])
        head = c["width"] // c["heads"]
        angle = torch.outer(torch.arange(c["context"]), c["base"] ** (-torch.arange(0, head, 2) / head))
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        x = self.embed(tokens)
        seq = tokens.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:seq], self.sin[:seq])
        return self.norm(x) @ self.embed.weight.T  # the output head is the embedding


def encode(tokenizer, chat):
    """Token ids and, for each, whether it is learned (what the assistant says, and plain text)."""
    ids, learned = [], []
    add = lambda text, learn: (lambda t: (ids.extend(t), learned.extend([learn] * len(t))))(tokenizer.encode(text).ids)
    for role, text in chat:
        if role == "text":
            add(text + "<|endoftext|>", True)
            continue
        add(f"<|im_start|>{role}\n", False)
        add(f"{text}<|im_end|>", role == "assistant")
        add("\n", False)
    return ids, learned


def pack(tokenizer, chats, length):
    """Rows of `length` + 1 tokens; a chat does not cross rows."""
    rows, ids, learned = [], [], []
    end = tokenizer.token_to_id("<|endoftext|>")
    for chat in chats:
        i, m = encode(tokenizer, chat)
        i, m = i[: length + 1], m[: length + 1]
        if len(ids) + len(i) > length + 1:
            pad = length + 1 - len(ids)
            rows.append((ids + [end] * pad, learned + [False] * pad))
            ids, learned = [], []
        ids, learned = ids + i, learned + m
    return np.array([r[0] for r in rows], np.int16), np.array([r[1] for r in rows], bool)


def loss_of(model, ids, mask):
    x = torch.from_numpy(ids.astype(np.int64))
    m = torch.from_numpy(mask[:, 1:])
    logits = model(x[:, :-1])
    return F.cross_entropy(logits[m], x[:, 1:][m])


def main():
    args = argparse.ArgumentParser()
    args.add_argument("corpus"), args.add_argument("tokenizer"), args.add_argument("out")
    args.add_argument("--minutes", type=float, default=40)
    args.add_argument("--peak", type=float, default=2e-3, help="the highest learning rate")
    args.add_argument("--start", help="a trained model to go on from")
    args = args.parse_args()
    torch.manual_seed(7), random.seed(7), torch.set_num_threads(2)
    tokenizer = Tokenizer.from_file(args.tokenizer)
    corpus = json.load(open(args.corpus, encoding="utf-8"))
    length, batch = 256, 16
    ids, mask = pack(tokenizer, corpus["train"], length)
    held_ids, held_mask = pack(tokenizer, corpus["held_out"], length)
    model = Guide()
    if args.start:
        model.load_state_dict(torch.load(args.start)["model"])
    print(sum(p.numel() for p in model.parameters()), "parameters;", ids.size, "tokens a pass", flush=True)
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=decay, weight_decay=0.05), dict(params=rest, weight_decay=0)], lr=args.peak, betas=(0.9, 0.97))
    begun, step, seen = time.time(), 0, 0
    while (share := (time.time() - begun) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            warm = min(1, (step + 1) / (30 if args.start else 100))
            group["lr"] = args.peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        rows = np.random.default_rng(step).integers(0, len(ids), batch)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, ids[rows], mask[rows])
        optimizer.zero_grad(), loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, seen = step + 1, seen + batch * length
        if step % 200 == 0:
            with torch.no_grad():
                held = loss_of(model, held_ids[:64], held_mask[:64]).item()
            print(f"step {step} tokens {seen} loss {loss.item():.3f} held-out {held:.3f} perplexity {math.exp(held):.2f} minutes {(time.time() - begun) / 60:.1f}", flush=True)
            torch.save(dict(model=model.state_dict(), step=step, tokens=seen, held_out=held), args.out)
    with torch.no_grad():
        held = loss_of(model, held_ids, held_mask).item()
    torch.save(dict(model=model.state_dict(), step=step, tokens=seen, held_out=held), args.out)
    print(f"done: step {step} tokens {seen} held-out {held:.3f} perplexity {math.exp(held):.2f}")


if __name__ == "__main__":
    main()
