"""transformers: the tokens of texts, the texts of tokens, and prompts continued together."""

import json
import sys

from transformers import AutoModelForCausalLM, AutoTokenizer, __version__

folder, texts, prompts, count = sys.argv[1], *map(json.loads, sys.argv[2:5])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
tokens = [tokenizer(text).input_ids for text in texts]
rows = tokenizer(prompts, padding=True, return_tensors="pt")
written = model.generate(**rows, do_sample=False, max_new_tokens=count)
print(
    json.dumps(
        {
            "version": __version__,
            "tokens": tokens,
            "texts": [tokenizer.decode(row) for row in tokens],
            "written": tokenizer.batch_decode(written, skip_special_tokens=True),
        }
    )
)
