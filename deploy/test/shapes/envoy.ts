// What may stand in envoy.yaml: the fields that it uses, by their names in the API v3 of Envoy 1.37, and no others.
import * as z from 'zod'

const { strictObject: object, array, string, literal, boolean } = z
const whole = z.int().nonnegative()
const duration = string().regex(/^\d+(\.\d+)?s$/)
const header = string().regex(/^[a-z0-9-]+$/, 'Envoy writes names in lower case')
const type = (name: string) => literal(`type.googleapis.com/${name}`)

const address = object({ socket_address: object({ address: string(), port_value: whole.max(65_535) }) })
const names = object({ patterns: array(object({ exact: header })) })
const retry = object({
  retry_on: string().regex(/^(connect-failure|refused-stream|reset)(,(connect-failure|refused-stream|reset))*$/),
  num_retries: whole,
  retry_host_predicate: array(
    object({
      name: literal('envoy.retry_host_predicates.previous_hosts'),
      typed_config: object({
        '@type': type('envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate'),
      }),
    }),
  ),
  host_selection_retry_max_attempts: whole,
})

const mutation = object({
  name: literal('envoy.filters.http.header_mutation'),
  typed_config: object({
    '@type': type('envoy.extensions.filters.http.header_mutation.v3.HeaderMutation'),
    mutations: object({ request_mutations: array(object({ remove: header })) }),
  }),
})

const authorization = object({
  name: literal('envoy.filters.http.ext_authz'),
  typed_config: object({
    '@type': type('envoy.extensions.filters.http.ext_authz.v3.ExtAuthz'),
    failure_mode_allow: boolean(),
    status_on_error: object({ code: literal('ServiceUnavailable') }),
    allowed_headers: names,
    http_service: object({
      server_uri: object({ uri: z.url(), cluster: string(), timeout: duration }),
      path_prefix: string().startsWith('/'),
      retry_policy: retry,
      authorization_response: object({
        allowed_upstream_headers: names,
        allowed_client_headers_on_success: names,
        allowed_client_headers: names,
      }),
    }),
  }),
})

const routing = object({
  name: literal('envoy.filters.http.router'),
  typed_config: object({ '@type': type('envoy.extensions.filters.http.router.v3.Router') }),
})

const manager = object({
  '@type': type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
  stat_prefix: string(),
  use_remote_address: boolean(),
  normalize_path: boolean(),
  path_with_escaped_slashes_action: literal('REJECT_REQUEST'),
  strip_any_host_port: boolean(),
  common_http_protocol_options: object({ headers_with_underscores_action: literal('REJECT_REQUEST') }),
  upgrade_configs: array(object({ upgrade_type: literal('websocket') })),
  http_filters: z.tuple([mutation, authorization, routing]),
  route_config: object({
    virtual_hosts: array(
      object({
        name: string(),
        domains: array(string()),
        routes: array(
          object({
            match: object({ prefix: string() }),
            route: object({
              cluster: string(),
              hash_policy: array(object({ cookie: object({ name: string(), ttl: duration, path: string() }) })),
              retry_policy: retry,
            }),
          }),
        ),
      }),
    ),
  }),
})

const cluster = object({
  name: string(),
  type: literal('STRICT_DNS'),
  connect_timeout: duration,
  lb_policy: literal('RING_HASH').optional(),
  load_assignment: object({
    cluster_name: string(),
    endpoints: array(object({ lb_endpoints: array(object({ endpoint: object({ address }) })) })),
  }),
  health_checks: array(
    object({
      timeout: duration,
      interval: duration,
      unhealthy_threshold: whole,
      healthy_threshold: whole,
      http_health_check: object({ path: string().startsWith('/') }),
    }),
  ).optional(),
  outlier_detection: object({ consecutive_gateway_failure: whole, base_ejection_time: duration }).optional(),
})

export const envoy = object({
  static_resources: object({
    listeners: array(
      object({
        name: string(),
        address,
        filter_chains: array(
          object({
            filters: array(
              object({ name: literal('envoy.filters.network.http_connection_manager'), typed_config: manager }),
            ),
          }),
        ),
      }),
    ),
    clusters: array(cluster),
  }),
})
