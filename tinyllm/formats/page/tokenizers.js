// Text to tokens and back as in tinyllm/tokens; a tokenizer has
// - unit: what a token is called; size: how many there are; unknown: the one never written, or null;
// - known: what it knows, in words;
// - encode(text): its tokens; pieces(text): what each of them adds to the text;
// - label(token): its text, or its bytes if they are none alone;
// - stream(): push(token) is what a token adds to a text, finish() what is left at its end;
// - inKnownForm(text), unknownCharacters(text): as tinyllm/inference/prompt.py.

/** Characters; unknown ones are token 0. */
class CharacterTokenizer {
  constructor({ alphabet }) {
    this.characters = alphabet;
    this.unit = "character";
    this.size = alphabet.length + 1;
    this.unknown = 0;
    this.known = `${alphabet.length.toLocaleString("en")} characters in the alphabet`;
    this.tokens = new Map(alphabet.map((character, index) => [character, index + 1]));
  }

  encode(text) {
    return Array.from(text, (character) => this.tokens.get(character) ?? this.unknown);
  }

  pieces(text) {
    return Array.from(text);
  }

  label(token) {
    return this.characters[token - 1];
  }

  stream() {
    return { push: (token) => this.label(token), finish: () => "" };
  }

  /** The text in the form with the fewest unknown characters. */
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
  unknownCharacters(text) {
    return [...new Set(text)].filter((character) => !this.tokens.has(character)).sort();
  }
}

const BYTES = 256;
// GPT-2's pattern; White_Space, since \s holds the byte order mark and lacks U+0085
const WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Bytes of UTF-8, and pairs of tokens that become one, the first learned first. */
class BytePairTokenizer {
  constructor({ unit, merges }) {
    this.unit = unit;
    this.unknown = null;
    this.bytes = Array.from({ length: BYTES }, (_, value) => [value]);
    this.ranks = new Map();
    const numbers = new Map(this.bytes.map((token, number) => [String(token), number]));
    merges.forEach(([first, second], rank) => {
      const joined = [...this.bytes[first], ...this.bytes[second]];
      const name = String(joined);
      // two pairs may make the same token
      if (!numbers.has(name)) {
        numbers.set(name, this.bytes.length);
        this.bytes.push(joined);
      }
      this.ranks.set(`${first} ${second}`, { rank, token: numbers.get(name) });
    });
    this.size = this.bytes.length;
    this.known = `${this.size.toLocaleString("en")} tokens`;
  }

  encode(text) {
    // half of a surrogate pair becomes U+FFFD
    const bytes = (part) => Array.from(new TextEncoder().encode(part));
    if (!this.ranks.size) return bytes(text);
    return (text.match(WORDS) ?? []).flatMap((word) => this.join(bytes(word)));
  }

  /** Join the pair that was learned first, from left to right, until none is left. */
  join(word) {
    let tokens = word;
    for (;;) {
      const best = this.firstPair(tokens);
      if (!best) return tokens;
      const joined = [];
      for (let i = 0; i < tokens.length; i++) {
        if (tokens[i] !== best.first || tokens[i + 1] !== best.second) {
          joined.push(tokens[i]);
          continue;
        }
        joined.push(best.token);
        i += 1;
        // a token that another pair makes, too, may begin or end a pair that comes first
        const before = this.rank(joined[joined.length - 2], best.token);
        if (Math.min(before, this.rank(best.token, tokens[i + 1])) < best.rank) {
          for (const token of tokens.slice(i + 1)) joined.push(token);
          break;
        }
      }
      tokens = joined;
    }
  }

  rank(first, second) {
    return this.ranks.get(`${first} ${second}`)?.rank ?? Infinity;
  }

  firstPair(tokens) {
    let best = null;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const found = this.ranks.get(`${tokens[i]} ${tokens[i + 1]}`);
      if (found && (!best || found.rank < best.rank)) {
        best = { ...found, first: tokens[i], second: tokens[i + 1] };
      }
    }
    return best;
  }

  pieces(text) {
    const stream = this.stream();
    return this.encode(text).map((token) => stream.push(token));
  }

  label(token) {
    const bytes = Uint8Array.from(this.bytes[token]);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      const hex = (value) => value.toString(16).toUpperCase().padStart(2, "0");
      return this.bytes[token].map((value) => `\\x${hex(value)}`).join("");
    }
  }

  stream() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (token) => decoder.decode(Uint8Array.from(this.bytes[token]), { stream: true }),
      finish: () => decoder.decode(),
    };
  }

  inKnownForm(text) {
    return text;
  }

  unknownCharacters() {
    return [];
  }
}

function openTokenizer(description) {
  const kinds = { characters: CharacterTokenizer, bytes: BytePairTokenizer };
  return new kinds[description.kind](description);
}
