// What is remembered of a session that was the same on both sides: enough to tell what changed since.
import { hash } from 'node:crypto'
import type { SessionRecord } from 'holdfast'

export interface Print {
  readonly version: number
  readonly seenAt: number
  readonly expiresAt: number
  /** Of user, credential, identity and epoch, 32 bits. */
  readonly identity: number
  /** Of the data, 32 bits. */
  readonly data: number
}

export function printOf(record: SessionRecord): Print {
  const { version, seenAt, expiresAt, data } = record
  return { version, seenAt, expiresAt, identity: sum(identityOf(record)), data: sum(data) }
}

export function isPrintOf(print: Print, record: SessionRecord): boolean {
  return (
    print.version === record.version &&
    print.seenAt === record.seenAt &&
    print.expiresAt === record.expiresAt &&
    !identityChanged(print, record) &&
    !dataChanged(print, record)
  )
}

export function identityChanged(print: Print, record: SessionRecord): boolean {
  return print.identity !== sum(identityOf(record))
}

export function dataChanged(print: Print, record: SessionRecord): boolean {
  return print.data !== sum(record.data)
}

export function identityOf({ userId, credential, identity, epoch }: SessionRecord): string {
  return JSON.stringify([userId, credential, identity, epoch])
}

export function isSame(a: SessionRecord, b: SessionRecord): boolean {
  return (
    a.version === b.version &&
    a.seenAt === b.seenAt &&
    a.expiresAt === b.expiresAt &&
    a.createdAt === b.createdAt &&
    a.data === b.data &&
    identityOf(a) === identityOf(b)
  )
}

function sum(text: string): number {
  return hash('sha256', text, 'buffer').readUInt32LE()
}
