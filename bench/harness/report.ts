// Figures to JSON, to a table, and into the documents that show them.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { machine, packages, type Machine } from './machine.ts'

const bench = join(import.meta.dirname, '..')

/** What every results file begins with. */
export interface Heading {
  readonly date: string
  readonly machine: Machine
  readonly node: string
  readonly redis: string | null
  readonly packages: Readonly<Record<string, string>>
}

/** `redis` is its version, `null` where none took part. */
export function heading(redis: string | null): Heading {
  return { date: new Date().toISOString(), machine: machine(), node: process.version, redis, packages: packages() }
}

/** Writes `bench/results/<name>.json`. */
export function save(name: string, results: object): void {
  const folder = join(bench, 'results')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${name}.json`)
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
  console.log(`\nwritten: ${relative(process.cwd(), file)}`)
}

/** What `save` wrote last; `null` when there is nothing. */
export function saved(name: string): unknown {
  const text = read(join(bench, 'results', `${name}.json`))
  return text === '' ? null : JSON.parse(text)
}

/** A markdown table; every column but the first is right-aligned. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(header), line(header.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

/** One line that says where and when. */
export function provenance({ date, machine, node, redis }: Heading): string {
  return `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.kernel}, Node ${node}${redis === null ? '' : `, Redis ${redis}`}, ${date.slice(0, 10)}`
}

/** Puts `text` between `<!-- bench:<name> -->` and `<!-- /bench:<name> -->` wherever the documents have these markers. */
export function publish(name: string, text: string): void {
  for (const document of ['README.md', 'docs/benchmarks.md', 'docs/stores.md']) {
    const file = join(bench, '..', document)
    const content = read(file)
    const markers = new RegExp(`(<!-- bench:${name} -->)[^]*?(<!-- /bench:${name} -->)`)
    if (!markers.test(content)) continue
    writeFileSync(
      file,
      content.replace(markers, (_, begin: string, end: string) => `${begin}\n\n${text}\n\n${end}`),
    )
    console.log(`rewritten: ${document}`)
  }
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const below = sorted[Math.floor(at)]!
  return below + (sorted[Math.ceil(at)]! - below) * (at - Math.floor(at))
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}

export function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item)
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
