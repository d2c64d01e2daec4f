// HTML with every value in it escaped.

/** Text that is HTML already. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type Part = string | null | Html | readonly Html[]

export function html(written: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(String.raw({ raw: written }, ...values.map(textOf)))
}

function textOf(value: Part): string {
  if (value instanceof Html) return value.text
  if (typeof value === 'object' && value !== null) return value.map(textOf).join('')
  return (value ?? '').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
