// What may stand in the manifests: the fields that they use, by their names in the API of Kubernetes 1.30, and no others.
import * as z from 'zod'

const { strictObject: object, array, string, literal, record } = z
const whole = z.int().nonnegative()
const name = string().regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/)
const labels = record(string(), string())
const selector = object({ matchLabels: labels })
const metadata = object({ name, labels: labels.optional() })
const amount = string().regex(/^\d+(m|Mi|Gi)?$/)
const resources = object({ cpu: amount.optional(), memory: amount.optional(), storage: amount.optional() })
const requested = object({ requests: resources, limits: resources.optional() })
const protocol = z.enum(['TCP', 'UDP', 'SCTP'])
/** A number, or the name of a port of the container. */
const port = z.union([whole.max(65_535), name])

const probe = z
  .strictObject({
    httpGet: object({ path: string().startsWith('/'), port }).optional(),
    tcpSocket: object({ port }).optional(),
    exec: object({ command: array(string()) }).optional(),
    periodSeconds: whole.optional(),
    timeoutSeconds: whole.optional(),
    failureThreshold: whole.optional(),
  })
  .refine((it) => [it.httpGet, it.tcpSocket, it.exec].filter((way) => way !== undefined).length === 1, 'one way to ask')

const container = object({
  name,
  image: string(),
  args: array(string()).optional(),
  ports: array(object({ name, containerPort: whole })),
  env: array(
    z.union([
      object({ name: string(), value: string() }),
      object({ name: string(), valueFrom: object({ secretKeyRef: object({ name, key: string() }) }) }),
    ]),
  ).optional(),
  volumeMounts: array(object({ name, mountPath: string().startsWith('/'), readOnly: z.boolean().optional() })),
  resources: requested,
  securityContext: object({
    allowPrivilegeEscalation: literal(false),
    readOnlyRootFilesystem: literal(true),
    capabilities: object({ drop: z.tuple([literal('ALL')]) }),
  }),
  startupProbe: probe.optional(),
  livenessProbe: probe,
  readinessProbe: probe,
  lifecycle: object({ preStop: object({ exec: object({ command: array(string()) }) }) }).optional(),
})

const pods = object({
  metadata: object({ labels }),
  spec: object({
    automountServiceAccountToken: literal(false),
    terminationGracePeriodSeconds: whole.optional(),
    securityContext: object({
      runAsNonRoot: literal(true),
      runAsUser: whole.positive(),
      fsGroup: whole.positive().optional(),
      seccompProfile: object({ type: literal('RuntimeDefault') }),
    }),
    affinity: object({
      podAntiAffinity: object({
        preferredDuringSchedulingIgnoredDuringExecution: array(
          object({
            weight: whole.max(100),
            podAffinityTerm: object({ topologyKey: string(), labelSelector: selector }),
          }),
        ),
      }),
    }).optional(),
    topologySpreadConstraints: array(
      object({
        maxSkew: whole,
        topologyKey: string(),
        whenUnsatisfiable: z.enum(['DoNotSchedule', 'ScheduleAnyway']),
        labelSelector: selector,
      }),
    ).optional(),
    containers: array(container),
    volumes: array(
      z.union([object({ name, configMap: object({ name }) }), object({ name, emptyDir: object({}) })]),
    ).optional(),
  }),
})

const kinds = [
  object({
    apiVersion: literal('apps/v1'),
    kind: literal('Deployment'),
    metadata,
    spec: object({
      replicas: whole,
      selector,
      strategy: object({ rollingUpdate: object({ maxUnavailable: whole, maxSurge: whole }) }),
      template: pods,
    }),
  }),
  object({
    apiVersion: literal('apps/v1'),
    kind: literal('StatefulSet'),
    metadata,
    spec: object({
      serviceName: name,
      replicas: whole,
      selector,
      template: pods,
      volumeClaimTemplates: array(
        object({
          metadata,
          spec: object({ accessModes: array(literal('ReadWriteOnce')), resources: requested }),
        }),
      ),
    }),
  }),
  object({
    apiVersion: literal('v1'),
    kind: literal('Service'),
    metadata,
    spec: object({
      clusterIP: literal('None').optional(),
      selector: labels,
      ports: array(object({ name, port: whole, targetPort: port.optional() })),
    }),
  }),
  object({
    apiVersion: literal('policy/v1'),
    kind: literal('PodDisruptionBudget'),
    metadata,
    spec: object({ minAvailable: whole, selector }),
  }),
  object({
    apiVersion: literal('networking.k8s.io/v1'),
    kind: literal('NetworkPolicy'),
    metadata,
    spec: object({
      podSelector: selector,
      policyTypes: array(z.enum(['Ingress', 'Egress'])),
      ingress: array(
        object({ from: array(object({ podSelector: selector })), ports: array(object({ port })) }),
      ).optional(),
      egress: array(object({ ports: array(object({ port, protocol: protocol.optional() })) })).optional(),
    }),
  }),
  object({ apiVersion: literal('v1'), kind: literal('ConfigMap'), metadata, data: record(string(), string()) }),
] as const

/** One document. */
export const kubernetes = z.discriminatedUnion('kind', kinds)
