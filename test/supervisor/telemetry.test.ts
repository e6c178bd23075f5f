/** OpenTelemetry of the CLI itself, to a stand-in collector. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { startWithRealCli } from '../support/supervisor.ts';
import { until } from '../support/until.ts';

t.test(
  'the CLI exports to the collector that the container names, in the trace of the prompt',
  async (t) => {
    const received = new Map<string, string>();
    const collector = createServer(async (request, response) => {
      const path = request.url ?? '';
      const body = await text(request);
      received.set(path, (received.get(path) ?? '') + body);
      response.setHeader('content-type', 'application/json').end('{}');
    }).listen(0, '127.0.0.1');
    await once(collector, 'listening');
    t.teardown(() => {
      collector.closeAllConnections();
      collector.close();
    });
    const { prompt, log } = await startWithRealCli(t, {
      environment: {
        CLAUDE_CODE_ENABLE_TELEMETRY: '1',
        CLAUDE_CODE_ENHANCED_TELEMETRY_BETA: '1',
        OTEL_METRICS_EXPORTER: 'otlp',
        OTEL_LOGS_EXPORTER: 'otlp',
        OTEL_TRACES_EXPORTER: 'otlp',
        OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
        OTEL_METRIC_EXPORT_INTERVAL: '100',
        OTEL_LOGS_EXPORT_INTERVAL: '100',
        OTEL_TRACES_EXPORT_INTERVAL: '100',
      },
    });
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const traceparent = `00-${trace}-b7ad6b7169203331-01`;
    const { status } = await prompt('[[say hello]]', {}, { headers: { traceparent } });
    t.equal(status, 200);
    await until('metrics', () => received.get('/v1/metrics')?.includes('claude_code.'));
    await until('events', () => received.get('/v1/logs')?.includes('claude_code.'));
    await until('spans', () => received.get('/v1/traces')?.includes(trace));
    t.match(await log.logged('turn_finished'), { trace_id: trace });
  },
);
