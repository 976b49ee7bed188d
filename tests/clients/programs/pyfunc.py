"""MLflow: the model of the registry, with what it lists and nothing else."""

import importlib.util
import json
import sys

import mlflow.pyfunc
import pandas as pd

assert importlib.util.find_spec("torch") is None
assert importlib.util.find_spec("tinyllm") is None
folder, prompt, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
model = mlflow.pyfunc.load_model(folder)
params = {"temperature": 0.0, "max_new_tokens": count}
texts = model.predict(pd.DataFrame({"prompt": [prompt, prompt[:4]]}), params=params)["text"]
stream = model.predict_stream({"prompt": prompt}, params=params)
print(json.dumps([texts[0], prompt + "".join(stream)]))
