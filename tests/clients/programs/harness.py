"""lm-eval: its three kinds of tasks, on files of this machine."""

import json
import sys
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager

folder, text, place = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
PIECE = 1000
TASKS = {
    "rolling": (
        "loglikelihood_rolling",
        [{"text": text[first : first + PIECE]} for first in range(0, len(text), PIECE)],
        {"doc_to_text": "", "doc_to_target": "{{text}}"},
        "bits_per_byte",
    ),
    "choice": (
        "multiple_choice",
        [{"text": text[:12], "choices": [text[12:20], "zqxzqxzq"], "answer": 0}],
        {
            "doc_to_text": "{{text}}",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "answer",
            "target_delimiter": "",
        },
        "acc",
    ),
    "writing": (
        "generate_until",
        [{"text": text[:16]}],
        {
            "doc_to_text": "{{text}}",
            "doc_to_target": "",
            "generation_kwargs": {"until": ["."], "max_gen_toks": 16, "do_sample": False},
        },
        "exact_match",
    ),
}
for name, (kind, rows, more, metric) in TASKS.items():
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (place / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(place / f"{name}.jsonl")}},
        "output_type": kind,
        "test_split": "test",
        "metric_list": [{"metric": metric}],
        **more,
    }
    # YAML is a superset of JSON
    (place / f"{name}.yaml").write_text(json.dumps(task), encoding="utf-8")
found = lm_eval.simple_evaluate(
    model="hf",
    model_args={"pretrained": folder, "dtype": "float32"},
    tasks=list(TASKS),
    task_manager=TaskManager(include_path=str(place)),
    device="cpu",
    batch_size=2,
)
written = found["samples"]["writing"][0]["resps"][0][0]
bits, right = found["results"]["rolling"]["bits_per_byte,none"], found["results"]["choice"]
print(json.dumps({"bits": bits, "right": right["acc,none"], "written": written}))
