// The panels beside the text: the chances that a token was drawn from, and attention.

const ROWS = 10;
const ATTENTION_BYTES = 64e6;
const SIGNS = new Map([[" ", "␣"], ["\n", "↵"], ["\t", "⇥"]]);

/** A visible form of a text. */
function visible(text) {
  return Array.from(text, visibleCharacter).join("");
}

function visibleCharacter(character) {
  const code = character.codePointAt(0);
  const control = code < 32 || (code >= 127 && code < 160);
  const hex = code.toString(16).toUpperCase().padStart(4, "0");
  return SIGNS.get(character) ?? (control ? `U+${hex}` : character);
}

function capitalized(word) {
  return word[0].toUpperCase() + word.slice(1);
}

function percent(share) {
  if (share === 0) return "–";
  return share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(1)}%`;
}

/** The likeliest tokens by the model's own chances, always with the chosen one. */
function rankChances(tokenizer, logits, step) {
  const own = weigh(logits, { temperature: 1, topK: 0, topP: 1 }, tokenizer.unknown);
  const ownTotal = own.reduce((sum, weight) => sum + weight, 0);
  const drawnTotal = step.weights.reduce((sum, weight) => sum + weight, 0);
  const order = Array.from(own.keys())
    .filter((token) => token !== tokenizer.unknown)
    .sort((a, b) => own[b] - own[a]);
  const shown = order.slice(0, ROWS);
  if (!shown.includes(step.token)) shown[shown.length - 1] = step.token;
  return shown.map((token) => ({
    label: visible(tokenizer.label(token)),
    own: own[token] / ownTotal,
    drawn: step.weights[token] / drawnTotal,
    chosen: token === step.token,
  }));
}

/** The bar chart. */
class ChancesPanel {
  constructor(elements, rows, unit) {
    Object.assign(this, elements);
    this.name = capitalized(unit);
    this.rows = Array.from({ length: rows }, () => {
      const row = document.createElement("li");
      const [sign, track, bar, number] = ["span", "span", "span", "span"].map((name) =>
        document.createElement(name),
      );
      sign.className = "sign";
      track.className = "track";
      bar.className = "bar";
      number.className = "number";
      track.append(bar);
      row.append(sign, track, number);
      this.list.append(row);
      return { row, sign, bar, track, number };
    });
    this.clear();
  }

  clear() {
    this.title.textContent = `Next ${this.name.toLowerCase()}`;
    this.chart.hidden = true;
    this.hint.hidden = false;
  }

  show(record, place) {
    this.title.textContent = `${this.name} ${place + 1} was drawn from`;
    this.chart.hidden = false;
    this.hint.hidden = true;
    this.rows.forEach(({ row, sign, bar, track, number }, index) => {
      const { label, own, drawn, chosen } = record.chances[index];
      row.className = chosen ? "chosen" : "";
      row.title = `The model’s own chance: ${percent(own)}`;
      sign.textContent = label;
      track.style.setProperty("--own-share", own);
      bar.style.setProperty("--drawn-share", drawn);
      number.textContent = percent(drawn);
    });
  }
}

/** Shades the tokens that the model attended to when it chose one. */
class AttentionPanel {
  constructor(elements, model, unit) {
    Object.assign(this, elements);
    this.unit = unit;
    this.layers = model.layers;
    this.heads = model.heads;
    const perToken = 4 * model.layers * model.heads * model.window;
    this.kept = Math.max(1, Math.floor(ATTENTION_BYTES / perToken));
    this.shaded = [];
    this.fill(this.layer, "mean of all", this.layers);
    this.fill(this.head, "mean of all", this.heads);
    for (const control of [this.check, this.layer, this.head]) {
      control.addEventListener("change", () => this.changed());
    }
  }

  fill(select, mean, count) {
    select.add(new Option(mean, "-1"));
    for (let i = 0; i < count; i++) select.add(new Option(String(i + 1), String(i)));
  }

  /** Attention, which sums to one, from the oldest token of the window to the latest. */
  shares(attention) {
    const length = attention.length / (this.layers * this.heads);
    const result = new Float64Array(length);
    const chosen = (select, count) =>
      select.value === "-1" ? Array.from({ length: count }, (_, i) => i) : [Number(select.value)];
    const layers = chosen(this.layer, this.layers);
    const heads = chosen(this.head, this.heads);
    for (const layer of layers) {
      for (const head of heads) {
        const row = (layer * this.heads + head) * length;
        for (let i = 0; i < length; i++) {
          result[i] += attention[row + i] / (layers.length * heads.length);
        }
      }
    }
    return result;
  }

  clear() {
    for (const span of this.shaded) {
      span.style.removeProperty("--shade");
      span.removeAttribute("data-share");
    }
    this.shaded = [];
  }

  /** `before` are the tokens before the record's own. */
  show(record, before) {
    this.clear();
    this.choice.hidden = !this.check.checked;
    this.text.classList.toggle("shaded", this.check.checked);
    this.hint.textContent = `The deeper the shade, the more the model looked at it when it chose this ${this.unit}.`;
    if (!this.check.checked || !record) return;
    if (!record.attention) {
      this.hint.textContent = `Attention is kept for the last ${this.kept} ${this.unit}s only.`;
      return;
    }
    const shares = this.shares(record.attention);
    const largest = Math.max(...shares);
    this.shaded = before.slice(-shares.length);
    shares.slice(-this.shaded.length).forEach((share, i) => {
      this.shaded[i].style.setProperty("--shade", Math.sqrt(share / largest).toFixed(3));
      this.shaded[i].dataset.share = share.toFixed(5);
    });
  }
}
