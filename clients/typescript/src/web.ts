import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { clientOver, type SplitrailClient } from "./client.js";
import { gatewayUrl, type ConnectOptions } from "./transport.js";

/** A client over gRPC-Web, for the browser and everything else that has fetch. */
export function connect(options: ConnectOptions): SplitrailClient {
  return clientOver(createGrpcWebTransport({ baseUrl: gatewayUrl(options), fetch: fetchOrUnavailable }), options);
}

/** A gateway that cannot be reached is UNAVAILABLE, as in gRPC, and not the TypeError of fetch. */
const fetchOrUnavailable: typeof fetch = async (input, init) => {
  try {
    return await fetch(input, init);
  } catch (error) {
    if (init?.signal?.aborted) {
      throw error;
    }
    throw new ConnectError("the gateway cannot be reached", Code.Unavailable, undefined, undefined, error);
  }
};
