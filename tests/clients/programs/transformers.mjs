// transformers.js: both graphs, texts alone and in a batch, unknown characters, any temperature.
import { basename, dirname } from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const packages = createRequire(`${process.cwd()}/package.json`)
const at = name => pathToFileURL(packages.resolve(name))
const { env, pipeline } = await import(at('@huggingface/transformers'))

const [folder, given, count] = process.argv.slice(2)
const prompts = JSON.parse(given)
env.allowRemoteModels = false
env.localModelPath = `${dirname(folder)}/`
const greedy = { do_sample: false, max_new_tokens: Number(count) }
const found = {}
for (const dtype of ['fp32', 'q8']) {
  const write = await pipeline('text-generation', basename(folder), { dtype, device: 'cpu' })
  const texts = async (of, how) => (await write(of, { ...greedy, ...how })).flat().map(t => t.generated_text)
  found[dtype] = {
    alone: [await texts(prompts[0]), await texts(prompts[1])].flat(),
    together: await texts(prompts),
    unknown: await texts('\u2603\u2603What'),
    hot: await texts('O', { do_sample: true, temperature: 5.0 }),
  }
}
console.log(JSON.stringify(found))
