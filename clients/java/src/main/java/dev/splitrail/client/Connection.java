package dev.splitrail.client;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;

/**
 * The gateway's address, and where the caller's token comes from.
 *
 * @param url {@code http://host:port} or {@code https://host[:port]}
 * @param tokens gives the bearer token of each call, without "Bearer"
 */
public record Connection(URI url, Supplier<String> tokens) {
  /** Where {@link #find} looks first. */
  public static final String URL_VARIABLE = "SPLITRAIL_URL";

  /** Where {@link #find} looks first. */
  public static final String TOKEN_VARIABLE = "SPLITRAIL_TOKEN";

  /** Throws IllegalArgumentException for an address that is none. */
  public Connection {
    boolean sound =
        ("http".equals(url.getScheme()) || "https".equals(url.getScheme()))
            && url.getHost() != null
            && (url.getPath().isEmpty() || url.getPath().equals("/"));
    if (!sound) {
      throw new IllegalArgumentException(
          "'" + url + "' is not an address like http://127.0.0.1:8080 or https://splitrail.example.org");
    }
    url = URI.create(url.getScheme() + "://" + url.getAuthority());
  }

  /** With a token that never changes. */
  public Connection(String url, String token) {
    this(URI.create(url), token::strip);
  }

  /**
   * The first of: SPLITRAIL_URL with SPLITRAIL_TOKEN; {@code .splitrail/client.json} (an object with url and token, which
   * {@code make up} writes) in the current folder or a parent. A token found in a file is only ever sent to the address in
   * the same file.
   *
   * @throws IOException when a file cannot be read
   * @throws IllegalStateException when nothing is found
   */
  public static Connection find() throws IOException {
    return find(System.getenv(), Path.of("").toAbsolutePath());
  }

  static Connection find(Map<String, String> environment, Path start) throws IOException {
    String url = environment.getOrDefault(URL_VARIABLE, "");
    String token = environment.getOrDefault(TOKEN_VARIABLE, "").strip();
    if (!url.isEmpty() && !token.isEmpty()) {
      return new Connection(url, token);
    }
    for (Path folder = start; folder != null; folder = folder.getParent()) {
      Path path = folder.resolve(".splitrail").resolve("client.json");
      if (!Files.isRegularFile(path)) {
        continue;
      }
      Stored stored = read(path);
      Connection found = new Connection(stored.url, token.isEmpty() ? stored.token : token);
      if (url.isEmpty() || new Connection(url, stored.token).url.equals(found.url)) {
        return found;
      }
    }
    throw new IllegalStateException(
        "no Splitrail found: set %s and %s, or start one with `make up`, which writes .splitrail/client.json"
            .formatted(URL_VARIABLE, TOKEN_VARIABLE));
  }

  private record Stored(String url, String token) {}

  private static Stored read(Path path) throws IOException {
    try {
      Stored stored = new Gson().fromJson(Files.readString(path), Stored.class);
      return new Stored(Objects.requireNonNull(stored.url), Objects.requireNonNull(stored.token));
    } catch (JsonParseException | NullPointerException e) {
      throw new IOException(path + " cannot be read as an object with url and token", e);
    }
  }

  boolean isEncrypted() {
    return "https".equals(url.getScheme());
  }

  /** Whether the gateway is on this machine. */
  boolean isLoopback() {
    String host = url.getHost();
    if (host.equals("localhost")) {
      return true;
    }
    if (!host.startsWith("[") && !host.matches("[0-9.]+")) {
      return false; // a name: not looked up here
    }
    try {
      return InetAddress.getByName(host).isLoopbackAddress();
    } catch (UnknownHostException e) {
      return false; // digits that are no address: the call will say so
    }
  }

  int port() {
    if (url.getPort() != -1) {
      return url.getPort();
    }
    return isEncrypted() ? 443 : 80;
  }

  /** Without the token, which is a secret. */
  @Override
  public String toString() {
    return "Connection[" + url + "]";
  }
}
