// How a test run reads: a line per file, the failures in the runner's own words, and the runner's summary kept for the end.
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { spec, type TestEvent } from 'node:test/reporters'

/** What the run leaves in the file named by HOLDFAST_TEST_OUTCOME. */
export interface Outcome {
  readonly tests: number
  /** The runner's own summary, line by line. */
  readonly summary: readonly string[]
  /** What the runner takes for success, and we do not. */
  readonly complaints: readonly string[]
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const failures = new spec()
  const output = new Map<string, string>()
  const summary: string[] = []
  const complaints: string[] = []
  let tests = 0

  for await (const event of events) {
    const { type, data } = event
    const file = fileOf(event)
    if (file !== null && (type === 'test:stdout' || type === 'test:stderr')) {
      output.set(file, (output.get(file) ?? '') + data.message)
    } else if (type === 'test:pass' || type === 'test:fail') {
      if (type === 'test:fail') failures.write(event)
      if (unexplained(data.skip) || unexplained(data.todo)) {
        complaints.push(`${file}: '${data.name}' is skipped without a reason`)
      }
      if (file !== null && data.nesting === 0 && relative('.', data.name) === file) {
        if (type === 'test:pass') complaints.push(`${file}: has no tests`)
        yield `✖ ${file}\n${output.get(file) ?? ''}`
      }
    } else if (type === 'test:summary' && file !== null) {
      yield `${data.success ? '✔' : '✖'} ${file}  ${data.counts.tests} tests, ${Math.round(data.duration_ms)} ms\n`
      if (!data.success) yield output.get(file) ?? ''
    } else if (type === 'test:summary') {
      tests = data.counts.tests
    } else if (type === 'test:diagnostic' && data.nesting === 0 && file === null) {
      summary.push(`ℹ ${data.message}`)
    }
  }
  const words = (await failures.end().toArray()).join('')
  yield words.slice(Math.max(0, words.indexOf('\n✖ failing tests:')))
  const outcome: Outcome = { tests, summary, complaints }
  writeFileSync(process.env['HOLDFAST_TEST_OUTCOME']!, JSON.stringify(outcome))
}

function fileOf({ data }: TestEvent): string | null {
  return data !== undefined && 'file' in data && data.file !== undefined ? relative('.', data.file) : null
}

function unexplained(mark: string | boolean | undefined): boolean {
  return mark === true || mark === ''
}
