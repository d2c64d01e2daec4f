// The files of this folder, as text and as what is in them.
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'

// oxlint-disable-next-line typescript/no-explicit-any
export type Parsed = any

export const deploy = join(import.meta.dirname, '..')
export const read = (path: string) => readFileSync(join(deploy, path), 'utf8')

/** Every document of a file, `<<` merged; anything odd in it is an error. */
export function documents(path: string): Parsed[] {
  return parseAllDocuments(read(path), { merge: true, strict: true, uniqueKeys: true }).map((document) => {
    assert.deepEqual([...document.errors, ...document.warnings], [], path)
    return document.toJS()
  })
}

export const only = (path: string): Parsed => documents(path)[0]

/** Of Kubernetes. */
export const manifests: readonly string[] = globSync('kubernetes/*.yaml', { cwd: deploy })
