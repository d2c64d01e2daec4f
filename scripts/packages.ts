// Lays out the packages as they are published, in dist/, and checks them: `node scripts/packages.ts` after a build.
// The `source` condition runs this repository from its sources; a published package must not offer it to anyone.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const checks: Record<string, (staged: string) => readonly string[][]> = {
  library: (staged) => [
    ['publint', 'run', '--strict'],
    ['attw', '--profile', 'esm-only', '--no-emoji', '--include-entrypoints', ...entryPoints(staged), '--'],
  ],
  service: () => [['publint', 'run', '--strict']],
}

for (const [folder, commands] of Object.entries(checks)) {
  const staged = stage(folder)
  const packed = join(staged, '..', pack(staged))
  for (const [command, ...args] of commands(staged)) {
    const { status, stdout, stderr } = spawnSync(command!, [...args, packed], { cwd: root, encoding: 'utf8' })
    console.log(`${status === 0 ? '✔' : '✖'} ${command} ${folder}`)
    if (status === 0) continue
    console.log(stdout + stderr)
    process.exitCode = 1
  }
}

/** Those that `exports` names by a wildcard: `./stores/*` stands for every file of the folder. */
function entryPoints(staged: string): readonly string[] {
  const { exports } = JSON.parse(readFileSync(join(staged, 'package.json'), 'utf8')) as { exports: object }
  return Object.keys(exports)
    .filter((path) => path.endsWith('/*'))
    .map((path) => path.slice(2, -1))
    .flatMap((folder) => globSync(`dist/${folder}*.js`, { cwd: staged }))
    .map((file) => file.slice('dist/'.length, -'.js'.length))
}

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
