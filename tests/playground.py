"""What the playground's tests share: an offline Chromium, models, and what Python would write."""

import shutil

import pytest
import torch

from tests.sliding import sliding as sliding_model
from tests.waiting import wait_until
from tinyllm.formats.playground import write_playground
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.inference.sampling import next_token
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer

ODD = "\n <>&\"'\\{}$`é\u2028\N{GRINNING FACE}abcdefgh"
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def open_chromium():
    """Start a Chromium that is cut off from the network, or skip the test."""
    reason = "needs selenium, Chromium and its driver (Debian: chromium, chromium-driver)"
    webdriver = pytest.importorskip("selenium.webdriver", reason=reason)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    return driver


class Browser:
    """A Chromium that cannot reach anything, with the page of a checkpoint in it."""

    def __init__(self, driver, folder):
        self.driver = driver
        self.run = driver.execute_script
        self._folder = folder

    def open(self, checkpoint, prompt=""):
        path = self._folder / "page.html"
        write_playground(checkpoint, path, prompt)
        self.driver.get(path.as_uri())
        return self

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def set(self, **values):
        for name, value in values.items():
            self.run(
                "const input = document.getElementById(arguments[0]); input.value = arguments[1];"
                "input.dispatchEvent(new Event('input'))",
                name.replace("_", "-"),
                str(value),
            )

    def write(self, prompt):
        """Type a prompt, press Write, wait for the end, and return the text on show."""
        self.find("#prompt").clear()
        self.find("#prompt").send_keys(prompt)
        self.find("#write").click()
        self.wait()
        return self.text()

    def wait(self):
        wait_until(lambda: not self.find("#stop").is_enabled(), between=0.02)

    def text(self):
        return self.run("return document.getElementById('text').textContent")

    def generate(self, prompt, sampling):
        options = {
            "temperature": sampling.temperature,
            "topK": sampling.top_k,
            "topP": sampling.top_p,
            "seed": str(sampling.seed),
            "count": sampling.max_new_tokens,
        }
        return self.run("return tinyllm.generate(arguments[0], arguments[1])", prompt, options)

    def logits(self, text):
        return torch.tensor(self.run("return tinyllm.logits(arguments[0])", text)).numpy()


def random_checkpoint(tokenizer=None, scale=0.4, **changes):
    """Weights large enough that every one of them shows in the logits; for odd characters."""
    shape = {"d_model": 30, "num_heads": 3, "num_layers": 2, "d_ff": 17, "sequence_length": 16}
    config = ModelConfig(**{**shape, "rope_theta": 50.0, "norm_eps": 0.01, **changes})
    tokenizer = tokenizer or CharacterTokenizer(ODD)
    model = Transformer(config, tokenizer.vocab_size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, scale, generator=generator)
    return Checkpoint(model.eval(), tokenizer, {})


def sliding(checkpoint, length=512):
    """The same weights with room for `length` characters that each see one window back."""
    return Checkpoint(sliding_model(checkpoint.model, length), checkpoint.tokenizer, {})


@torch.no_grad()
def native_logits(checkpoint, text):
    """[characters, vocabulary]: the whole text in one pass, no cache."""
    tokens = checkpoint.tokenizer.encode(text).tolist()
    return checkpoint.model(torch.tensor([tokens]))[0].numpy()


def native_choices(checkpoint, prompt, written, sampling):
    """What Python chooses after the prompt and after each character but the last of `written`.

    If all are those of `written`, Python would have written it, character by character.
    """
    unknown = checkpoint.tokenizer.unknown_id
    logits = native_logits(checkpoint, prompt + written[:-1])[len(prompt) - 1 :]
    tokens = [next_token(row, sampling, index, unknown) for index, row in enumerate(logits)]
    return checkpoint.tokenizer.decode(tokens)
