package dev.splitrail.client;

import com.google.gson.Gson;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Makes channels to the gateway. */
public final class SplitrailChannel {
  private static final int MAX_MESSAGE_BYTES = 64 << 20;

  private SplitrailChannel() {}

  /**
   * A channel whose calls carry the token. UNAVAILABLE is repeated as the service config says (every unary call, no
   * stream), which is safe because a mutation without a request_id is given one.
   *
   * @throws IllegalArgumentException for an http:// gateway that is not on this machine: the token would travel in plain
   *     text
   */
  public static ManagedChannel open(Connection connection) {
    if (!connection.isEncrypted() && !connection.isLoopback()) {
      throw new IllegalArgumentException(
          connection.url() + " is not on this machine, and without TLS everyone on the way could read the token:"
              + " use https, or openPlaintext on a network that is trusted");
    }
    return openPlaintext(connection);
  }

  /** As {@link #open}, and also without TLS to a gateway on a network that is trusted, such as a cluster's own. */
  public static ManagedChannel openPlaintext(Connection connection) {
    ChannelCredentials transport =
        connection.isEncrypted() ? TlsChannelCredentials.create() : InsecureChannelCredentials.create();
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilderForAddress(connection.url().getHost(), connection.port(), transport);
    if (connection.isLoopback()) {
      builder.proxyDetector(address -> null); // whatever the environment says
    }
    return configured(builder.keepAliveTime(20, TimeUnit.SECONDS).keepAliveTimeout(10, TimeUnit.SECONDS), connection)
        .build();
  }

  static ManagedChannelBuilder<?> configured(ManagedChannelBuilder<?> builder, Connection connection) {
    return builder
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        .defaultServiceConfig(serviceConfig())
        .enableRetry()
        .intercept(new BearerToken(connection.tokens()), new RequestIds());
  }

  /** proto/service_config.json: which calls gRPC repeats by itself. */
  @SuppressWarnings("unchecked") // what an object of JSON is
  static Map<String, ?> serviceConfig() {
    try (InputStream content = SplitrailChannel.class.getResourceAsStream("service_config.json")) {
      return new Gson().fromJson(new InputStreamReader(content, StandardCharsets.UTF_8), Map.class);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
