// transformers.js in Node or in Chromium: seconds per character, once for each line of standard input.
import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

import { browse } from '../tests/clients/programs/browsing.mjs'

const [place, folder, prompt, count, packages, program] = process.argv.slice(2)
process.chdir(packages)
const how = { do_sample: false, max_new_tokens: Number(count) }

const inNode = async () => {
  const resolve = createRequire(`${packages}/package.json`).resolve
  const { env, pipeline } = await import(pathToFileURL(resolve('@huggingface/transformers')))
  Object.assign(env, { allowRemoteModels: false, localModelPath: `${dirname(folder)}/` })
  const session_options = { intraOpNumThreads: 1 }
  const write = await pipeline('text-generation', basename(folder), { dtype: 'fp32', device: 'cpu', session_options })
  return async () => {
    const since = performance.now()
    await write(prompt, how)
    return performance.now() - since
  }
}

const inChromium = async () => {
  const { tab } = await browse('chrome', program, folder)
  await tab.evaluate(async model => {
    const { pipeline } = await import('transformers')
    globalThis.writer = await pipeline('text-generation', model, { dtype: 'fp32', device: 'wasm' })
  }, basename(folder))
  return () => tab.evaluate(async (prompt, how) => {
    const since = performance.now()
    await globalThis.writer(prompt, how)
    return performance.now() - since
  }, prompt, how)
}

const work = await (place === 'node' ? inNode() : inChromium())
await work()
console.log('ready')
for await (const _ of createInterface({ input: process.stdin })) console.log(await work() / 1000 / Number(count))
process.exit()
