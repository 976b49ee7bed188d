"""OpenAI's client: text, stream, stop, echo, log probabilities, a batch, and a long text."""

import json
import sys
import urllib.request

from openai import APIStatusError, OpenAI

address, prompt, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
extra, window = json.loads(sys.argv[4]), int(sys.argv[5])
client = OpenAI(base_url=address, api_key="none", max_retries=0)
model = client.models.list().data[0].id


def write(text=prompt, max_tokens=count, **how):
    """Ask for the likeliest continuation."""
    how = {"temperature": 0, "extra_body": extra, "max_tokens": max_tokens} | how
    return client.completions.create(model=model, prompt=text, **how)


def status_of(text, max_tokens):
    """200, or the status with which the server refuses."""
    try:
        write(text, max_tokens)
    except APIStatusError as error:
        return error.status_code
    return 200


def default_penalty():
    """For repetition, in requests that say nothing of it."""
    with urllib.request.urlopen(f"{address.removesuffix('/v1')}/openapi.json") as answer:
        schemas = json.load(answer)["components"]["schemas"]
    request = schemas.get("CreateCompletionRequest", {}).get("properties", {})
    return request.get("repeat_penalty", {}).get("default")


plain = write()
text = plain.choices[0].text
stopped = write(stop=[text[5:8]]).choices[0]
measured = write(logprobs=2).choices[0]
found = {
    "text": text,
    "tokens": [plain.usage.prompt_tokens, plain.usage.completion_tokens],
    "streamed": "".join(part.choices[0].text for part in write(stream=True) if part.choices),
    "stopped": [stopped.text, stopped.finish_reason],
    "echoed": write(echo=True).choices[0].text,
    "logprobs": measured.logprobs and measured.logprobs.token_logprobs,
    "by default": client.completions.create(
        model=model, prompt=prompt, max_tokens=count, temperature=0
    )
    .choices[0]
    .text,
    "default penalty": default_penalty(),
    "long prompt": status_of(prompt * 30, 2),
    "long": write(max_tokens=2 * window).choices[0].text,
    "afterwards": write().choices[0].text,
}
print(json.dumps(found))
