// The displayed text, and the records of how it was generated.

/** A span for each token, the first `before` of them of the prompt; a record for each other. */
const view = { prompt: "", written: [], records: [], spans: [], before: 0, selected: null };

function addPiece(piece, kind) {
  const span = document.createElement("span");
  span.textContent = piece;
  span.className = piece.endsWith("\n") ? `${kind} newline` : kind;
  view.spans.push(span);
  return span;
}

/** Begin a new text. Only the part of the prompt within the window needs a span per token. */
function showPrompt(given) {
  const prompt = tokenizer.inKnownForm(given);
  const pieces = tokenizer.pieces(prompt);
  const near = pieces.slice(-model.window);
  const far = document.createElement("span");
  far.className = "prompt";
  far.textContent = pieces.slice(0, pieces.length - near.length).join("");
  Object.assign(view, { prompt, written: [], records: [], spans: [], selected: null });
  const spans = near.map((piece) => addPiece(piece, "prompt"));
  if (!near.length) spans.push(addPiece("", "prompt newline start"));
  view.before = spans.length;
  find("text").replaceChildren(far, ...spans);
  chances.clear();
  attention.clear();
  noteUnknown(tokenizer.unknownCharacters(prompt));
}

function noteUnknown(unknown) {
  const shown = unknown.slice(0, 20).map((character) => `“${visible(character)}”`).join(" ");
  const more = unknown.length > 20 ? ` and ${unknown.length - 20} more` : "";
  find("note").textContent =
    `The model has never seen ${shown}${more} in training; it reads <unk> instead.`;
  find("note").hidden = unknown.length === 0;
}

/** Keep what the panels need of a new token, and return its span. */
function record(step) {
  const index = view.records.length;
  view.written.push(step.text);
  view.records.push({
    chances: rankChances(tokenizer, model.logits, step),
    attention: model.attention,
  });
  if (index >= attention.kept) view.records[index - attention.kept].attention = null;
  return addPiece(step.text, "own");
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
