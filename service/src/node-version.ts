// Which Node the service runs on.

/** The first with node:sqlite and everything else that is used. */
export const oldestNode = '22.13'

export function runsOn(version: string): boolean {
  const [major, minor] = version.replace(/^v/, '').split('.').map(Number)
  const [oldestMajor, oldestMinor] = oldestNode.split('.').map(Number)
  return major! > oldestMajor! || (major === oldestMajor && minor! >= oldestMinor!)
}
