"""What `tinyllm STAGE --help` says above the flags.

It is not in the stages' packages, so that a better description of a stage does not rerun it.
"""

STAGE_HELP = {
    "prepare": """Read raw text, clean it, and split it into train, val and test.

    Takes a file or a folder, here or at an address such as s3://bucket/key: text, JSON Lines or
    Parquet (--text-column), plain or compressed (.gz, .bz2, .xz, .zst). Writes each split in
    shards of about 64 MB, train-00000.txt and so on, and summary.json: characters, bytes, lines,
    alphabet and fingerprint of each. Memory does not grow with the text; --workers processes
    share the work, also on a Ray cluster (--engine ray); a rerun after a kill goes on from what
    is finished. None of these changes a byte.
    """,
    "tokenize": """Learn the tokens of the training split and encode all splits.

    Writes tokenizer.json, for each shard of text one of tokens, train-00000.bin and so on (raw
    arrays of the smallest integer type), and meta.json, which says how much of each split the
    alphabet covers. Workers, engine and reruns are as in 'tinyllm prepare'.
    """,
    "train": """Train a transformer and keep its best weights by loss on the validation split.

    Writes model.safetensors, config.json and tokenizer.json and, as a report, the history of
    losses. If an earlier run with the same parameters, data and code was interrupted, it resumes
    from there and ends with the same bytes.
    """,
    "evaluate": """Measure a checkpoint on a held-out split and draw samples from it.

    Writes metrics.json (loss, perplexity, bits per character and per byte, accuracies, and an
    n-gram model's bits per character to compare with), the loss by position in the context,
    plots and samples. Attaches them to the MLflow run that trained the checkpoint.
    """,
    "export": """Write a checkpoint in formats that other programs open, and register it.

    huggingface/ opens in transformers as a plain Qwen3 model, onnx/ in ONNX Runtime, gguf/ in
    llama.cpp; pyfunc/ is an MLflow model for 'mlflow models serve'; playground.html runs the
    model in a browser. Each is read back and compared with the model on held-out text
    before the folder appears; parity.json has the verdicts, README.md describes the model. A
    model that beats the champion's bits per character on the same test split by more than
    tracking.champion_margin becomes 'champion', any other 'candidate' ('tinyllm history').
    """,
}
