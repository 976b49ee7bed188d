// A browser: the export opened by a page with transformers.js and onnxruntime-web.
import { browse } from './browsing.mjs'

const [browser, program, folder, prompts, count] = process.argv.slice(2)
const { tab, elsewhere, complaints, close } = await browse(browser, program, folder)
try {
  const found = await tab.evaluate((...words) => globalThis.write(...words), JSON.parse(prompts), Number(count))
  console.log(JSON.stringify({ ...found, elsewhere, complaints }))
} finally {
  await close()
}
