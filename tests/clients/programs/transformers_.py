"""transformers: texts alone and in batches, by the pipeline, by prompt lookup, and at any heat."""

import json
import sys

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    __version__,
    pipeline,
)

folder, prompts, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
greedy = {"do_sample": False, "max_new_tokens": count}


def write(texts, **how):
    """Continue texts together."""
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    return model.generate(**tokens, **greedy | how)


alone = [tokenizer.decode(write([text])[0]) for text in prompts]
together = tokenizer.batch_decode(write(prompts), skip_special_tokens=True)
piped = pipeline("text-generation", model=folder)(prompts, batch_size=2, **greedy)
guessed = tokenizer.decode(write(prompts[:1], prompt_lookup_num_tokens=3)[0])
torch.manual_seed(0)
hot = write(["O"] * 100, do_sample=True, temperature=5.0)
collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
labels = collator([tokenizer(text) for text in prompts])["labels"]
print(
    json.dumps(
        {
            "version": __version__,
            "alone": alone,
            "together": together,
            "piped": [found[0]["generated_text"] for found in piped],
            "guessed": guessed,
            "unknown": int((hot == 0).sum()),
            "from nothing": len(tokenizer.decode(model.generate(**greedy)[0][1:])),
            "literal": len(tokenizer("a<unk>b").input_ids),
            "trained on": int((labels != -100).sum()),
        }
    )
)
