"""TRL and PEFT: a model fine-tuned by low-rank adapters, which are then merged into it."""

import json
import sys
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

folder, prompt, place = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
texts = Dataset.from_dict(
    {"text": ["O, the sea.\n" * 3, "O, the salt sea.\n" * 2, "O, sea.\n"] * 8}
)
settings = SFTConfig(
    output_dir=str(place / "out"),
    max_steps=20,
    per_device_train_batch_size=6,
    learning_rate=0.02,
    logging_steps=1,
    save_strategy="no",
    report_to=[],
    use_cpu=True,
    bf16=False,
    disable_tqdm=True,
)
lora = LoraConfig(task_type="CAUSAL_LM", r=4)
trainer = SFTTrainer(model=folder, args=settings, train_dataset=texts, peft_config=lora)
trainer.train()
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
trainer.save_model(str(place / "adapter"))
base = AutoModelForCausalLM.from_pretrained(folder)
merged = PeftModel.from_pretrained(base, str(place / "adapter")).merge_and_unload()
tokenizer = AutoTokenizer.from_pretrained(folder)
tokens = tokenizer(prompt, return_tensors="pt")
text = tokenizer.decode(merged.generate(**tokens, do_sample=False, max_new_tokens=20)[0])
print(json.dumps({"losses": [float(loss) for loss in losses], "text": text}))
