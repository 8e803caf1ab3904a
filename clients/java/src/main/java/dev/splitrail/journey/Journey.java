package dev.splitrail.journey;

import com.google.gson.Gson;
import com.google.protobuf.Value;
import dev.splitrail.client.Connection;
import dev.splitrail.client.FolderImport;
import dev.splitrail.client.Refusal;
import dev.splitrail.client.SplitrailChannel;
import dev.splitrail.client.Watch;
import dev.splitrail.metrics.v1.ListPlotsRequest;
import dev.splitrail.metrics.v1.MetricsServiceGrpc;
import dev.splitrail.metrics.v1.Plot;
import dev.splitrail.metrics.v1.WatchRunResponse;
import dev.splitrail.split.v1.CreateImportRequest;
import dev.splitrail.split.v1.CreateSplitRequest;
import dev.splitrail.split.v1.DatasetVersion;
import dev.splitrail.split.v1.Part;
import dev.splitrail.split.v1.SplitParameters;
import dev.splitrail.split.v1.SplitRatios;
import dev.splitrail.split.v1.SplitRevision;
import dev.splitrail.split.v1.SplitServiceGrpc;
import dev.splitrail.trainer.v1.CreateEvaluationRequest;
import dev.splitrail.trainer.v1.CreateRunRequest;
import dev.splitrail.trainer.v1.Evaluation;
import dev.splitrail.trainer.v1.EvaluationServiceGrpc;
import dev.splitrail.trainer.v1.GetEvaluationRequest;
import dev.splitrail.trainer.v1.RunServiceGrpc;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The journey of a Java program through Splitrail, run by the tests of all clients: import a folder, split it, train,
 * watch the training through an outage, fetch a plot, evaluate on test, and meet a refusal. Each step prints one line of
 * JSON.
 *
 * <p>SPLITRAIL_URL and SPLITRAIL_TOKEN say where and as whom; JOURNEY_FOLDER is the folder to import and JOURNEY_DATASET
 * the dataset to make of it.
 */
public final class Journey {
  private final ManagedChannel channel;

  private Journey(ManagedChannel channel) {
    this.channel = channel;
  }

  /** Runs the journey. */
  public static void main(String[] arguments) throws Exception {
    // [connect]
    ManagedChannel channel = SplitrailChannel.open(Connection.find());
    // [/connect]
    try {
      new Journey(channel).run(Path.of(System.getenv("JOURNEY_FOLDER")), System.getenv("JOURNEY_DATASET"));
    } finally {
      channel.shutdownNow();
    }
  }

  private void run(Path folder, String dataset) throws Exception {
    DatasetVersion version = importFolder(folder, dataset);
    String splitId = split(version);
    String runId = train(splitId, "journey-java-" + version.getVersionId());
    follow(runId);
    plot(runId);
    evaluate(runId);
    refused(splitId);
    say("done", Map.of());
  }

  private DatasetVersion importFolder(Path folder, String dataset)
      throws IOException, FolderImport.FailedException, InterruptedException {
    // [import]
    CreateImportRequest request =
        CreateImportRequest.newBuilder().setDatasetName(dataset).setRequestId("journey-java-" + dataset).build();
    FolderImport.Result result = FolderImport.run(channel, folder, request);
    DatasetVersion version = result.report().getVersion();
    // [/import]
    say(
        "import",
        Map.of(
            "dataset_id", version.getDatasetId(),
            "version_id", version.getVersionId(),
            "images", version.getImageCount(),
            "uploads", result.uploads()));
    return version;
  }

  private String split(DatasetVersion version) {
    // [split]
    SplitRevision split =
        SplitServiceGrpc.newBlockingStub(channel)
            .createSplit(
                CreateSplitRequest.newBuilder()
                    .setDatasetId(version.getDatasetId())
                    .setVersionId(version.getVersionId())
                    .setParameters(
                        SplitParameters.newBuilder()
                            .setRatios(SplitRatios.newBuilder().setTrain(0.7).setVal(0.15).setTest(0.15))
                            .setSeed(42))
                    .build())
            .getSplit();
    // [/split]
    say("split", Map.of("split_id", split.getSplitId(), "digest", split.getDigest()));
    return split.getSplitId();
  }

