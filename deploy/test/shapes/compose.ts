// What may stand in compose.yaml: the fields that it uses, by their names in the Compose Specification, and no others.
import * as z from 'zod'

const { strictObject: object, array, string, literal, boolean, record } = z
const name = string().regex(/^[a-z0-9-]+$/)

const service = object({
  image: string(),
  build: object({ context: string(), dockerfile: string() }).optional(),
  profiles: array(name).optional(),
  restart: literal('unless-stopped'),
  stop_grace_period: string()
    .regex(/^\d+s$/)
    .optional(),
  command: array(string()).optional(),
  depends_on: array(name).optional(),
  ports: array(string().regex(/^[\d.]+:\d+:\d+$/)).optional(),
  networks: z.union([array(name), record(name, object({ ipv4_address: z.ipv4().optional() }))]),
  volumes: array(string().regex(/^[^:]+:\/[^:]+(:ro)?$/)).optional(),
  read_only: boolean().optional(),
  cap_drop: array(literal('ALL')).optional(),
  security_opt: array(literal('no-new-privileges:true')).optional(),
  environment: record(string().regex(/^[A-Z][A-Z0-9_]*$/), string()).optional(),
})

export const compose = object({
  name,
  /** An anchor, for the two replicas. */
  'x-service': service,
  services: record(name, service),
  networks: record(
    name,
    object({
      internal: boolean().optional(),
      ipam: object({ config: array(object({ subnet: z.cidrv4() })) }).optional(),
    }),
  ),
  volumes: record(name, object({})),
})
