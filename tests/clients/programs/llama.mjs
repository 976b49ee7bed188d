// node-llama-cpp: every GGUF file, the likeliest text, and what llama.cpp warns of when it loads one.
import { createRequire } from 'node:module'
import { readdirSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

const packages = createRequire(`${process.cwd()}/package.json`)
const { getLlama, LlamaCompletion } = await import(pathToFileURL(packages.resolve('node-llama-cpp')))

const [folder, prompt, count] = process.argv.slice(2)
const warnings = []
const logger = (level, message) => {
  // that the context is longer than the model's is our doing, and rounded up by llama.cpp
  if (/n_ctx/.test(message)) return
  if (['warn', 'error', 'fatal'].includes(level)) warnings.push(message.trim())
}
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'debug', logger })
const texts = {}
for (const file of readdirSync(folder).filter(name => name.endsWith('.gguf'))) {
  const model = await llama.loadModel({ modelPath: `${folder}/${file}` })
  const context = await model.createContext({ contextSize: 256 })
  const completion = new LlamaCompletion({ contextSequence: context.getSequence() })
  const how = { maxTokens: Number(count), temperature: 0, repeatPenalty: false }
  texts[file] = prompt + await completion.generateCompletion(prompt, how)
}
console.log(JSON.stringify({ texts, warnings }))
process.exit(0)
