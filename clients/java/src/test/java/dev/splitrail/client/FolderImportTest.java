package dev.splitrail.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.splitrail.split.v1.AddFilesRequest;
import dev.splitrail.split.v1.AddFilesResponse;
import dev.splitrail.split.v1.CreateImportRequest;
import dev.splitrail.split.v1.CreateImportResponse;
import dev.splitrail.split.v1.Import;
import dev.splitrail.split.v1.ImportServiceGrpc;
import dev.splitrail.split.v1.ImportState;
import dev.splitrail.split.v1.SourceFile;
import dev.splitrail.split.v1.StartImportRequest;
import dev.splitrail.split.v1.StartImportResponse;
import dev.splitrail.split.v1.Upload;
import dev.splitrail.split.v1.WatchImportRequest;
import dev.splitrail.split.v1.WatchImportResponse;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class FolderImportTest {
  private static final CreateImportRequest REQUEST = CreateImportRequest.newBuilder().setDatasetName("cells").build();

  private final Servers servers = new Servers();
  private final Map<String, String> stored = new ConcurrentHashMap<>();
  private final Set<String> refused = ConcurrentHashMap.newKeySet();
  private final Map<String, SourceFile> announced = new ConcurrentHashMap<>();
  private HttpServer store;
  @TempDir private Path folder;

  @BeforeEach
  void open() throws IOException {
    store = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    store.createContext("/", this::put);
    store.start();
  }

  @AfterEach
  void close() {
    store.stop(0);
    servers.close();
  }

  /** Refuses each content once; takes no chunked body, as a presigned PUT does not either. */
  private void put(HttpExchange exchange) throws IOException {
    String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
    String sha256 = exchange.getRequestURI().getPath().substring(1);
    boolean sized = exchange.getRequestHeaders().containsKey("Content-Length");
    if (!sized || refused.add(sha256)) {
      exchange.sendResponseHeaders(sized ? 503 : 411, -1);
    } else {
      stored.put(sha256, body);
      exchange.sendResponseHeaders(200, -1);
    }
    exchange.close();
  }

  /** Takes one import, whose watch breaks once. */
  private final class ImportServer extends ImportServiceGrpc.ImportServiceImplBase {
    private final ImportState end;
    private final AtomicInteger watches = new AtomicInteger();

    ImportServer(ImportState end) {
      this.end = end;
    }

    private <A> void answer(StreamObserver<A> answers, A message) {
      answers.onNext(message);
      answers.onCompleted();
    }

    @Override
    public void createImport(CreateImportRequest request, StreamObserver<CreateImportResponse> answers) {
      Import opened = Import.newBuilder().setImportId("an-import").setState(ImportState.IMPORT_STATE_OPEN).build();
      answer(answers, CreateImportResponse.newBuilder().setDatasetImport(opened).build());
    }

    @Override
    public void addFiles(AddFilesRequest request, StreamObserver<AddFilesResponse> answers) {
      AddFilesResponse.Builder response = AddFilesResponse.newBuilder();
      for (SourceFile file : request.getFilesList()) {
        announced.put(file.getPath(), file);
        if (!file.hasContent() && !stored.containsKey(file.getSha256())) {
          String url = "http://127.0.0.1:" + store.getAddress().getPort() + "/" + file.getSha256();
          response.addUploads(Upload.newBuilder().setSha256(file.getSha256()).setUrl(url));
        }
      }
      answer(answers, response.build());
    }

    @Override
    public void startImport(StartImportRequest request, StreamObserver<StartImportResponse> answers) {
      answer(answers, StartImportResponse.getDefaultInstance());
    }

    @Override
    public void watchImport(WatchImportRequest request, StreamObserver<WatchImportResponse> answers) {
      if (watches.getAndIncrement() == 0) {
        Import running = Import.newBuilder().setState(ImportState.IMPORT_STATE_RUNNING).build();
        answers.onNext(WatchImportResponse.newBuilder().setDatasetImport(running).build());
        answers.onError(Status.INTERNAL.asRuntimeException());
        return;
      }
      Import ended = Import.newBuilder().setState(end).setFailure("as planned").build();
      answer(answers, WatchImportResponse.newBuilder().setDatasetImport(ended).build());
    }
  }

  private ManagedChannel serve(ImportState end) throws IOException {
    String name = "imports-" + System.identityHashCode(this);
    servers.start(name, new ImportServer(end));
    return servers.channel(name);
  }

  private void write(String name, String content) throws IOException {
    Path path = folder.resolve(name);
    Files.createDirectories(path.getParent());
    Files.writeString(path, content);
  }

  @Test
  void importsAFolder() throws Exception {
    write("data.yaml", "names: [cell]");
    write("images/a.jpg", "one");
    write("images/b.jpg", "two");
    write("images/again.jpg", "one");
    write("labels/a.txt", "");
    write(".hidden/c.jpg", "three");
    write("model.pt", "weights");
    FolderImport.Result result = FolderImport.run(serve(ImportState.IMPORT_STATE_SUCCEEDED), folder, REQUEST);
    assertEquals(2, result.uploads());
    assertEquals(Set.of("one", "two"), stored.values().stream().collect(Collectors.toSet()));
    assertEquals(
        Set.of("data.yaml", "images/a.jpg", "images/b.jpg", "images/again.jpg", "labels/a.txt"), announced.keySet());
    assertTrue(announced.get("labels/a.txt").hasContent());
  }

  @Test
  void aFailedImportIsAnError() throws Exception {
    write("a.jpg", "one");
    ManagedChannel channel = serve(ImportState.IMPORT_STATE_FAILED);
    var error = assertThrows(FolderImport.FailedException.class, () -> FolderImport.run(channel, folder, REQUEST));
    assertEquals("as planned", error.report().getFailure());
  }

  @Test
  void aFolderWithoutImagesIsAnError() throws Exception {
    write("a.txt", "one");
    ManagedChannel channel = serve(ImportState.IMPORT_STATE_SUCCEEDED);
    assertThrows(IOException.class, () -> FolderImport.run(channel, folder, REQUEST));
  }
}
