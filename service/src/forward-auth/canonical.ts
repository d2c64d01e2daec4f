// Host and path in the one form in which rules see them. What a server behind the proxy might read in another way has none.

/** The segments of a path, decoded. */
export interface CanonicalPath {
  readonly segments: readonly string[]
  /** The same as a server would see them that is lenient about case, accents, what can't be seen and what surrounds a name. */
  readonly lenient: readonly string[]
}

const longest = 8_192

/** Lower case, without port and final dot; `null`: it is no host. Names are those of DNS, with `_` as well, in ASCII. */
export function canonicalHost(text: string): string | null {
  if (text.length > 260) return null
  const [, name, address] = hostForm.exec(text) ?? []
  return (name ?? address)?.toLowerCase() ?? null
}

const hostForm = /^(?:((?!-)[\w-]+(?:\.[\w-]+)*)\.?|(\[[\da-f:.]{2,45}\]))(?::\d{1,5})?$/i

/**
 * Of a request target in origin form, whose query is left alone. `null` for all that is ambiguous: another form, dot segments, empty
 * segments, `;`, `\` and `#`, an encoded `/` or `%`-sequence or anything else that means something in a path, controls, bytes that are
 * not UTF-8, characters that Unicode says stand for any of these, and segments of which a lenient server would see nothing.
 */
export function canonicalPath(target: string): CanonicalPath | null {
  if (target.length > longest || target.includes('#')) return null
  const query = target.indexOf('?')
  const path = query === -1 ? target : target.slice(0, query)
  if (simple.test(path)) {
    const segments = split(path)
    return { segments, lenient: unusual.test(path) ? segments.map(leniently) : segments }
  }
  if (!pathForm.test(path) || /%2f/i.test(path)) return null
  const decoded = decode(path)
  if (decoded === null || ambiguous.test(decoded)) return null
  const compatible = decoded.normalize('NFKC')
  if (special(compatible) !== special(decoded)) return null
  const segments = split(decoded)
  const lenient = segments.map(leniently)
  return lenient.includes('') ? null : { segments, lenient }
}

/** Nothing encoded, no segment that is empty or begins with a dot. */
const simple = /^(?:\/|(?:\/[\w!$&'()*+,=:@~-][\w!$&'()*+,=:@~.-]*)+\/?)$/
/** In such a path, what a lenient server may see otherwise. */
const unusual = /[A-Z]|\.(?:\/|$)/
/** RFC 3986, section 3.3, but for `;`. */
const pathForm = /^(?:\/(?:[\w!$&'()*+,=:@~.-]|%[\da-f]{2})*)+$/i
/** An empty segment or one of dots, what separates elsewhere, what could be decoded once more, a control. */
const ambiguous = /\/\/|\/\.+(?:\/|$)|[\\;?#]|%[\da-f]{2}|\p{Cc}/iu

function special(text: string): string {
  return text.replace(/[^/\\;?#%.]/g, '')
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** A final slash makes no difference. */
function split(path: string): readonly string[] {
  const segments = path.split('/')
  return segments.slice(1, segments.at(-1) === '' ? -1 : undefined)
}

/** By way of upper case: the ones that fold only there, such as the dotless i, are letters of ASCII then. */
export function leniently(segment: string): string {
  return segment
    .normalize('NFKC')
    .toUpperCase()
    .toLowerCase()
    .normalize('NFKD')
    .replace(/[\p{M}\p{Cf}\p{Default_Ignorable_Code_Point}]/gu, '')
    .replace(/^\s+|[.\s]+$/g, '')
}
