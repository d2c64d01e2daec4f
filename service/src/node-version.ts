// Which Node the service runs on.

/** The oldest that everything below runs on. */
export const oldestNode = '22.15'

export function runsOn(version: string): boolean {
  const [major, minor] = version.replace(/^v/, '').split('.').map(Number)
  const [oldestMajor, oldestMinor] = oldestNode.split('.').map(Number)
  return major! > oldestMajor! || (major === oldestMajor && minor! >= oldestMinor!)
}
