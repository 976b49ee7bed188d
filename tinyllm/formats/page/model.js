// The forward pass of tinyllm/model/transformer.py, one token at a time. Weights, keys and
// values are float32; sums are taken in double precision.

/** Decode little-endian float32 numbers, the byte order of every browser's CPU, from base64. */
function readFloats(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

/** out = matrix x: `matrix` [out.length, x.length], four rows at a time. */
function multiply(out, matrix, x) {
  const width = x.length;
  const whole = out.length - (out.length % 4);
  for (let row = 0; row < whole; row += 4) {
    let a = row * width;
    let b = a + width;
    let c = b + width;
    let d = c + width;
    let sumA = 0;
    let sumB = 0;
    let sumC = 0;
    let sumD = 0;
    for (let i = 0; i < width; i++) {
      const value = x[i];
      sumA += matrix[a++] * value;
      sumB += matrix[b++] * value;
      sumC += matrix[c++] * value;
      sumD += matrix[d++] * value;
    }
    out[row] = sumA;
    out[row + 1] = sumB;
    out[row + 2] = sumC;
    out[row + 3] = sumD;
  }
  for (let row = whole; row < out.length; row++) {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += matrix[row * width + i] * x[i];
    out[row] = sum;
  }
}

/** Root mean square normalization of x into out, which may be x itself. */
function normalize(out, x, weight, eps) {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i] * x[i];
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  for (let i = 0; i < x.length; i++) out[i] = x[i] * scale * weight[i];
}

/** Rotary position embedding of one head, in place. */
function rotate(x, cosines, sines) {
  const half = x.length / 2;
  for (let i = 0; i < half; i++) {
    const first = x[i];
    const second = x[i + half];
    x[i] = first * cosines[i] - second * sines[i];
    x[i + half] = second * cosines[i] + first * sines[i];
  }
}

/**
 * Reads a text token by token and predicts the next one.
 *
 * Keys and values are in a ring buffer of length `window`, so that each token attends to the
 * last `window` tokens, itself included, while positions keep counting.
 */
class Transformer {
  constructor(config, vocabulary, tensors) {
    this.layers = config.num_layers;
    this.heads = config.num_heads;
    this.width = config.d_model;
    this.headWidth = config.d_model / config.num_heads;
    this.window = config.sequence_length;
    // how many tokens affect a prediction: each layer looks back by one window
    this.reach = this.layers * (this.window - 1) + 1;
    this.eps = config.norm_eps;
    this.embedding = tensors["embedding.weight"];
    this.finalNorm = tensors["norm.weight"];
    this.output = tensors["lm_head.weight"] || this.embedding;
    this.blocks = [];
    for (let layer = 0; layer < this.layers; layer++) {
      this.blocks.push(this.openBlock(tensors, `blocks.${layer}`));
    }
    this.rates = new Float64Array(this.headWidth / 2);
    for (let i = 0; i < this.rates.length; i++) {
      this.rates[i] = config.rope_theta ** ((-2 * i) / this.headWidth);
    }
    this.cosines = new Float64Array(this.rates.length);
    this.sines = new Float64Array(this.rates.length);
    this.residual = new Float32Array(this.width);
    this.normed = new Float32Array(this.width);
    this.qkv = new Float32Array(3 * this.width);
    this.mixed = new Float32Array(this.width);
    this.gateUp = new Float32Array(2 * config.d_ff);
    this.gated = new Float32Array(config.d_ff);
    this.logits = new Float32Array(vocabulary);
    this.restart(0);
  }

  openBlock(tensors, name) {
    return {
      attentionNorm: tensors[`${name}.attention_norm.weight`],
      qkv: tensors[`${name}.attention.qkv_proj.weight`],
      queryNorm: tensors[`${name}.attention.q_norm.weight`],
      keyNorm: tensors[`${name}.attention.k_norm.weight`],
      output: tensors[`${name}.attention.o_proj.weight`],
      feedForwardNorm: tensors[`${name}.feed_forward_norm.weight`],
      gateUp: tensors[`${name}.feed_forward.gate_up_proj.weight`],
      down: tensors[`${name}.feed_forward.down_proj.weight`],
      keys: new Float32Array(this.window * this.width),
      values: new Float32Array(this.window * this.width),
    };
  }

