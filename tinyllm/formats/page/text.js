// The displayed text, and the records of how it was generated.

/** A span for each character, the first `before` of them of the prompt; a record for each other. */
const view = { prompt: "", written: [], records: [], spans: [], before: 0, selected: null };

function addCharacter(character, kind) {
  const span = document.createElement("span");
  span.textContent = character;
  span.className = character === "\n" ? `${kind} newline` : kind;
  view.spans.push(span);
  return span;
}

/** Begin a new text. Only the part of the prompt within the window needs a span per character. */
function showPrompt(given) {
  const prompt = alphabet.inKnownForm(given);
  const characters = Array.from(prompt);
  const near = characters.slice(-model.window);
  const far = document.createElement("span");
  far.className = "prompt";
  far.textContent = characters.slice(0, characters.length - near.length).join("");
  Object.assign(view, { prompt, written: [], records: [], spans: [], selected: null });
  const spans = near.map((character) => addCharacter(character, "prompt"));
  if (!near.length) spans.push(addCharacter("", "prompt newline start"));
  view.before = spans.length;
  find("text").replaceChildren(far, ...spans);
  chances.clear();
  attention.clear();
  noteUnknown(alphabet.unknown(prompt));
}

function noteUnknown(unknown) {
  const shown = unknown.slice(0, 20).map((character) => `“${visible(character)}”`).join(" ");
  const more = unknown.length > 20 ? ` and ${unknown.length - 20} more` : "";
  find("note").textContent =
    `The model has never seen ${shown}${more} in training; it reads <unk> instead.`;
  find("note").hidden = unknown.length === 0;
}

/** Keep what the panels need of a new character, and return its span. */
function record(step) {
  const character = alphabet.decode(step.token);
  const index = view.records.length;
  view.written.push(character);
  view.records.push({
    chances: rankChances(alphabet, model.logits, step),
    attention: model.attention,
  });
  if (index >= attention.kept) view.records[index - attention.kept].attention = null;
  return addCharacter(character, "own");
}

function showPanels() {
  const index = view.selected ?? view.records.length - 1;
  attention.show(view.records[index], view.spans.slice(0, view.before + Math.max(0, index)));
  if (index >= 0) chances.show(view.records[index], index);
}

function select(index) {
  if (view.selected !== null) view.spans[view.before + view.selected].classList.remove("selected");
  view.selected = index;
  if (index !== null) {
    const span = view.spans[view.before + index];
    span.classList.add("selected");
    span.scrollIntoView({ block: "nearest" });
  }
  showPanels();
}

function moveSelection(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const last = view.records.length - 1;
  if (!(event.key in steps) || last < 0) return;
  event.preventDefault();
  const index = (view.selected ?? last + 1) + steps[event.key];
  select(Math.min(Math.max(index, 0), last));
}