  private String train(String splitId, String requestId) {
    // [run]
    CreateRunRequest request =
        CreateRunRequest.newBuilder()
            .setSplitId(splitId)
            .setModel("yolov8n")
            .putArguments("epochs", number(4))
            .putArguments("imgsz", number(64))
            .putArguments("batch", number(8))
            .putArguments("seed", number(1))
            .setRequestId(requestId) // a second call with it returns the same run
            .build();
    String runId = RunServiceGrpc.newBlockingStub(channel).createRun(request).getRun().getRunId();
    // [/run]
    String again = RunServiceGrpc.newBlockingStub(channel).createRun(request).getRun().getRunId();
    say("run", Map.of("run_id", runId, "same", again.equals(runId)));
    return runId;
  }

  private static Value number(double value) {
    return Value.newBuilder().setNumberValue(value).build();
  }

  private void follow(String runId) {
    AtomicInteger interruptions = new AtomicInteger();
    // [watch]
    Watch.Builder builder =
        Watch.of(channel, runId)
            .onInterruption(
                (error, pause) -> {
                  interruptions.incrementAndGet();
                  System.err.printf("interrupted (%s), again in %s%n", error.getStatus(), pause);
                })
            .onRestart(refusal -> System.err.println("the feed was restored from a backup: what was shown is void"));
    try (Watch watch = builder.start()) {
      while (watch.hasNext()) {
        WatchRunResponse message = watch.next();
        if (message.getEvent().hasEpoch()) {
          var epoch = message.getEvent().getEpoch();
          System.err.printf("epoch %d of %d: %s%n", epoch.getEpoch(), epoch.getEpochs(), epoch.getMetricsMap());
          say("epoch", Map.of("epoch", epoch.getEpoch(), "seq", message.getEvent().getSeq()));
        }
      }
    }
    // [/watch]
    say("closed", Map.of("interruptions", interruptions.get()));
  }

  private void plot(String runId) throws IOException, InterruptedException {
    // [plot]
    Plot plot =
        MetricsServiceGrpc.newBlockingStub(channel)
            .listPlots(ListPlotsRequest.newBuilder().setRunId(runId).build())
            .getPlots(0);
    HttpResponse<byte[]> picture = // signed: no token
        HttpClient.newHttpClient()
            .send(HttpRequest.newBuilder(URI.create(plot.getUrl())).build(), HttpResponse.BodyHandlers.ofByteArray());
    // [/plot]
    if (picture.statusCode() != 200 || picture.body().length != plot.getSizeBytes()) {
      throw new IOException("%s: HTTP %d, %d bytes".formatted(plot.getName(), picture.statusCode(), picture.body().length));
    }
    say("plot", Map.of("name", plot.getName(), "bytes", picture.body().length));
  }

  private void evaluate(String runId) {
    // [evaluate]
    var evaluations = EvaluationServiceGrpc.newBlockingStub(channel);
    CreateEvaluationRequest request =
        CreateEvaluationRequest.newBuilder()
            .setRunId(runId)
            .setPart(Part.PART_TEST)
            .setRequestId("journey-java-" + runId)
            .build();
    String evaluationId = evaluations.createEvaluation(request).getEvaluation().getEvaluationId();
    try (Watch watch = Watch.of(channel, evaluationId).start()) { // an evaluation has a feed too
      watch.forEachRemaining(message -> {});
    }
    Evaluation evaluation =
        evaluations
            .getEvaluation(GetEvaluationRequest.newBuilder().setEvaluationId(evaluationId).build())
            .getEvaluation();
    // [/evaluate]
    if (!evaluation.hasResult()) {
      throw new IllegalStateException("%s: %s".formatted(evaluation.getJob().getState(), evaluation.getJob().getMessage()));
    }
    say(
        "evaluation",
        Map.of(
            "evaluation_id", evaluationId,
            "images", evaluation.getResult().getImages(),
            "mAP50", evaluation.getResult().getOverallOrThrow("mAP50")));
  }

  private void refused(String splitId) {
    // [refusal]
    CreateRunRequest request =
        CreateRunRequest.newBuilder()
            .setSplitId(splitId)
            .setModel("yolov8n")
            .putArguments("epohcs", number(4))
            .build();
    try {
      RunServiceGrpc.newBlockingStub(channel).createRun(request);
      throw new IllegalStateException("an unknown argument was taken");
    } catch (StatusRuntimeException e) {
      Refusal refusal = Refusal.of(e).orElseThrow(() -> e);
      System.err.println(refusal.reason() + ": " + refusal.fields());
      say(
          "refusal",
          Map.of(
              "code", refusal.code().name(),
              "reason", refusal.reason(),
              "field", refusal.fields().get(0).name()));
    }
    // [/refusal]
  }

  private static void say(String step, Map<String, Object> fields) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("step", step);
    line.putAll(fields);
    System.out.println(new Gson().toJson(line));
    System.out.flush();
  }
}
