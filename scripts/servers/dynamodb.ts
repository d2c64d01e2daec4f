// DynamoDB for tests: dynalite, which speaks its protocol and keeps everything in memory.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { borrowed, onFreePort, tended, type Server } from './server.ts'

/** One DynamoDB in a process of its own, with any credentials. It expires nothing by itself. */
export async function startDynamodb(o: { port?: number | undefined } = {}): Promise<Server> {
  const shared = borrowed('DYNAMODB_URL', 8000)
  if (shared !== null) return shared
  return onFreePort(o.port, launch)
}

async function launch(port: number): Promise<Server> {
  const program = createRequire(import.meta.url).resolve('dynalite/cli.js')
  const flags = ['--host', '127.0.0.1', '--port', String(port), '--createTableMs', '0']
  const child = spawn(process.execPath, [program, ...flags], { stdio: ['ignore', 'pipe', 'ignore'] })
  const url = `http://127.0.0.1:${port}`
  return tended(child, { url, port, folder: null, output: child.stdout, ready: /listening/ })
}
