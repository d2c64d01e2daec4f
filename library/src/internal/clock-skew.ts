// What is assumed of the clocks of machines that share a store.

/** How far apart two of them may be: what has expired by one is kept, and looked for, for so much longer. */
export const skewMs = 60_000
