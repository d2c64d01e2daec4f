// A User-Agent header as people speak of it. Small on purpose: a label for a list of devices, never a decision.

/** What a session was started from. Parts that could not be told are `null`. */
export interface Device {
  /** Such as `Chrome 140`. */
  readonly browser: string | null
  /** Such as `Windows`. */
  readonly system: string | null
  /** For people: `Chrome 140 on Windows`, `Unknown device` when nothing could be told. */
  readonly label: string
  /** Address of the peer, as the adapter saw it. */
  readonly address: string | null
}

export function describe(browser: string | null, system: string | null, address: string | null): Device {
  const label =
    browser !== null && system !== null ? `${browser} on ${system}` : (browser ?? system ?? 'Unknown device')
  // Behind a trusted proxy the address is what a header says.
  return { browser, system, label, address: address?.slice(0, 64) ?? null }
}

export function parseUserAgent(userAgent: string | null): { browser: string | null; system: string | null } {
  // Longer ones carry nothing, and the patterns below should not be fed without bound.
  const text = (userAgent ?? '').slice(0, 512)
  return { browser: browserOf(text), system: systems.find(([, pattern]) => pattern.test(text))?.[0] ?? null }
}

/** The first that matches: browsers name those they descend from, so descendants stand first. */
const browsers: readonly (readonly [name: string, version: RegExp])[] = [
  ['Edge', /\bEdg(?:e|A|iOS)?\/(\d+)/],
  ['Opera', /\b(?:OPR|Opera|OPT|OPiOS)\/(\d+)/],
  ['Samsung Internet', /\bSamsungBrowser\/(\d+)/],
  ['Vivaldi', /\bVivaldi\/(\d+)/],
  ['Yandex', /\bYaBrowser\/(\d+)/],
  ['DuckDuckGo', /\b(?:DuckDuckGo|Ddg)\/(\d+)/],
  ['Firefox', /\b(?:Firefox|FxiOS)\/(\d+)/],
  ['Chrome', /\b(?:Chrome|CriOS|HeadlessChrome)\/(\d+)/],
  ['Safari', /\bVersion\/(\d+)[\d.]*(?: Mobile\/\w+)? Safari\//],
  ['curl', /^curl\/(\d+)/],
]

/** Android and iOS name Linux and macOS too, so they stand first. */
const systems: readonly (readonly [name: string, pattern: RegExp])[] = [
  ['Windows', /\bWindows\b/],
  ['iPadOS', /\biPad\b/],
  ['iOS', /\b(?:iPhone|iPod)\b/],
  ['Android', /\bAndroid\b/],
  ['ChromeOS', /\bCrOS\b/],
  ['macOS', /\bMac ?OS X\b|\bMacintosh\b/],
  ['Linux', /\bLinux\b/],
]

function browserOf(text: string): string | null {
  for (const [name, version] of browsers) {
    const found = version.exec(text)
    if (found !== null) return `${name} ${found[1]}`
  }
  return null
}
