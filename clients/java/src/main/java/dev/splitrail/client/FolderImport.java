package dev.splitrail.client;

import dev.splitrail.split.v1.AddFilesRequest;
import dev.splitrail.split.v1.CreateImportRequest;
import dev.splitrail.split.v1.Import;
import dev.splitrail.split.v1.ImportServiceGrpc;
import dev.splitrail.split.v1.ImportState;
import dev.splitrail.split.v1.SourceFile;
import dev.splitrail.split.v1.StartImportRequest;
import dev.splitrail.split.v1.Upload;
import dev.splitrail.split.v1.WatchImportRequest;
import dev.splitrail.split.v1.WatchImportResponse;
import io.grpc.ManagedChannel;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * Imports a folder of images and annotations as a new version of a dataset: announces its files, uploads what the
 * platform lacks by presigned URL, starts the import and follows it to its end.
 */
public final class FolderImport {
  private static final int FILES_PER_REQUEST = 1000;
  private static final int INLINE_PER_REQUEST = 1 << 20; // of the 4 MiB that a request takes
  private static final int UPLOADS_AT_ONCE = 8;
  private static final int UPLOAD_TRIES = 6;
  private static final Set<Integer> PASSING_STATUSES = Set.of(403, 408, 429);
  private static final Duration UPLOAD_TIMEOUT = Duration.ofMinutes(1);
  private static final Patience UPLOAD_PAUSES =
      new Patience(Duration.ZERO, Duration.ofMillis(200), Duration.ofSeconds(10), Duration.ZERO);

  /**
   * An import that succeeded.
   *
   * @param report what the service found, with the version that it made
   * @param uploads how many files had to be uploaded for it
   */
  public record Result(Import report, int uploads) {}

  /** An import that failed or was cancelled. */
  public static final class FailedException extends Exception {
    private final transient Import report;

    FailedException(Import report) {
      super("the import ended as %s: %s".formatted(report.getState(), report.getFailure()));
      this.report = report;
    }

    /** With the problems that were found. */
    public Import report() {
      return report;
    }
  }

  private final ManagedChannel channel;
  private final Path folder;
  private final HttpClient http =
      HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(10)).build();
  private final Set<String> sent = new HashSet<>();
  private String importId;

  private FolderImport(ManagedChannel channel, Path folder) {
    this.channel = channel;
    this.folder = folder;
  }

  /**
   * Imports `folder`. Hidden files and what no import reads are left out; links are not followed.
   *
   * @param request project, dataset name, task and request_id of the import; the same request_id returns, and so resumes,
   *     the same import
   * @throws IOException when a file cannot be read, no image is there, or the object store does not take one
   * @throws FailedException when it ends without a version
   */
  public static Result run(ManagedChannel channel, Path folder, CreateImportRequest request)
      throws IOException, FailedException, InterruptedException {
    return new FolderImport(channel, folder).run(request);
  }

  private Result run(CreateImportRequest request) throws IOException, FailedException, InterruptedException {
    List<SourceFile> files = FolderScan.scan(folder);
    var imports = ImportServiceGrpc.newBlockingStub(channel);
    Import opened = imports.createImport(request).getDatasetImport();
    importId = opened.getImportId();
    if (opened.getState() == ImportState.IMPORT_STATE_OPEN) {
      send(files);
      imports.startImport(StartImportRequest.newBuilder().setImportId(importId).build());
    }
    Import ended = ended();
    if (ended.getState() != ImportState.IMPORT_STATE_SUCCEEDED) {
      throw new FailedException(ended);
    }
    return new Result(ended, sent.size());
  }

  private Import ended() {
    WatchImportRequest request = WatchImportRequest.newBuilder().setImportId(importId).build();
    try (var stream =
        new ReopeningStream<WatchImportResponse>(
            channel,
            () -> ImportServiceGrpc.newBlockingV2Stub(channel).watchImport(request),
            refusal -> false,
            (error, pause) -> {},
            Patience.DEFAULT)) {
      while (true) {
        Import current = stream.next().getDatasetImport();
        switch (current.getState()) {
          case IMPORT_STATE_SUCCEEDED, IMPORT_STATE_FAILED, IMPORT_STATE_CANCELLED -> {
            return current;
          }
          default -> {} // not yet
        }
      }
    }
  }

  private void send(List<SourceFile> files) throws IOException, InterruptedException {
    int start = 0;
    while (start < files.size()) {
      int end = start;
      int inline = 0;
      while (end < files.size()
          && end - start < FILES_PER_REQUEST
          && inline + files.get(end).getContent().size() <= INLINE_PER_REQUEST) {
        inline += files.get(end++).getContent().size();
      }
      page(files.subList(start, end));
      start = end;
    }
  }

  private void page(List<SourceFile> files) throws IOException, InterruptedException {
    Map<String, SourceFile> byContent = new HashMap<>();
    files.forEach(file -> byContent.put(file.getSha256(), file));
    List<Callable<Void>> uploads = new ArrayList<>();
    for (Upload upload : announce(files)) {
      if (sent.add(upload.getSha256())) {
        uploads.add(
            () -> {
              upload(byContent.get(upload.getSha256()), upload.getUrl());
              return null;
            });
      }
    }
    ExecutorService threads = Executors.newFixedThreadPool(UPLOADS_AT_ONCE);
    try {
      for (Future<Void> done : threads.invokeAll(uploads)) {
        done.get();
      }
    } catch (ExecutionException e) {
      throw new IOException("an upload failed: " + e.getCause().getMessage(), e.getCause());
    } finally {
      threads.shutdownNow();
    }
  }

  private List<Upload> announce(List<SourceFile> files) {
    return ImportServiceGrpc.newBlockingStub(channel)
        .addFiles(AddFilesRequest.newBuilder().setImportId(importId).addAllFiles(files).build())
        .getUploadsList();
  }

  /** Tries again while the object store cannot: safe, since the same bytes go to the same key. */
  private void upload(SourceFile file, String url) throws IOException, InterruptedException {
    String target = url;
    for (int tries = 1; ; tries++) {
      IOException problem;
      boolean passing = true;
      try {
        HttpResponse<String> answer = put(file, target);
        int status = answer.statusCode();
        if (status < 300) {
          return;
        }
        passing = status >= 500 || PASSING_STATUSES.contains(status);
        problem = new IOException(file.getPath() + " is not taken: HTTP " + status + ": " + answer.body());
      } catch (IOException e) {
        problem = e;
      }
      if (!passing || tries == UPLOAD_TRIES) {
        throw problem;
      }
      TimeUnit.NANOSECONDS.sleep(UPLOAD_PAUSES.pause(tries).toNanos());
      List<Upload> fresh = announce(List.of(file)); // the URL may have expired, or the bytes may have arrived after all
      if (fresh.isEmpty()) {
        return;
      }
      target = fresh.get(0).getUrl();
    }
  }

  private HttpResponse<String> put(SourceFile file, String url) throws IOException, InterruptedException {
    var body =
        file.getSizeBytes() == 0
            ? HttpRequest.BodyPublishers.noBody()
            : HttpRequest.BodyPublishers.ofFile(folder.resolve(file.getPath()));
    return http.send(
        HttpRequest.newBuilder(URI.create(url)).PUT(body).timeout(UPLOAD_TIMEOUT).build(),
        HttpResponse.BodyHandlers.ofString());
  }
}
