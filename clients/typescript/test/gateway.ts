/** A server in this process that speaks gRPC and gRPC-Web, whose connections can be cut. */
import { once } from "node:events";
import * as http from "node:http";
import * as http2 from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import type { ConnectOptions, SplitrailClient } from "@splitrail/client";
import { connect as connectNode } from "@splitrail/client/node";
import { connect as connectWeb } from "@splitrail/client/web";

export type Path = "gRPC" | "gRPC-Web";

export class Gateway {
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: http.Server | http2.Http2Server,
    private readonly path: Path,
  ) {
    server.on("connection", (socket: Socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  static async serving(path: Path, routes: (router: ConnectRouter) => void): Promise<Gateway> {
    const handler = connectNodeAdapter({ routes });
    const server = path === "gRPC" ? http2.createServer(handler) : http.createServer(handler);
    const gateway = new Gateway(server, path);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Opens a client, runs `use`, closes both. */
  async with<T>(options: Partial<ConnectOptions>, use: (client: SplitrailClient) => Promise<T>): Promise<T> {
    const given = { url: this.url, token: "a token", ...options };
    try {
      if (this.path === "gRPC-Web") {
        return await use(connectWeb(given));
      }
      const client = connectNode(given);
      try {
        return await use(client);
      } finally {
        client.close();
      }
    } finally {
      await this.close();
    }
  }

  /** As a killed gateway does: every connection ends in the middle of what it says. */
  cut(): void {
    for (const socket of this.sockets) {
      socket.destroy();
    }
  }

  private async close(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }
}
