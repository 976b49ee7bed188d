// Choosing tokens as tinyllm/inference/sampling.py does, and generating a text.

const LOWEST_TEMPERATURE = 1e-6;

/** Random number `index` of a seed's sequence, in [0, 1): SplitMix64. */
function uniform(seed, index) {
  let z = BigInt.asUintN(64, BigInt(seed) + (BigInt(index) + 1n) * 0x9e3779b97f4a7c15n);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return Number((z ^ (z >> 31n)) >> 11n) * 2 ** -53;
}

/** How likely each token is to be drawn, not normalized; never the unknown one, if there is one. */
function weigh(logits, sampling, unknown) {
  const weights = Float64Array.from(logits);
  if (unknown !== null) weights[unknown] = -Infinity;
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
function encodePrompt(tokenizer, prompt) {
  return tokenizer.encode(tokenizer.inKnownForm(prompt) || "\n");
}

/**
 * Read the prompt, then write: yields null for each token read and, for each one written, its
 * number, the text that it adds and the weights that it was drawn from. The model then still holds
 * the logits and the attention of that choice.
 */
function* write(model, tokenizer, prompt, sampling) {
  const tokens = encodePrompt(tokenizer, prompt);
  const stream = tokenizer.stream();
  model.restart(Math.max(0, tokens.length - model.reach));
  for (const token of tokens.slice(model.start)) {
    model.read(token);
    yield null;
  }
  for (let index = 0; index < sampling.count; index++) {
    const weights = weigh(model.logits, sampling, tokenizer.unknown);
    const token = draw(weights, uniform(sampling.seed, index));
    const last = index + 1 === sampling.count;
    yield { token, text: stream.push(token) + (last ? stream.finish() : ""), weights };
    if (!last) model.read(token);
  }
}
