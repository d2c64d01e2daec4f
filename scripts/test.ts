// `npm test`: everything that must hold before a change goes in. `npm test -- <files>` runs only those test files.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { outliving } from './processes.ts'
import type { Outcome } from './reporter.ts'
import { missingPackages } from './system.ts'

const root = join(import.meta.dirname, '..')
process.chdir(root)

const checks: readonly (readonly [title: string, ...commands: string[]])[] = [
  ['types', 'tsc -p library/tsconfig.json', 'tsc -p tsconfig.json', 'tsc -p examples/express', 'tsc -p examples/shop'],
  ['lint', 'oxlint --type-aware --deny-warnings'],
  ['format', 'oxfmt --check .'],
  ['build', 'npm run --silent build'],
  ['unused code', 'knip --no-progress'],
  ['packages', 'node scripts/packages.ts'],
]
const tests = ['library/test', 'service/test', 'examples', 'bench', 'deploy'].map((folder) => `${folder}/**/*.test.ts`)
/** They stop and start processes of their own by the dozen, and judge what happens outside of faults: with the machine to themselves. */
const alone = ['faults/**/*.test.ts']

/** Of one run of the test runner; it takes about half of that. */
const atMostMs = 1_200_000

const wanted = process.argv.slice(2)
const failed: string[] = []
await step('system packages', () => {
  const missing = missingPackages()
  if (missing === null) return true
  console.error(missing)
  process.exit(1)
})
if (wanted.length === 0) {
  for (const [title, ...commands] of checks) await step(title, () => commands.map(run).every(Boolean))
}
const outcomes: Outcome[] = []
await step('tests', () => runTests(wanted.length > 0 ? wanted : globSync(tests, { exclude: isForeign })))
if (wanted.length === 0) await step('tests under faults', () => runTests(globSync(alone, { exclude: isForeign })))
summarize()

async function step(title: string, passes: () => boolean | Promise<boolean>): Promise<void> {
  console.log(`\n── ${title}`)
  const startedAt = performance.now()
  const passed = await passes()
  if (!title.startsWith('tests'))
    console.log(`${passed ? '✔' : '✖'} ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  if (passed) return
  failed.push(title)
  process.exitCode = 1
}

function run(command: string): boolean {
  return spawnSync(command, { shell: true, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

function isForeign(path: string): boolean {
  return /(^|\/)(node_modules|dist)$/.test(path)
}

/** One run of the test runner. */
async function runTests(files: readonly string[]): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-test-'))
  const outcomeFile = join(folder, 'outcome.json')
  const runner = spawn(
    process.execPath,
    [
      '--conditions=source',
      '--disable-warning=ExperimentalWarning',
      '--test',
      `--test-concurrency=${Math.min(4, availableParallelism())}`,
      '--test-timeout=180000',
      '--test-reporter=./scripts/reporter.ts',
      ...files,
    ],
    {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, HOLDFAST_TEST_OUTCOME: outcomeFile },
    },
  )
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => runner.kill(signal))
  const survivors = outliving(runner.pid!)
  // A test that fails may leave a connection behind, and with it a process that never ends: all the others are to be heard of.
  const limit = setTimeout(() => process.kill(-runner.pid!, 'SIGKILL'), atMostMs)
  const code = await new Promise<number | null>((resolve) => runner.once('exit', resolve))
  clearTimeout(limit)

  const complaints = (await survivors.end()).map((survivor) => `still running after the tests, now killed: ${survivor}`)
  const outcome = readOutcome(outcomeFile)
  rmSync(folder, { recursive: true })
  if (outcome.tests === 0) complaints.push('no test ran')
  outcomes.push(outcome)
  for (const complaint of [...outcome.complaints, ...complaints]) console.log(`✖ ${complaint}`)
  return code === 0 && complaints.length === 0 && outcome.complaints.length === 0
}

/** The runner's own summary, of all its runs together, is the last thing that is printed, whatever else went wrong. */
function summarize(): void {
  if (failed.length > 0) console.log(`✖ failed: ${failed.join(', ')}`)
  const sums = new Map<string, number>()
  for (const line of outcomes.flatMap(({ summary }) => summary)) {
    const [, name, value] = /^ℹ (\S+) ([\d.]+)$/.exec(line) ?? []
    if (name !== undefined) sums.set(name, (sums.get(name) ?? 0) + Number(value))
  }
  console.log(`\n${[...sums].map(([name, value]) => `ℹ ${name} ${value}`).join('\n')}`)
}

function readOutcome(file: string): Outcome {
  const crashed: Outcome = { tests: 0, summary: [], complaints: ['the test runner did not finish'] }
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Outcome) : crashed
}
