// How long the engines' clients wait for a server. The same stands in what the documents recommend and in what failovers are measured with.

/** A link on which this takes longer answers no call within its deadline, 500 ms; a shorter one would give up a server that is only busy. */
export const connectTimeoutMs = 1_000
/** pg counts in it what the server does before it lets somebody in: a process, TLS, the password. */
export const postgresConnectTimeoutMs = 2_000
export const pingEveryMs = 1_000
/** A connection over which nothing came for so long, though a ping went out, is a dead one. A server may stand still for two seconds, and keep its clients. */
export const silenceMs = 3_000
