// transformers.js: the tokens of texts, the texts of tokens, and prompts continued together.
import { basename, dirname } from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const packages = createRequire(`${process.cwd()}/package.json`)
const at = name => pathToFileURL(packages.resolve(name))
const { env, AutoTokenizer, pipeline } = await import(at('@huggingface/transformers'))

const [folder, given, asked, count] = process.argv.slice(2)
env.allowRemoteModels = false
env.localModelPath = `${dirname(folder)}/`
const tokenizer = await AutoTokenizer.from_pretrained(basename(folder))
const tokens = JSON.parse(given).map(text => Array.from(tokenizer.encode(text)))
const write = await pipeline('text-generation', basename(folder), { dtype: 'fp32', device: 'cpu' })
const written = await write(JSON.parse(asked), { do_sample: false, max_new_tokens: Number(count) })
const found = JSON.stringify({
  tokens,
  texts: tokens.map(row => row.length ? tokenizer.decode(row) : ''),
  written: written.flat().map(text => text.generated_text),
})
// on one line, whatever ends one
const escape = character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
console.log(found.replace(/[^ -~]/g, escape))
