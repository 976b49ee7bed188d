// A browser: the export served as it lies, opened by a page with transformers.js and onnxruntime-web.
import { createServer } from 'node:http'
import { createReadStream, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const packages = createRequire(`${process.cwd()}/package.json`)
const { default: puppeteer } = await import(pathToFileURL(packages.resolve('puppeteer-core')))

const [browser, executablePath, folder, given, count] = process.argv.slice(2)
const roots = { node_modules: join(process.cwd(), 'node_modules'), export: dirname(folder) }
const page = join(dirname(fileURLToPath(import.meta.url)), 'page.html')
const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript',
  '.json': 'application/json', '.wasm': 'application/wasm' }
const server = createServer((request, answer) => {
  const [, root, ...rest] = new URL(request.url, 'http://localhost').pathname.split('/')
  const path = root ? join(roots[root] ?? '/nowhere', ...rest) : page
  if (!existsSync(path)) return answer.writeHead(404).end()
  answer.writeHead(200, { 'Content-Type': types[extname(path)] ?? 'application/octet-stream' })
  createReadStream(path).pipe(answer)
}).listen(0, '127.0.0.1')
await new Promise(ready => server.on('listening', ready))
const address = `http://127.0.0.1:${server.address().port}/`

const args = browser === 'chrome' ? ['--no-sandbox', '--disable-gpu'] : []
const opened = await puppeteer.launch({ browser, executablePath, headless: true, args })
try {
  const tab = await opened.newPage()
  const elsewhere = [], complaints = []
  tab.on('request', request => {
    if (/^(http|ws)/.test(request.url()) && !request.url().startsWith(address)) elsewhere.push(request.url())
  })
  tab.on('pageerror', error => complaints.push(String(error)))
  await tab.goto(address)
  await tab.waitForFunction('globalThis.write', { timeout: 60_000 })
  const found = await tab.evaluate((prompts, count) => globalThis.write(prompts, count), JSON.parse(given), Number(count))
  console.log(JSON.stringify({ ...found, elsewhere, complaints }))
} finally {
  await opened.close()
  server.close()
}
