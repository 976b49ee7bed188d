// Choosing characters as tinyllm/inference/sampling.py does, and generating a text.

const UNKNOWN = 0;
const LOWEST_TEMPERATURE = 1e-6;

/** Maps characters to tokens; unknown ones are token 0. */
class Alphabet {
  constructor(characters) {
    this.characters = characters;
    this.tokens = new Map(characters.map((character, index) => [character, index + 1]));
  }

  encode(text) {
    return Array.from(text, (character) => this.tokens.get(character) ?? UNKNOWN);
  }

  decode(token) {
    return this.characters[token - 1];
  }

  /** The text in the form with the fewest unknown characters, as tinyllm/inference/prompt.py. */
  inKnownForm(text) {
    const count = (form) => Array.from(form).filter((c) => !this.tokens.has(c)).length;
    let best = text;
    let fewest = count(text);
    let lines = text;
    if (!this.tokens.has("\r")) lines = text.replace(/\r\n?/g, "\n");
    else if (!this.tokens.has("\n")) lines = text.replace(/\r?\n/g, "\r");
    for (const form of [null, "NFC", "NFD", "NFKC", "NFKD"]) {
      if (!fewest) break;
      const other = form ? lines.normalize(form) : lines;
      const unknown = count(other);
      if (unknown < fewest) [best, fewest] = [other, unknown];
    }
    return best;
  }

  /** The characters of `text` that the model has never seen, each once. */
  unknown(text) {
    return [...new Set(text)].filter((character) => !this.tokens.has(character)).sort();
  }
}

/** Random number `index` of a seed's sequence, in [0, 1): SplitMix64. */
function uniform(seed, index) {
  let z = BigInt.asUintN(64, BigInt(seed) + (BigInt(index) + 1n) * 0x9e3779b97f4a7c15n);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return Number((z ^ (z >> 31n)) >> 11n) * 2 ** -53;
}

/** How likely each token is to be drawn, not normalized; never the unknown character. */
function weigh(logits, sampling) {
  const weights = Float64Array.from(logits);
  weights[UNKNOWN] = -Infinity;
  let best = 0;
  for (let token = 1; token < weights.length; token++) {
    if (weights[token] > weights[best]) best = token;
  }
  if (sampling.temperature === 0) {
    return weights.map((_, token) => (token === best ? 1 : 0));
  }
  const largest = weights[best];
  const temperature = Math.max(sampling.temperature, LOWEST_TEMPERATURE);
  return truncate(
    weights.map((logit) => Math.exp((logit - largest) / temperature)),
    sampling,
  );
}

/** Set to zero what top-k and top-p exclude; ties are broken by token. */
function truncate(weights, { topK, topP }) {
  const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a]);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const result = new Float64Array(weights.length);
  let cumulative = 0;
  order.forEach((token, rank) => {
    cumulative += weights[token];
    const before = cumulative - weights[token];
    const kept = (!topK || rank < topK) && (topP >= 1 || before < topP * total);
    if (kept || rank === 0) result[token] = weights[token];
  });
  return result;
}

/** The token at the share `position`, in [0, 1), of the cumulative weights. */
function draw(weights, position) {
  let total = 0;
  let last = 0;
  weights.forEach((weight, token) => {
    total += weight;
    if (weight > 0) last = token;
  });
  let cumulative = 0;
  const threshold = position * total;
  for (let token = 0; token < last; token++) {
    cumulative += weights[token];
    if (cumulative > threshold) return token;
  }
  return last;
}

/** The tokens of a prompt; an empty one begins as if at the start of a line. */
function encodePrompt(alphabet, prompt) {
  return alphabet.encode(alphabet.inKnownForm(prompt) || "\n");
}

/**
 * Read the prompt, then write: yields null for each character read and, for each one written, its
 * token and the weights that it was drawn from. The model then still holds the logits and the
 * attention of that choice.
 */
function* write(model, alphabet, prompt, sampling) {
  const tokens = encodePrompt(alphabet, prompt);
  model.restart(Math.max(0, tokens.length - model.reach));
  for (const token of tokens.slice(model.start)) {
    model.read(token);
    yield null;
  }
  for (let index = 0; index < sampling.count; index++) {
    const weights = weigh(model.logits, sampling);
    const token = draw(weights, uniform(sampling.seed, index));
    yield { token, weights };
    if (index + 1 < sampling.count) model.read(token);
  }
}
