// The data folder and the secrets in it. Others on the machine can read none of it.
import { randomBytes } from 'node:crypto'
import { accessSync, constants, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Settings } from './settings.ts'
import { StartError } from './start-error.ts'

export function adminSecretFile({ dataFolder }: Pick<Settings, 'dataFolder'>): string {
  return join(dataFolder, 'admin-secret')
}

/** Makes the folder if it is missing, readable by its owner alone. `StartError` when it can't be written to. */
export function ensureDataFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new StartError(
      `HOLDFAST_DATA: the folder ${folder} can't be written to (${why}): make it writable for this user, or set HOLDFAST_DATA to another folder`,
      error,
    )
  }
}

/** The file of the secret that encrypts private keys. */
export function secretFile({ dataFolder }: Pick<Settings, 'dataFolder'>): string {
  return join(dataFolder, 'secret')
}

/** What in the folder anybody on the machine may change, which would let them in as `admin`. */
export function changeableByAnyone({
  adminSecret: set,
  dataFolder,
}: Pick<Settings, 'adminSecret' | 'dataFolder'>): readonly string[] {
  const paths = [dataFolder, ...(set === null ? [adminSecretFile({ dataFolder })] : [])]
  return paths.filter((path) => ((statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o002) !== 0)
}

/** The secret of the client `admin`: the setting, or the one in the data folder, made the first time it is wanted. */
export function adminSecret(settings: Pick<Settings, 'adminSecret' | 'dataFolder'>): string {
  return settings.adminSecret ?? wanted(settings, adminSecretFile(settings))
}

/** The same, where there is one already. */
export function keptAdminSecret(settings: Pick<Settings, 'adminSecret' | 'dataFolder'>): string | null {
  return settings.adminSecret ?? readSecret(adminSecretFile(settings))
}

/** The secret that encrypts private keys: the setting, or the one in the data folder, made the first time it is wanted. */
export function keySecret(settings: Pick<Settings, 'secret' | 'dataFolder' | 'store'>): string {
  // What lies in memory only is gone with the process.
  if (settings.secret === null && settings.store.kind === 'memory') return newSecret()
  return settings.secret ?? wanted(settings, secretFile(settings))
}

/** The same, where there is one already. */
export function keptKeySecret(settings: Pick<Settings, 'secret' | 'dataFolder'>): string | null {
  return settings.secret ?? readSecret(secretFile(settings))
}

function wanted({ dataFolder }: Pick<Settings, 'dataFolder'>, file: string): string {
  ensureDataFolder(dataFolder)
  return readSecret(file) ?? makeSecret(file)
}

function newSecret(): string {
  return randomBytes(32).toString('base64url')
}

function readSecret(file: string): string | null {
  let secret: string
  try {
    secret = readFileSync(file, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new StartError(
      `${file} can't be read (${(error as NodeJS.ErrnoException).code}): make it readable for this user`,
      error,
    )
  }
  if (!/^[\x21-\x7e]{32,256}$/.test(secret)) {
    throw new StartError(
      `${file} holds no secret of 32 to 256 visible ASCII characters: put the right one back, or remove it, and a new one is made`,
    )
  }
  return secret
}

/** Linked into place when it is whole, so that of several processes that make one at once all use the same. */
function makeSecret(file: string): string {
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(draft, `${newSecret()}\n`, { mode: 0o600, flag: 'wx', flush: true })
    try {
      linkSync(draft, file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  } catch (error) {
    throw new StartError(
      `${file} can't be written (${(error as NodeJS.ErrnoException).code}): make the folder writable for this user`,
      error,
    )
  } finally {
    rmSync(draft, { force: true })
  }
  const secret = readSecret(file)
  if (secret === null)
    throw new StartError(`${file} is a link to a file that is not there: remove the link, or make that file`)
  return secret
}
