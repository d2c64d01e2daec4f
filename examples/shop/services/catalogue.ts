// What the shop sells, in cents.
export const prices = {
  'Green tea': 450,
  'Rye bread': 380,
  'Plum jam': 520,
  'Oat biscuits': 290,
  Teapot: 2400,
} as const

export type Product = keyof typeof prices
export const products = Object.keys(prices) as [Product, ...Product[]]
