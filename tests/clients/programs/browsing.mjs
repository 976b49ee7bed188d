// A browser with a page that has transformers.js and onnxruntime-web, and a server of the export as it lies.
import { createServer } from 'node:http'
import { createReadStream, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript',
  '.json': 'application/json', '.wasm': 'application/wasm' }

/** Serve the packages of the current folder, and what lies beside the model; return the server. */
const serve = async folder => {
  const roots = { node_modules: join(process.cwd(), 'node_modules'), export: dirname(folder) }
  const page = join(dirname(fileURLToPath(import.meta.url)), 'page.html')
  const server = createServer((request, answer) => {
    const [, root, ...rest] = new URL(request.url, 'http://localhost').pathname.split('/')
    const path = root ? join(roots[root] ?? '/nowhere', ...rest) : page
    if (!existsSync(path)) return answer.writeHead(404).end()
    answer.writeHead(200, { 'Content-Type': types[extname(path)] ?? 'application/octet-stream' })
    createReadStream(path).pipe(answer)
  }).listen(0, '127.0.0.1')
  await new Promise(ready => server.on('listening', ready))
  return server
}

/** Open the page; `elsewhere` and `complaints` are what it asked other addresses for, and its errors. */
export const browse = async (browser, executablePath, folder) => {
  const packages = createRequire(`${process.cwd()}/package.json`)
  const { default: puppeteer } = await import(pathToFileURL(packages.resolve('puppeteer-core')))
  const server = await serve(folder)
  const address = `http://127.0.0.1:${server.address().port}/`
  // by a pipe, so that Chromium ends with this process; Firefox has no such way
  const how = browser === 'chrome' ? { args: ['--no-sandbox', '--disable-gpu'], pipe: true } : {}
  const opened = await puppeteer.launch({ browser, executablePath, headless: true, ...how })
  const close = async () => {
    await opened.close()
    server.close()
  }
  try {
    const tab = await opened.newPage()
    const elsewhere = [], complaints = []
    tab.on('request', request => {
      if (/^(http|ws)/.test(request.url()) && !request.url().startsWith(address)) elsewhere.push(request.url())
    })
    tab.on('pageerror', error => complaints.push(String(error)))
    await tab.goto(address)
    await tab.waitForFunction('globalThis.write', { timeout: 60_000 })
    return { tab, elsewhere, complaints, close }
  } catch (error) {
    await close()
    throw error
  }
}
