// Lays out the packages as they are published, in dist/, and checks them: `node scripts/packages.ts` after a build.
// The `source` condition runs this repository from its sources; a published package must not offer it to anyone.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const checks: Record<string, readonly string[][]> = {
  library: [
    ['publint', 'run', '--strict', '--pack', 'false'],
    ['attw', '--profile', 'esm-only'],
  ],
  service: [['publint', 'run', '--strict', '--pack', 'false']],
}

let failed = false
for (const [folder, commands] of Object.entries(checks)) {
  const staged = stage(folder)
  const packed = join(staged, '..', pack(staged))
  for (const [command, ...args] of commands) {
    const { status } = spawnSync(command!, [...args, packed], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
    if (status !== 0) failed = true
  }
}
if (failed) process.exit(1)

/** Copies what is published of a workspace and answers where it is: what its `publishConfig.directory` names. */
function stage(folder: string): string {
  const from = join(root, folder)
  const manifest = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'))
  const to = join(from, manifest.publishConfig.directory)
  rmSync(to, { recursive: true, force: true })
  mkdirSync(to, { recursive: true })
  for (const file of manifest.files as string[]) {
    const source = [join(from, file), join(root, file)].find((path) => existsSync(path))
    if (source === undefined) throw new Error(`${folder}/package.json publishes '${file}', which is not there`)
    cpSync(source, join(to, file), { recursive: true })
  }
  const { scripts: _, devDependencies: __, publishConfig: ___, ...published } = manifest
  writeFileSync(join(to, 'package.json'), JSON.stringify(published, withoutSource, 2) + '\n')
  return to
}

function withoutSource(key: string, value: unknown): unknown {
  return key === 'source' ? undefined : value
}

function pack(folder: string): string {
  const output = execFileSync('npm', ['pack', '--silent', '--pack-destination', '..'], {
    cwd: folder,
    encoding: 'utf8',
  })
  return output.trim().split('\n').at(-1)!
}
