import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { clientOver, type SplitrailClient } from "./client.js";
import { gatewayUrl, type ConnectOptions } from "./transport.js";

/** A client over gRPC that holds one connection, closed when idle for 15 minutes; `close()` ends it at once. */
export function connect(options: ConnectOptions): SplitrailClient & { close(): void } {
  // Pings find a connection that died in silence, also while a watch is quiet.
  const sessionManager = new Http2SessionManager(gatewayUrl(options), { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 });
  const transport = createGrpcTransport({ baseUrl: options.url, sessionManager });
  return { ...clientOver(transport, options), close: () => sessionManager.abort() };
}
