// The page: reads the embedded model and writes in slices that leave the page responsive.

const SLICE_MS = 12;
const DIGITS = /^[0-9]{1,19}$/;

const find = (id) => document.getElementById(id);
const description = JSON.parse(find("model").textContent);
const tokenizer = openTokenizer(description.tokenizer);
const model = openModel();

function openModel() {
  const weights = readFloats(find("weights").textContent);
  find("weights").remove();
  const tensors = {};
  for (const [name, { offset, shape }] of Object.entries(description.tensors)) {
    tensors[name] = weights.subarray(offset, offset + shape.reduce((a, b) => a * b, 1));
  }
  description.parameters = weights.length;
  return new Transformer(description.model, tokenizer.size, tensors);
}

const chances = new ChancesPanel(
  {
    title: find("chances-title"),
    list: find("chances"),
    chart: find("chances-chart"),
    hint: find("chances-hint"),
  },
  Math.min(ROWS, tokenizer.size - (tokenizer.unknown === null ? 0 : 1)),
  tokenizer.unit,
);
const attention = new AttentionPanel(
  {
    check: find("show-attention"),
    layer: find("layer"),
    head: find("head"),
    choice: find("attention-choice"),
    hint: find("attention-hint"),
    text: find("text"),
    changed: showPanels,
  },
  model,
  tokenizer.unit,
);

function readSettings() {
  const seed = find("seed").value.trim();
  const whole = DIGITS.test(seed) && BigInt(seed) < 2n ** 63n;
  find("seed").setAttribute("aria-invalid", String(!whole));
  if (!whole) return null;
  return {
    temperature: Number(find("temperature").value),
    topK: Number(find("top-k").value),
    topP: Number(find("top-p").value),
    count: Number(find("count").value),
    seed,
  };
}

let running = null;

/** Messages to the page itself, unlike timers, are not delayed and let it draw in between. */
function startWriting() {
  const sampling = readSettings();
  if (!sampling) {
    find("status").textContent = "The seed must be a whole number below 2⁶³.";
    return;
  }
  stopWriting();
  showPrompt(find("prompt").value);
  find("stop").disabled = false;
  find("copy").disabled = false;
  find("finished").textContent = "";
  const steps = write(model, tokenizer, view.prompt, sampling);
  const channel = new MessageChannel();
  let started = null;
  running = channel;
  channel.port1.onmessage = () => {
    if (running !== channel) return;
    const begun = performance.now();
    const { written, done } = writeSlice(steps);
    if (written.length) started ??= begun;
    showSlice(written, started);
    if (done) endWriting("");
    else channel.port2.postMessage(null);
  };
  channel.port2.postMessage(null);
}

function writeSlice(steps) {
  const deadline = performance.now() + SLICE_MS;
  const written = [];
  while (performance.now() < deadline) {
    const { value, done } = steps.next();
    if (done) return { written, done };
    if (value) written.push(record(value));
  }
  return { written, done: false };
}

function showSlice(fresh, started) {
  const text = find("text");
  const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
  text.append(...fresh);
  if (atEnd) text.scrollTop = text.scrollHeight;
  if (view.selected === null) showPanels();
  const seconds = (performance.now() - started) / 1000;
  const rate = Math.round(view.records.length / Math.max(seconds, 1e-3));
  find("status").textContent = started
    ? `${view.records.length} ${tokenizer.unit}s, ${rate} per second`
    : "Reading the prompt";
}

function stopWriting() {
  if (running) endWriting("Stopped: ");
}

function endWriting(how) {
  const focused = document.activeElement === find("stop");
  running.port1.close();
  running = null;
  find("stop").disabled = true;
  if (focused) find("write").focus();
  find("status").textContent = how + find("status").textContent;
  find("finished").textContent = find("status").textContent;
}

async function copyText() {
  const text = view.prompt + view.written.join("");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  find("copy").textContent = "Copied";
  setTimeout(() => (find("copy").textContent = "Copy"), 1500);
}

function setUp() {
  const { model: config, parameters } = description;
  const facts = [
    [parameters, "parameters"],
    [config.num_layers, "layers"],
    [config.num_heads, "heads"],
    [config.d_model, "wide"],
    [config.sequence_length, `${tokenizer.unit}s of context`],
  ].map(([number, name]) => `${number.toLocaleString("en")} ${name}`);
  find("facts").textContent = [...facts, tokenizer.known].join(" · ");
  find("top-k").max = tokenizer.size;
  find("prompt").value = description.prompt;
  find("settings").open = window.matchMedia("(min-width: 700px)").matches;
  for (const output of document.querySelectorAll("output")) {
    const input = find(output.htmlFor.value);
    const show = () => {
      output.textContent = input.id === "top-k" && input.value === "0" ? "off" : input.value;
    };
    input.addEventListener("input", show);
    show();
  }
}

function listen() {
  find("write").addEventListener("click", startWriting);
  find("stop").addEventListener("click", stopWriting);
  find("copy").addEventListener("click", copyText);
  find("new-seed").addEventListener("click", () => {
    find("seed").value = String(Math.floor(Math.random() * 1e6));
  });
  find("text").addEventListener("keydown", moveSelection);
  find("text").addEventListener("click", (event) => {
    const index = view.spans.indexOf(event.target) - view.before;
    select(index >= 0 && index !== view.selected ? index : null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) startWriting();
    if (event.key === "Escape") stopWriting();
  });
}

/** For the console, and for tests. */
window.tinyllm = Object.freeze({
  /** The prompt and the text that the model writes after it. */
  generate(prompt, { temperature = 0.8, topK = 0, topP = 1, seed = 0, count = 400 } = {}) {
    stopWriting();
    let text = prompt;
    for (const step of write(model, tokenizer, prompt, { temperature, topK, topP, seed, count })) {
      if (step) text += step.text;
    }
    return text;
  },

  /** The logits of every token after `text`. */
  logits(text) {
    stopWriting();
    for (const step of write(model, tokenizer, text, { count: 0 }));
    return Array.from(model.logits);
  },

  /** The tokens of a text. */
  encode: (text) => tokenizer.encode(text),
});

setUp();
listen();
