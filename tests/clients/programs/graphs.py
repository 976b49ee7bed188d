"""Optimum and OpenVINO: both graphs, texts alone and in a batch."""

import json
import sys

import numpy as np
import openvino
from optimum.onnxruntime import ORTModelForCausalLM
from transformers import AutoTokenizer

folder, prompts, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder)
tokens = tokenizer(prompts, padding=True, return_tensors="pt")


def with_optimum(**where):
    """The likeliest continuations."""
    model = ORTModelForCausalLM.from_pretrained(folder, **where)
    written = model.generate(**tokens, do_sample=False, max_new_tokens=count)
    return tokenizer.batch_decode(written, skip_special_tokens=True)


def with_openvino(graph, prompt):
    """The likeliest continuation, step by step."""
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(f"{folder}/onnx/{graph}", "CPU", precise)
    cache = {
        entry.any_name: np.zeros((1, entry.partial_shape[1].get_length(), 0,
                                  entry.partial_shape[3].get_length()), np.float32)
        for entry in model.inputs
        if entry.any_name.startswith("past_key_values.")
    }  # fmt: skip
    text, unread = tokenizer(prompt).input_ids, tokenizer(prompt).input_ids
    for _ in range(count):
        feeds = {
            "input_ids": np.array([unread]),
            "attention_mask": np.ones((1, len(text)), np.int64),
            "position_ids": np.arange(len(text) - len(unread), len(text))[None],
        }
        outputs = model(feeds | cache)
        unread = [int(outputs["logits"][0, -1, 1:].argmax()) + 1]
        text = text + unread
        cache = {name: outputs[name.replace("past_key_values", "present")] for name in cache}
    return tokenizer.decode(text)


print(
    json.dumps(
        {
            "as it lies": with_optimum(),
            "optimum": with_optimum(subfolder="onnx", file_name="model.onnx"),
            "optimum, 8 bits": with_optimum(subfolder="onnx", file_name="model_quantized.onnx"),
            "openvino": [with_openvino("model.onnx", prompt) for prompt in prompts],
            "openvino, 8 bits": [with_openvino("model_quantized.onnx", prompts[0])],
        }
    )
)
