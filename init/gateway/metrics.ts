/** The metrics of the gateway, on the metrics port of the init that stays. */
import { Counter, Gauge, type Registry } from 'prom-client';

export const operations = ['refs', 'fetch', 'push', 'pull_request'] as const;
export const outcomes = ['served', 'refused', 'failed'] as const;
export type Operation = (typeof operations)[number];
/** `refused`: by a rule of the gateway; `failed`: by the git server, the network or a bound. */
export type Outcome = (typeof outcomes)[number];

export interface GatewayMetrics {
  request(operation: Operation, outcome: Outcome): void;
  bytes(direction: 'fetched' | 'pushed', count: number): void;
}

/** @param running reads how many requests run */
export function createGatewayMetrics(registry: Registry, running: () => number): GatewayMetrics {
  const requests = new Counter({
    name: 'berth_gateway_requests_total',
    help: 'Requests to the gateway, by operation and outcome',
    labelNames: ['operation', 'outcome'],
    registers: [registry],
  });
  const bytes = new Counter({
    name: 'berth_gateway_bytes_total',
    help: 'Bytes that the gateway has passed on, by direction',
    labelNames: ['direction'],
    registers: [registry],
  });
  new Gauge({
    name: 'berth_gateway_running',
    help: 'Requests that the gateway serves at the moment',
    registers: [registry],
    collect() {
      this.set(running());
    },
  });
  for (const operation of operations) {
    for (const outcome of outcomes) requests.inc({ operation, outcome }, 0);
  }
  for (const direction of ['fetched', 'pushed']) bytes.inc({ direction }, 0);
  return {
    request: (operation, outcome) => requests.inc({ operation, outcome }),
    bytes: (direction, count) => bytes.inc({ direction }, count),
  };
}