  /** Reset; the next token to read has this position in its text. */
  restart(position) {
    this.start = position;
    this.position = position;
    this.attention = new Float32Array(0);
  }

  /**
   * Read a token; `logits` are then those of the next one, and `attention` [layers, heads,
   * tokens] is how much this one attended to the last ones, itself included.
   */
  read(token) {
    const { residual, normed } = this;
    const length = Math.min(this.position - this.start + 1, this.window);
    this.attention = new Float32Array(this.layers * this.heads * length);
    for (let i = 0; i < this.rates.length; i++) {
      this.cosines[i] = Math.cos(this.position * this.rates[i]);
      this.sines[i] = Math.sin(this.position * this.rates[i]);
    }
    residual.set(this.embedding.subarray(token * this.width, (token + 1) * this.width));
    this.blocks.forEach((block, layer) => {
      normalize(normed, residual, block.attentionNorm, this.eps);
      multiply(this.qkv, block.qkv, normed);
      this.attend(block, layer, length);
      multiply(normed, block.output, this.mixed);
      for (let i = 0; i < this.width; i++) residual[i] += normed[i];
      normalize(normed, residual, block.feedForwardNorm, this.eps);
      this.feedForward(block);
      for (let i = 0; i < this.width; i++) residual[i] += normed[i];
    });
    normalize(normed, residual, this.finalNorm, this.eps);
    multiply(this.logits, this.output, normed);
    this.position += 1;
  }

  /** From `qkv` to `mixed`; stores the token's key and value. */
  attend(block, layer, length) {
    const { width, headWidth, qkv } = this;
    for (let head = 0; head < this.heads; head++) {
      const at = head * headWidth;
      const query = qkv.subarray(at, at + headWidth);
      const key = qkv.subarray(width + at, width + at + headWidth);
      normalize(query, query, block.queryNorm, this.eps);
      normalize(key, key, block.keyNorm, this.eps);
      rotate(query, this.cosines, this.sines);
      rotate(key, this.cosines, this.sines);
    }
    const place = (this.position % this.window) * width;
    block.keys.set(qkv.subarray(width, 2 * width), place);
    block.values.set(qkv.subarray(2 * width), place);
    this.mixed.fill(0);
    for (let head = 0; head < this.heads; head++) {
      const row = (layer * this.heads + head) * length;
      this.attendHead(block, head, this.attention.subarray(row, row + length));
    }
  }

  /** One head: `shares` receives its attention, the oldest token first. */
  attendHead(block, head, shares) {
    const { width, headWidth, window, qkv, mixed } = this;
    const { keys, values } = block;
    const offset = head * headWidth;
    const oldest = this.position + 1 - shares.length;
    const scale = 1 / Math.sqrt(headWidth);
    let largest = -Infinity;
    for (let i = 0; i < shares.length; i++) {
      const at = ((oldest + i) % window) * width + offset;
      let score = 0;
      for (let j = 0; j < headWidth; j++) score += qkv[offset + j] * keys[at + j];
      shares[i] = score * scale;
      largest = Math.max(largest, shares[i]);
    }
    let total = 0;
    for (let i = 0; i < shares.length; i++) {
      shares[i] = Math.exp(shares[i] - largest);
      total += shares[i];
    }
    for (let i = 0; i < shares.length; i++) {
      const at = ((oldest + i) % window) * width + offset;
      const share = shares[i] / total;
      shares[i] = share;
      for (let j = 0; j < headWidth; j++) mixed[offset + j] += share * values[at + j];
    }
  }

  /** SwiGLU: from `normed` to `normed`. */
  feedForward(block) {
    const { gateUp, gated } = this;
    multiply(gateUp, block.gateUp, this.normed);
    for (let i = 0; i < gated.length; i++) {
      gated[i] = (gateUp[i] / (1 + Math.exp(-gateUp[i]))) * gateUp[gated.length + i];
    }
    multiply(this.normed, block.down, gated);
  }
}
